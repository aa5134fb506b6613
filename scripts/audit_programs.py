#!/usr/bin/env python3
"""Audits real programs with `pvbench audit`, and checks the audits against independent truths.

    scripts/audit_programs.py --report REPORT.json [--program PVBENCH] [--work DIR] [--kernel DIR] [--only NAME]..
                              [--out reports/audit-programs.json]

The programs: ripgrep and a decoder of rav1d from crates.io, Debian's sqlite3 and python3, the kernel and modules of
Debian, and pvbench itself. The costs are those of the cells of REPORT.json, which must be of this machine. `--work`
keeps what was downloaded and built. `--kernel` is a folder with an unpacked package of a kernel (and of its symbols);
without it, Debian's is downloaded. `--only` takes some of the programs and leaves the others of the file as they are.
Needs cargo, gcc, valgrind, apt-get and dpkg. A program that fails is reported by name, and the others are done.
"""

import argparse
import datetime
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "audit_programs"))

import fetch  # noqa: E402
from elf import Elf  # noqa: E402
from measure import (  # noqa: E402
    Failed, audit, callgrind, counted_sites, cpu_seconds, kernel_lists, measure_direct, price_run, run, same_sites)

ROOT = HERE.parent
DATA = HERE / "audit_programs"
# Runs of a program: long enough for its CPU time, short enough for callgrind.
DECODES, PYTHON_STEPS, COUNTED_TIMES = "3", "100000", "100000"


class Audits:
    """What all programs need."""

    def __init__(self, args, work):
        self.args, self.work = args, work
        self.debian = fetch.Debian(work)
        self.program, self.report = args.program.resolve(), args.report.resolve()

    def static(self, file):
        return audit(self.program, file if isinstance(file, list) else [file])

    def priced(self, binary, arguments):
        seconds = cpu_seconds([binary, *arguments])
        return price_run(self.program, self.report, binary, arguments, seconds)

    def made_direct(self, binary, document, arguments):
        return measure_direct(binary, document, lambda file: ([file, *arguments],), self.work, self.args.blocks)

    def ripgrep(self):
        binary, arguments = fetch.ripgrep(self.work)
        row, _ = self.static(binary)
        row["run"], document = self.priced(binary, arguments)
        row["made_direct"] = self.made_direct(binary, document, arguments)
        return {"version": fetch.RIPGREP, "command": "rg -j1 -n -i -w PATTERN TEXT", **row}

    def rav1d(self):
        clip = str(fetch.clip(self.work, self.debian))
        binary, has_assembly = fetch.rav1d(self.work, self.debian)
        row, _ = self.static(binary)
        row["run"], document = self.priced(binary, [clip, DECODES])
        row["made_direct"] = self.made_direct(binary, document, [clip, DECODES])
        return {"version": fetch.RAV1D, "command": f"{DECODES} decodes of {fetch.CLIP_FRAMES} frames",
                "assembly": has_assembly, **row}

    def sqlite(self):
        root = self.debian.unpack("sqlite3", "libsqlite3-0")
        shell, library = root / "usr/bin/sqlite3", root / "usr/lib/x86_64-linux-gnu/libsqlite3.so.0"
        row, _ = self.static(library.resolve())
        row["shell"], _ = self.static(shell)
        row["runs"] = {}
        script, database = DATA / "rows.sql", self.work / "rows.db"

        def command(name, where):
            # Each run begins with an empty database.
            return (["/bin/sh", "-c", 'rm -f "$2"; exec "$0" "$1"', shell, name, database], script,
                    {**os.environ, "LD_LIBRARY_PATH": str(where.parent)})

        for key, name in [("memory", ":memory:"), ("file", str(database))]:
            counts = self.work / f"sqlite-{key}.callgrind"
            seconds = cpu_seconds(*command(name, library))
            database.unlink(missing_ok=True)
            callgrind([shell, name], counts, *command(name, library)[1:])
            row["runs"][key], document = price_run(self.program, self.report, library.resolve(), [], seconds, counts)
            if key == "memory":
                row["made_direct"] = measure_direct(
                    library, document, lambda file, name=name: command(name, file), self.work, self.args.blocks)
        return {"version": self.debian.versions["sqlite3"], "command": "sqlite3 DATABASE < rows.sql",
                "no_symbols_reason": fetch.symbols_of(self.debian, "libsqlite3-0"), **row}

    def python(self):
        stripped, named = fetch.python(self.debian)
        arguments = ["-I", "-S", str(DATA / "loop.py"), PYTHON_STEPS]
        row, binaries = self.static(stripped)
        row["run"], _ = self.priced(stripped, arguments)
        if named:
            row["with_symbols"], others = self.static(named)
            row["with_symbols"]["run"], _ = self.priced(named, arguments)
            row["same_sites"] = same_sites(binaries[0], others[0])
        version = self.debian.versions["python3.11-minimal"]
        return {"version": version, "command": f"python3 loop.py {PYTHON_STEPS}", **row}

    def kernel(self):
        image, modules, symbols = fetch.kernel(self.debian, self.args.kernel)
        sites = json.loads(run([self.program, "linux", "sites", "--json", image]))
        row, binaries = self.static(image)
        row["listed_pv_sites"], row["audit_pv_sites"] = sites["sites"], binaries[0]["counts"].get("pv", 0)
        # Some modules have only tables; the audit refuses a file without code.
        with_code = [file for file in modules if Elf(file).has_code()]
        row["modules"], of_modules = self.static(with_code)
        row["modules"]["without_code"] = len(modules) - len(with_code)
        row["modules"]["lists"] = kernel_lists(with_code, of_modules)
        for file in symbols[-1:]:
            row["with_symbols"], one = self.static(file)
            row["with_symbols"]["lists"] = kernel_lists([file], one)
        return {"version": image.name.removeprefix("vmlinuz-"), "release": sites["release"], **row}

    def pvbench(self):
        row, _ = self.static(self.program)
        # A development build is slow under callgrind: a small program to audit.
        shell = self.debian.unpack("sqlite3") / "usr/bin/sqlite3"
        row["run"], _ = self.priced(self.program, ["audit", "--json", str(shell)])
        version = run([self.program, "--version"]).decode().split()[-1]
        return {"version": version, "command": "pvbench audit --json sqlite3", **row}

    def counted(self):
        """Programs whose sites count themselves."""
        built = {"C": self.work / "counted-c", "Rust": self.work / "counted-rust"}
        run(["gcc", "-O2", "-g", "-o", built["C"], DATA / "counted.c"])
        run(["rustc", "-O", "-g", "--edition", "2024", "-o", built["Rust"], DATA / "counted.rs"])
        return {name: counted_sites(self.program, self.report, file, COUNTED_TIMES) for name, file in built.items()}


NAMES = ["ripgrep", "rav1d", "sqlite", "python", "kernel", "pvbench", "counted"]


def describe_cpu():
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else "an unknown CPU"


def compact(value, indent=0):
    """JSON with a line for each short object."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) < 100 or not isinstance(value, (dict, list)):
        return text
    space, ends = " " * (indent + 1), "{}" if isinstance(value, dict) else "[]"
    items = value.items() if isinstance(value, dict) else [(None, each) for each in value]
    parts = [(f"{json.dumps(key)}: " if key is not None else "") + compact(each, indent + 1) for key, each in items]
    return f"{ends[0]}\n{space}" + f",\n{space}".join(parts) + f"\n{' ' * indent}{ends[1]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/pvbench")
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--kernel", type=Path)
    parser.add_argument("--only", action="append", choices=NAMES)
    parser.add_argument("--blocks", type=int, default=100, help="blocks of four runs, with and without direct calls")
    parser.add_argument("--out", type=Path, default=ROOT / "reports/audit-programs.json")
    args = parser.parse_args()
    for file in (args.program, args.report):
        if not file.is_file():
            parser.error(f"{file} is no file")
    if args.blocks < 10:
        parser.error("--blocks is at least 10")
    work = args.work.resolve() if args.work else Path(tempfile.mkdtemp(prefix="pvbench-programs-"))
    work.mkdir(parents=True, exist_ok=True)
    found = json.loads(args.out.read_text()) if args.only and args.out.exists() else {}
    found.update({"date": datetime.date.today().isoformat(), "cpu": describe_cpu(),
                  "valgrind": run(["valgrind", "--version"]).decode().strip(),
                  # Optimised code audits several times as fast as that of a development build.
                  "build": args.program.resolve().parent.name, "load": round(os.getloadavg()[0], 1)})
    audits, failures = Audits(args, work), []
    for name in args.only or NAMES:
        try:
            found[name] = getattr(audits, name)()
            print(f"{name}: done", flush=True)
        except (Failed, OSError, ValueError, KeyError) as error:
            failures.append(f"{name}: {type(error).__name__}: {error}")
            print(failures[-1], file=sys.stderr, flush=True)
        args.out.write_text(compact(found) + "\n")
    if not args.work:
        shutil.rmtree(work)
    print(f"wrote {args.out}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
