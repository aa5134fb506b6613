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


def compare_names(binary, found):
    """By names of functions, for object files: their addresses are not those of objdump."""
    theirs = {kind: collections.Counter(label for _, label, _ in sites) for kind, sites in found.items()}
    ours = collections.defaultdict(lambda: [0, 0])
    for function in binary["functions"]:
        names = [function.get("symbol", function["name"]), *function.get("aliases", [])]
        name = next((name for name in names if theirs["call"][name] + theirs["jmp"][name]), names[0])
        ours[name][0] += function["call_instructions"]
        ours[name][1] += function["jump_instructions"]
    rows = [(name, tuple(counts), (theirs["call"][name], theirs["jmp"][name]), theirs["(bad)"][name])
            for name, counts in ours.items() if tuple(counts) != (theirs["call"][name], theirs["jmp"][name])]
    return rows, sum(count for name, count in theirs["call"].items() if name not in ours)


def explain(bad):
    return "data between the instructions, which neither can tell from code" if bad else "unexplained"


def check(path, binary):
    is_object = binary["kind"] in ("object_file", "kernel_module")
    found = objdump(path)
    rows, outside = (compare_names if is_object else compare_addresses)(binary, found)
    differences = [{"function": name, "audit": ours, "objdump": theirs, "because": explain(bad)}
                   for name, ours, theirs, bad in rows]
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
            results.append(check(path, binary))
    for name, path in (("vmlinux", vmlinux), ("vmlinuz", image)):
        binary = audit(program, path)
        pv[name] = binary["counts"].get("pv", 0)
        results += [check(path, binary)] if name == "vmlinux" else []
    return pv, results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--kernel")
    parser.add_argument("--program", default=ROOT / "target/release/pvbench")
    parser.add_argument("--out", default=ROOT / "reports/audit-objdump.json")
    given = parser.parse_args()
    folders = [pathlib.Path("/usr/bin"), pathlib.Path("/usr/lib/x86_64-linux-gnu")]
    paths = [pathlib.Path(file) for file in given.files] or sorted(
        {path.resolve() for folder in folders for path in folder.iterdir()
         if path.is_file() and (folder.name == "bin" or ".so" in path.name) and path.stat().st_size > 100_000})
    results = []
    for path in paths:
        binary = audit(given.program, path)
        if binary and (given.files or sum(binary["counts"].values()) >= MIN_SITES):
            results.append(check(path, binary))
            print(*list(results[-1].values())[:6], results[-1]["differences_total"], results[-1]["unexplained"])
    report = {"objdump": subprocess.run(["objdump", "--version"], capture_output=True, text=True,
                                        check=True).stdout.splitlines()[0]}
    if given.kernel:
        report["pv_sites"], more = kernel(given.program, given.kernel)
        results += more
    report["files"] = len(results)
    for name in ("functions_compared", "calls", "jumps", "sites", "differences_total", "unexplained"):
        report[name] = sum(result[name] for result in results)
    report["results"] = results
    pathlib.Path(given.out).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print({name: value for name, value in report.items() if name != "results"})
    sys.exit(1 if report["unexplained"] else 0)


if __name__ == "__main__":
    main()
