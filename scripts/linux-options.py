#!/usr/bin/env python3
"""What pv_ops costs among the other options of a kernel, in instructions.

    scripts/build-kernels.sh FOLDER && cargo build --release && scripts/linux-options.py FOLDER

Boots what scripts/build-kernels.sh left in FOLDER, writes reports/linux/options.json and prints it as a table. Further
arguments go to `pvbench linux run`. Needs only Python's standard library.
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
# What is compared with what: the first of each is the kernel without. SELinux and audit stand on the network.
GROUPS = [
    ["base", "paravirt", "paravirt-spinlocks", "xxl", "xxl-spinlocks", "noalt", "up", "preempt", "retpoline",
     "stackprotector", "memcg", "security"],
    ["net", "audit", "selinux"],
]


def run(kernels, options):
    """One comparison, as `linux.json`; names are those of the variants."""
    with tempfile.TemporaryDirectory() as folder:
        # Files are named for what they are, so that the tables are.
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
        place = {"noalt": pathlib.Path(unpatched) / "vmlinux.noalt"}
        results = []
        for group in GROUPS:
            kernels = [(name, place.get(name, folder / f"{name}.vmlinux")) for name in group]
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
