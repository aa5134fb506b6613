#!/usr/bin/env python3
"""Measures how long `pvbench audit` and `pvbench gate` take and how much memory they need, by the size of the binary.

    cargo build --release && scripts/audit_speed.py [FILE..] [--out reports/audit-speed.json]

Without FILE: librustc_driver of the installed Rust (154 MB, 97 MB of code, no debug information), programs and
libraries of /usr, one for each size from 1 MB on, and pvbench itself with full debug information, which is built first.
A FILE may also be a vmlinux: those of distributions with debug information have hundreds of megabytes.
The gate has two rules on each binary: one on a function, and one on the whole binary.
Each command runs several times; the fastest run counts, because a busy machine only adds. On a busy machine, see the
CPU time: it is that of all threads.
Exits with 1 if a promise is missed: 2 s for 100 MB without debug information and 10 s with it, 300 ms for the gate on
20 MB, 1 GB of memory, and CPU time per megabyte of code that grows by at most half from the second largest
file to the largest one, both without debug information.
"""

import argparse
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MB = 1e6
RUNS = 4
MAX_SECONDS_PER_100_MB, MAX_SECONDS_PER_100_MB_WITH_DEBUG = 2.0, 10.0
MAX_GATE_SECONDS, GATE_MB, MAX_MEMORY_MB, MAX_GROWTH = 0.3, 20, 1000, 1.5
# Files from this size on stand for 100 MB: their time is scaled to it.
LARGE_MB = 90
# Exit codes of a gate that judged: passed, and exceeded.
JUDGED = (0, 1)


def run(command, output):
    """Wall seconds, CPU seconds, peak memory in MB and exit code of a command."""
    begun = time.monotonic()
    into = [(os.POSIX_SPAWN_OPEN, fd, output if fd == 1 else os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            for fd in (1, 2)]
    child = os.posix_spawn(command[0], command, os.environ, file_actions=into)
    _, status, used = os.wait4(child, 0)
    seconds = time.monotonic() - begun
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, os.waitstatus_to_exitcode(status)


def fastest(command, output, codes):
    """The smallest times and the largest memory of several runs; None if one fails."""
    runs = [run(command, output) for _ in range(RUNS)]
    if any(code not in codes for _, _, _, code in runs):
        return None
    seconds, cpu, peak, _ = zip(*runs)
    return {"seconds": round(min(seconds), 3), "cpu_seconds": round(min(cpu), 3), "peak_mb": round(max(peak))}


def measure(program, path, folder):
    output = str(folder / "out")
    audited = fastest([str(program), "audit", "--json", str(path)], output, (0,))
    if audited is None:
        print(f"{path} cannot be audited", file=sys.stderr)
        return None
    binary, names = read_audit(output)
    budget = folder / "budget.toml"
    budget.write_text(budgets(path, names), encoding="utf-8")
    gate = fastest([str(program), "gate", "--budget", str(budget)], output, JUDGED)
    return {"file": path.name, "mb": round(path.stat().st_size / MB, 1),
            "debug_mb": round(debug_bytes(path) / MB, 1), "code_mb": round(binary["code_bytes"] / MB, 1),
            "instructions": binary["instructions"], "sites": sum(binary["counts"].values()), **audited,
            "gate_seconds": gate and gate["seconds"], "gate_cpu_seconds": gate and gate["cpu_seconds"]}


def read_audit(output):
    """The first binary of a document without its functions, and the plain names of these. Not the whole document: a
    process inherits the peak memory of the one that starts it."""
    head, names, is_head = [], [], True
    with open(output, encoding="utf-8") as file:
        for line in file:
            is_head = is_head and not line.startswith('      "functions": [')
            if is_head:
                head.append(line)
            elif found := re.fullmatch(r' {10}"name": "([A-Za-z_][\w:.]*)",\n', line):
                names.append(found[1])
    return json.loads("".join(head) + '"functions": []}]}')["binaries"][0], names


def budgets(path, names):
    """A rule on the whole binary, and one on a function in the middle of it if it has names."""
    rule = f"[[budget]]\nbinary = {json.dumps(str(path))}\nindirect_calls = 1000000000\n"
    return rule + (f"\n{rule}function = {json.dumps(names[len(names) // 2])}\n" if names else "")


def debug_bytes(path):
    """The size of the sections with debug information (DWARF) in an ELF file of 64 bits."""
    with open(path, "rb") as file:
        header = file.read(64)
        table, = struct.unpack_from("<Q", header, 40)
        size, count, names = struct.unpack_from("<HHH", header, 58)
        file.seek(table)
        sections = [struct.unpack("<IIQQQQIIQQ", file.read(size)[:64]) for _ in range(count)]
        file.seek(sections[names][4])
        text = file.read(sections[names][5])
    return sum(section[5] for section in sections if text.startswith((b".debug_", b".zdebug_"), section[0]))


def of_each_size():
    """One file for each doubling of the size."""
    folders = [pathlib.Path("/usr/bin"), pathlib.Path("/usr/lib/x86_64-linux-gnu")]
    found = sorted((path.stat().st_size, path) for folder in folders for path in folder.iterdir()
                   if path.is_file() and not path.is_symlink() and (folder.name == "bin" or ".so" in path.name))
    wanted = [MB * 2 ** step for step in range(8)]
    chosen = [next((path for size, path in found if size >= least), None) for least in [*wanted, GATE_MB * MB]]
    drivers = sorted(pathlib.Path.home().glob(".rustup/toolchains/*/lib/librustc_driver-*.so"))
    return sorted({path for path in [*chosen, *drivers[:1]] if path}, key=lambda path: path.stat().st_size)


def with_debug_information():
    """pvbench and all its dependencies with full debug information."""
    folder = ROOT / "target/audit-speed"
    subprocess.run(["cargo", "build", "--locked", "--release", "--no-default-features",
                    "--features", "cli,html,linux,audit", "--config", "profile.release.debug=2",
                    "--target-dir", str(folder)], cwd=ROOT, check=True)
    return folder / "release/pvbench"


def judge(results):
    """Each promise: what was measured, and its bound. None: no file of that kind was measured."""
    def largest(values):
        return max(values, default=None)

    def has_debug(it):
        # Programs without it have a few lines of their assembly.
        return it["debug_mb"] >= it["mb"] / 4

    def per_100_mb(with_debug):
        return largest(100 * it["seconds"] / it["mb"] for it in results
                       if it["mb"] >= LARGE_MB and has_debug(it) == with_debug)

    plain = sorted((it["code_mb"], it["cpu_seconds"] / it["code_mb"]) for it in results
                   if it["code_mb"] >= 1 and not has_debug(it))
    return {
        "seconds_per_100_mb": [per_100_mb(False), MAX_SECONDS_PER_100_MB],
        "seconds_per_100_mb_with_debug_information": [per_100_mb(True), MAX_SECONDS_PER_100_MB_WITH_DEBUG],
        "gate_seconds_of_20_mb": [largest(GATE_MB * it["gate_seconds"] / it["mb"] for it in results
                                          if GATE_MB <= it["mb"] < 2 * GATE_MB and it["gate_seconds"]),
                                  MAX_GATE_SECONDS],
        "peak_mb": [largest(it["peak_mb"] for it in results), MAX_MEMORY_MB],
        "growth_of_cpu_seconds_per_code_mb": [plain[-1][1] / plain[-2][1] if len(plain) > 1 else None, MAX_GROWTH],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target/release/pvbench")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "reports/audit-speed.json")
    given = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="pvbench-audit-speed-") as folder:
        for path in given.files or [*of_each_size(), with_debug_information()]:
            result = measure(given.program.resolve(), path.resolve(), pathlib.Path(folder))
            if result:
                results.append(result)
                print(result, flush=True)
    promises = {name: {"measured": None if value is None else round(value, 3), "at_most": bound,
                       "kept": value is None or value <= bound} for name, (value, bound) in judge(results).items()}
    report = {"cpus": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1), "runs": RUNS,
              "promises": promises, "files": results}
    given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(promises, indent=1))
    sys.exit(0 if all(promise["kept"] for promise in promises.values()) else 1)


if __name__ == "__main__":
    main()
