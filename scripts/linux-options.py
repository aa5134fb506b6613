#!/usr/bin/env python3
"""Compares the cost of pv_ops with that of other options of a kernel, in instructions.

    scripts/build-kernels.sh FOLDER && cargo build --release && scripts/linux-options.py FOLDER

Boots the kernels of scripts/build-kernels.sh in FOLDER, writes reports/linux/options.json and prints it as a table.
Further arguments go to `pvbench linux run`. Needs only Python's standard library.
"""

import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = pathlib.Path(os.environ.get("PVBENCH", ROOT / "target" / "release" / "pvbench"))
# The groups of a comparison: the first kernel of each lacks the options. SELinux and audit depend on the network.
GROUPS = [
    ["base", "paravirt", "paravirt-spinlocks", "xxl", "xxl-spinlocks", "noalt", "up", "preempt", "retpoline",
     "stackprotector", "memcg", "security"],
    ["net", "audit", "selinux"],
]


def run(kernels, options):
    """Runs one comparison and returns `linux.json`; kernels have the names of their variants."""
    with tempfile.TemporaryDirectory() as folder:
        # Tables name kernels by their files, so each link has the name of its variant.
        named = []
        for name, path in kernels:
            link = pathlib.Path(folder) / name
            link.symlink_to(path)
            named.append(link)
        command = [BINARY, "linux", "run", *named, "--json", *options]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def table(linux):
    names = [kernel["name"] for kernel in linux["kernels"]]
    rows = [["workload", *names]]
    for workload in linux["workloads"]:
        row = [workload["name"]]
        for count in workload["counts"]:
            percent = count["percent"]
            row.append(f"{percent['estimate']:+.2f}" if percent else f"{count['per_unit']['estimate']:.1f}")
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder, options = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]
    with tempfile.TemporaryDirectory() as unpatched:
        full = folder / "xxl-spinlocks.vmlinux"
        if full.exists():
            command = [BINARY, "linux", "unpatch", full, "--out", unpatched]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        variants = {"noalt": pathlib.Path(unpatched) / "vmlinux.noalt"}
        results = []
        for group in GROUPS:
            kernels = [(name, variants.get(name, folder / f"{name}.vmlinux")) for name in group]
            kernels = [(name, path) for name, path in kernels if path.exists()]
            if len(kernels) > 1 and kernels[0][0] == group[0]:
                results.append(run(kernels, options))
                table(results[-1])
                print()
    out = ROOT / "reports" / "linux" / "options.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "script": "scripts/linux-options.py, kernels by scripts/build-kernels.sh",
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "groups": results,
    }
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
