#!/usr/bin/env python3
"""Compares the call and jump instructions that `pvbench audit` counts in each function with those of `objdump -d`.

    cargo build --release && scripts/audit_objdump.py [FILE..] [--kernel FOLDER] [--out reports/audit-objdump.json]

Without FILE: every ELF file of /usr/bin and /usr/lib/x86_64-linux-gnu with at least 10,000 call sites. --kernel names
a folder with an unpacked kernel of Debian. To make it (300 MB are loaded):

    apt-get download linux-image-6.1.0-57-cloud-amd64 linux-image-6.1.0-57-cloud-amd64-dbg
    for package in linux-image-*.deb; do dpkg -x $package FOLDER; done

Its vmlinux, its bzImage and its modules are compared, and their pv sites with `pvbench linux sites` (vmlinux) and with
the entries of .parainstructions (modules). Needs objdump and readelf. Exits with 1 if a difference has no explanation.
"""

import argparse
import bisect
import collections
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MIN_SITES = 10_000
PREFIXES = {"notrack", "bnd", "addr32", "data16", "rex.W", "cs", "ds", "es", "ss", "fs", "gs", "repz", "repnz", "lock"}
CALLS, JUMPS = {"call", "callq", "callw", "lcall", "rex.W"}, {"jmp", "jmpq", "jmpw", "ljmp"}
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\t(.*)$")
PV_ENTRY_BYTES = 16


def audit(program, path):
    done = subprocess.run([program, "audit", "--json", path], capture_output=True, text=True, check=False)
    return json.loads(done.stdout)["binaries"][0] if done.returncode == 0 else None


def objdump(path):
    """Calls, jumps and undecoded bytes, each as (section, label, address), without stubs of linkage tables."""
    found = {"call": [], "jmp": [], "(bad)": []}
    section = label = ""
    command = ["objdump", "-d", "-w", "--no-show-raw-insn", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stdout:
            if line[0] in "0123456789abcdef" and line.endswith(">:\n"):
                label = line[line.index("<") + 1:-3]
            elif line.startswith("Disassembly"):
                section, label = line.split()[-1][:-1], ""
            elif ("call" in line or "jmp" in line or "(bad)" in line) and not section.startswith((".plt", ".iplt")):
                match = INSTRUCTION.match(line)
                words = [word for word in match[2].split("#")[0].split() if word not in PREFIXES] if match else []
                word = words[0].split(",")[0] if words else ""
                kind = "call" if word in CALLS else "jmp" if word in JUMPS else "(bad)" if "(bad)" in words else None
                if kind:
                    found[kind].append((section, label, int(match[1], 16)))
    return found


def compare_addresses(binary, found):
    """By ranges of functions, for linked files."""
    rows, covered = [], 0
    sorted_of = {kind: sorted(address for _, _, address in sites) for kind, sites in found.items()}
    for function in binary["functions"]:
        start, end = function["address"], function["address"] + function["bytes"]
        own = {kind: bisect.bisect_left(at, end) - bisect.bisect_left(at, start) for kind, at in sorted_of.items()}
        covered += own["call"]
        counts = (function["call_instructions"], function["jump_instructions"])
        if counts != (own["call"], own["jmp"]):
            rows.append((function["name"], counts, (own["call"], own["jmp"]), own["(bad)"]))
    return rows, len(found["call"]) - covered


def compare_symbols(path, binary, found):
    """By symbols of functions, for object files: their addresses are not those of objdump."""
    text = subprocess.run(["objdump", "-t", path], capture_output=True, text=True, check=False).stdout
    symbols = collections.defaultdict(set)
    for address, section, size, name in re.findall(r"^([0-9a-f]+) .{5}[F ]. (\S+)\t([0-9a-f]+) (?:\.hidden )?(.+)$",
                                                   text, re.M):
        symbols[name, int(size, 16)].add((section, int(address, 16)))
    sites = {kind: sorted((section, address) for section, _, address in all) for kind, all in found.items()}
    rows, covered, unnamed = [], 0, 0
    for function in binary["functions"]:
        counts = (function["call_instructions"], function["jump_instructions"])
        places = symbols.get((function.get("symbol", function["name"]), function["bytes"]), ())
        own = [{kind: bisect.bisect_left(at, (section, start + function["bytes"]))
                - bisect.bisect_left(at, (section, start)) for kind, at in sites.items()} for section, start in places]
        if not own:
            unnamed += counts[0]
            continue
        # Functions of one name and size: any of them.
        same = next((it for it in own if counts == (it["call"], it["jmp"])), own[0])
        covered += same["call"]
        if counts != (same["call"], same["jmp"]):
            rows.append((function["name"], counts, (same["call"], same["jmp"]), same["(bad)"]))
    # Code without a symbol, for example replacements that boot writes over sites: its calls agree in sum.
    return rows, len(found["call"]) - covered - unnamed


def starts_of_instructions(path, wanted):
    """Which of these addresses objdump takes for the start of an instruction."""
    with subprocess.Popen(["objdump", "-d", "-w", "--no-show-raw-insn", path], stdout=subprocess.PIPE, text=True,
                          errors="replace") as process:
        lines = (INSTRUCTION.match(line) for line in process.stdout)
        return {int(match[1], 16) for match in lines if match and int(match[1], 16) in wanted}


def check(path, binary):
    is_object = binary["kind"] in ("object_file", "kernel_module")
    found = objdump(path)
    rows, outside = compare_symbols(path, binary, found) if is_object else compare_addresses(binary, found)
    address_of = {function["name"]: function["address"] for function in binary["functions"]}
    open_rows = {address_of[name] for name, _, _, bad in rows if not bad and not is_object}
    begun = starts_of_instructions(path, open_rows) if open_rows else set()
    differences = []
    for name, ours, theirs, bad in rows:
        if bad:
            because = "data between the instructions, which neither can tell from code"
        elif address_of[name] in open_rows - begun:
            because = "objdump reads data before the function as an instruction that covers its start"
        else:
            because = "unexplained"
        differences.append({"function": name, "audit": ours, "objdump": theirs, "because": because})
    return {"file": str(path), "functions_compared": len(binary["functions"]), "calls": len(found["call"]),
            "calls_outside_functions": outside, "jumps": len(found["jmp"]), "sites": sum(binary["counts"].values()),
            "differences": differences[:50], "differences_total": len(differences),
            "unexplained": sum(row["because"] == "unexplained" for row in differences)}


def parainstructions(path):
    text = subprocess.run(["readelf", "-SW", path], capture_output=True, text=True, check=False).stdout
    sizes = re.findall(r"\.parainstructions\s+PROGBITS\s+\S+\s+\S+\s+([0-9a-f]+)", text)
    return sum(int(size, 16) // PV_ENTRY_BYTES for size in sizes)


def kernel(program, folder):
    folder = pathlib.Path(folder)
    modules = sorted(folder.glob("lib/modules/**/*.ko"))
    vmlinux, image = next(folder.glob("usr/lib/debug/boot/vmlinux-*")), next(folder.glob("boot/vmlinuz-*"))
    listed = subprocess.run([program, "linux", "sites", "--json", image], capture_output=True, text=True, check=False)
    sites = json.loads(listed.stdout)["sites"] if listed.returncode == 0 else None
    pv = {"linux_sites": sites, "modules": len(modules), "modules_that_differ": []}
    results = []
    for path in modules:
        binary = audit(program, path)
        expected, counted = parainstructions(path), (binary or {}).get("counts", {}).get("pv", 0)
        if expected != counted:
            pv["modules_that_differ"].append({"file": path.name, "parainstructions": expected, "audit": counted})
        if binary:
            results.append({**check(path, binary), "file": str(path.relative_to(folder))})
    for name, path in (("vmlinux", vmlinux), ("vmlinuz", image)):
        binary = audit(program, path)
        pv[name] = binary["counts"].get("pv", 0)
        if name == "vmlinux":
            results.append({**check(path, binary), "file": str(path.relative_to(folder))})
    return pv, results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--kernel")
    parser.add_argument("--program", default=ROOT / "target/release/pvbench")
    parser.add_argument("--out", default=ROOT / "reports/audit-objdump.json")
    given = parser.parse_args()
    folders = [pathlib.Path("/usr/bin"), pathlib.Path("/usr/lib/x86_64-linux-gnu")]
    # Links to programs of other folders are left out.
    paths = [pathlib.Path(file) for file in given.files] or sorted(
        path for folder in folders for path in folder.iterdir()
        if path.is_file() and (folder.name == "bin" or ".so" in path.name) and path.stat().st_size > 100_000
        and not path.is_symlink())
    report = {"objdump": subprocess.run(["objdump", "--version"], capture_output=True, text=True,
                                        check=True).stdout.splitlines()[0]}
    results = []
    if given.kernel:
        report["pv_sites"], results = kernel(given.program, given.kernel)
        print(report["pv_sites"])
    for path in paths:
        binary = audit(given.program, path)
        if binary and (given.files or sum(binary["counts"].values()) >= MIN_SITES):
            results.append(check(path, binary))
            write(report, results, given.out)
            print(*list(results[-1].values())[:6], results[-1]["differences_total"], results[-1]["unexplained"],
                  flush=True)
    write(report, results, given.out)
    print({name: value for name, value in report.items() if name != "results"})
    sys.exit(1 if report["unexplained"] else 0)


def write(report, results, path):
    report["files"] = len(results)
    for name in ("functions_compared", "calls", "calls_outside_functions", "jumps", "sites", "differences_total",
                 "unexplained"):
        report[name] = sum(result[name] for result in results)
    # The files of a kernel are many: those that agree are in the sums.
    report["results"] = [result for result in results if result["differences"] or not result["file"].endswith(".ko")]
    pathlib.Path(path).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
