#!/usr/bin/env python3
"""Compares the counts with those of another set-up.

    scripts/linux-agreement.py

Compares reports/linux/debian-cloud.json and reports/linux/options.json with earlier figures. Both have Linux 6.1.192,
QEMU 7.2 and `-cpu qemu64`; the earlier figures have another init process and another order of the calls of mmap_perf.
Debian's kernel is the same file. The small kernels are other builds, which differ even without pv_ops (the last table).
Writes reports/linux/agreement.md, without kernels that the reports lack. Needs only Python's standard library.
"""

import json
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "reports" / "linux"
# Percentage points. Over the phases of the tick, both vary by less.
NEAR = 0.2

# Percent above the first kernel of the same comparison, by kernel and workload.
DEBIAN = {
    "noalt": {"getppid": 0.65, "mmap_perf": 0.51, "fault": 0.56, "mprotect": 0.85, "fork_exit": 0.23,
              "ping_pong": 0.55},
}
WORKLOADS = ["getppid", "mmap_perf", "fault", "mprotect", "fork_exit", "fork_exec", "ping_pong", "open_close",
             "sched_yield", "futex", "signal"]
BUILT = {
    name: dict(zip(WORKLOADS, figures))
    for name, figures in {
        "paravirt": [0, 0.11, 0.01, 0.24, 0.13, 0.25, 0.06, 0.41, 0.10, 0, 0],
        "paravirt-spinlocks": [0, 0.20, 0.16, 0.29, 0.55, 0.46, 0.62, 1.26, 1.08, 0.61, 0.30],
        "xxl": [1.02, 2.26, 1.64, 30.3, 2.62, 2.38, 2.17, 1.65, 3.36, 0.41, 1.03],
        "xxl-spinlocks": [1.02, 2.38, 1.79, 30.3, 3.05, 2.64, 2.72, 2.82, 4.15, 1.02, 1.46],
        "noalt": [2.04, 3.04, 2.23, 31.6, 3.44, 3.05, 3.58, 3.09, 5.01, 1.42, 2.11],
    }.items()
}
OPTIONS = {
    name: dict(zip(["mmap_perf", "ping_pong", "open_close"], figures))
    for name, figures in {
        "up": [-8.1, -26.2, -10.6],
        "retpoline": [0.42, 5.0, 2.8],
        "preempt": [0.88, 1.1, 3.9],
        "stackprotector": [1.25, 3.1, 2.0],
        "memcg": [7.8, 0.1, 2.4],
        "audit": [0.02, 0.26, 2.1],
        "selinux": [0.87, 15.6, 29.9],
    }.items()
}
# Instructions per unit of the kernel without pv_ops.
BASE = dict(zip(WORKLOADS, [196.0, 12742, 150265, 16267, 69603, 143926, 6878, 2759, 2341, 492, 2320]))


def rows(linux, before):
    for workload in linux["workloads"]:
        for count in workload["counts"]:
            then, now = before.get(count["kernel"], {}).get(workload["name"]), count["percent"]
            if then is not None and now:
                yield count["kernel"], workload["name"], then, now


def table(linux, before):
    lines = ["| kernel | workload | before | now | over the phases | apart |", "|---|---|---:|---:|---:|---:|"]
    near = all_rows = 0
    for kernel, workload, then, now in rows(linux, before):
        apart = now["estimate"] - then
        all_rows += 1
        near += abs(apart) <= NEAR
        mark = "" if abs(apart) <= NEAR else " !"
        lines.append(f"| `{kernel}` | `{workload}` | {then:+.2f} | {now['estimate']:+.2f} | "
                     f"{now['low']:+.2f} to {now['high']:+.2f} | {apart:+.2f}{mark} |")
    return lines, near, all_rows


def base(linux):
    lines = ["| workload | before | now | apart |", "|---|---:|---:|---:|"]
    for workload in linux["workloads"]:
        then, now = BASE.get(workload["name"]), workload["counts"][0]["per_unit"]["estimate"]
        if then:
            lines.append(f"| `{workload['name']}` | {then:,} | {now:,.0f} | {(now / then - 1) * 100:+.1f}% |")
    return lines


def main():
    parts = ["# Counts beside those of another set-up", "", *__doc__.split("\n\n")[2].splitlines()]

    def section(title, linux, before):
        lines, near, count = table(linux, before)
        if count:
            summary = f"{near} of {count} within {NEAR} percentage points (`!`: not)."
            parts.extend(["", f"## {title}", "", summary, "", *lines])

    debian = json.loads((FOLDER / "debian-cloud.json").read_text(encoding="utf-8"))
    section("Debian's cloud kernel against itself, one file", debian["linux"], DEBIAN)
    groups = json.loads((FOLDER / "options.json").read_text(encoding="utf-8"))["groups"]
    for group in groups:
        section(f"Small kernels against `{group['kernels'][0]['name']}`: pv_ops", group, BUILT)
        section(f"Small kernels against `{group['kernels'][0]['name']}`: other options", group, OPTIONS)
    parts += ["", "## Instructions per unit of the small kernel without pv_ops", "", *base(groups[0]), ""]
    (FOLDER / "agreement.md").write_text("\n".join(parts), encoding="utf-8")
    print("\n".join(parts))


if __name__ == "__main__":
    main()
