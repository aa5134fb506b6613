#!/usr/bin/env python3
"""Checks the promises on speed, size and precision of pvbench on this machine.

    cargo build --release && scripts/acceptance.py [--out reports/acceptance.json]

Takes about seven minutes: a quick run, then two default runs one after the other. Needs only Python's standard library.
Prints each promise with the measured value, writes all of them as JSON, and exits with 1 if one is missed.
"""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = ROOT / "target" / "release" / "pvbench"


def run(folder, *options):
    """Runs pvbench once. Returns the report, the seconds, and the peak memory of the largest process so far, in MB."""
    begun = time.monotonic()
    subprocess.run([BINARY, "run", *options, "--out", folder], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    seconds = time.monotonic() - begun
    # The maximum over all waited-for children: pvbench and its workers.
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    with open(pathlib.Path(folder) / "report.json", encoding="utf-8") as file:
        return json.load(file), seconds, memory


def key(cell):
    return cell["op"], cell["body"], cell["mechanism"], cell.get("state", ""), cell["regime"]


def agreement(first, second):
    """Counts the cells of two runs whose estimates differ by at most the sum of their half-widths."""
    others = {key(cell): cell for cell in second["cells"]}
    agreeing, compared, bimodal, apart = 0, 0, 0, []
    for cell in first["cells"]:
        other = others[key(cell)]
        if "overhead" not in cell or "overhead" not in other:
            continue
        if cell["modes"] or other["modes"]:
            bimodal += 1
        compared += 1
        one, two = cell["overhead"]["cycles"], other["overhead"]["cycles"]
        allowed = (one["high"] - one["low"] + two["high"] - two["low"]) / 2
        if abs(one["estimate"] - two["estimate"]) <= allowed:
            agreeing += 1
        else:
            apart.append(" ".join(part for part in key(cell) if part))
    return agreeing, compared, bimodal, apart


def inside_floor(report):
    """Counts the cells of `inline` against itself that lie within their floor."""
    cells = [cell for cell in report["cells"] if cell["mechanism"] == "inline" and "overhead" in cell]
    inside = sum(abs(cell["overhead"]["cycles"]["estimate"]) <= cell["floor_cycles"] for cell in cells)
    return inside, len(cells)


def workload_kernels(report):
    """Maps (workload, kernel) to the overhead in percent, whether it is resolved, and whether it is of an option."""
    found = {}
    for workload in report["workloads"]:
        for kernel in workload["kernels"]:
            if kernel.get("overhead_percent"):
                name = kernel.get("option") or " ".join(filter(None, (kernel["mechanism"], kernel.get("state"))))
                found[workload["name"], name] = kernel["overhead_percent"], kernel["resolved"], "option" in kernel
    return found


def workload_promises(promise, first, second, quick):
    """Checks the promises on workloads, in two default runs with different seeds and a quick run."""
    one, two = workload_kernels(first), workload_kernels(second)
    halves = sorted((percent["high"] - percent["low"]) / 2
                    for found in (one, two) for percent, _, option in found.values() if not option)
    within = sum(half <= 0.2 for half in halves)
    promise("intervals of mechanisms on workloads at most 0.2 percentage points half-width",
            f"{within} of {len(halves)}, median {halves[len(halves) // 2]:.2f}, 90% within "
            f"{halves[len(halves) * 9 // 10]:.2f}, most {halves[-1]:.2f}", within == len(halves))
    def half(percent):
        return (percent["high"] - percent["low"]) / 2

    shared = [(name, one[name][0], two[name][0]) for name in one if name in two]
    apart = [" ".join(name) for name, a, b in shared if abs(a["estimate"] - b["estimate"]) > half(a) + half(b)]
    both = [(name, a, b) for name, a, b in shared if one[name][1] and two[name][1]]
    opposite = [" ".join(name) for name, a, b in both if a["estimate"] * b["estimate"] < 0]
    promise("two seeds give the same conclusions: 95% of kernels agree within the sum of their half-widths, and "
            "overheads that are resolved in both have the same sign",
            f"{len(shared) - len(apart)} of {len(shared)} agree, apart {apart}; {len(both)} resolved in both, "
            f"{len(opposite)} with another sign {opposite}", both and not opposite and len(apart) <= 0.05 * len(shared))
    # The same instructions, in kernels at different addresses.
    equal = [(name, found[name, "table"][0], found[name, "site unpatched"][0]) for found in (one, two)
             for name, kernel in found if kernel == "table" and (name, "site unpatched") in found]
    differ = [name for name, a, b in equal if abs(a["estimate"] - b["estimate"]) > half(a) + half(b)]
    most = max(abs(a["estimate"] - b["estimate"]) for _, a, b in equal)
    promise("table and unpatched sites, which have the same instructions, agree within the sum of their half-widths in "
            "95% of the workloads",
            f"{len(equal) - len(differ)} of {len(equal)}, most {most:.2f} percentage points, apart {differ}",
            len(differ) <= 0.05 * len(equal))
    per_call = [workload["inline_ns"] for report in (first, second, quick)
                for workload in report["workloads"] if workload["name"] == "mmap_perf"]
    promise("a million mmap, munmap and mremap calls with touches under 2 s",
            f"{max(per_call) / 1000:.3f} s", max(per_call) < 2000)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=ROOT / "reports" / "acceptance.json", type=pathlib.Path)
    parser.add_argument("--keep", metavar="DIR", help="keep the three reports in DIR")
    args = parser.parse_args()
    out = args.out
    promises = []

    def promise(text, measured, kept):
        promises.append({"promise": text, "measured": measured, "kept": bool(kept)})
        print(f"{'kept  ' if kept else 'MISSED'}  {text}: {measured}", flush=True)

    with contextlib.nullcontext(args.keep) if args.keep else tempfile.TemporaryDirectory() as folder:
        quick, seconds, _ = run(f"{folder}/quick", "--quick")
        promise("run --quick with mmap_perf under 25 s", round(seconds, 1), seconds < 25)
        first, seconds_1, _ = run(f"{folder}/1", "--seed", "1")
        second, seconds_2, memory = run(f"{folder}/2", "--seed", "2")
        page, quick_page = (os.path.getsize(f"{folder}/{name}/index.html") for name in ("1", "quick"))
    slower = max(seconds_1, seconds_2)
    promise("default run, cells and workloads, under 180 s", round(slower, 1), slower < 180)
    promise("memory under 200 MB", round(memory, 1), memory < 200)
    promise("index.html under 1 MB", page, page < 1_000_000)
    promise("index.html of --quick under 300 KB", quick_page, quick_page < 300_000)

    cells = [cell for report in (first, second) for cell in report["cells"]
             if key(cell) == ("pte_val", "native", "table", "", "throughput")]
    # Workers in several modes have no common value; the report shows the modes instead.
    split = [{mode["offset"] for mode in cell["modes"]} for cell in cells]
    widths = [round(layout["cycles"]["high"] - layout["cycles"]["low"], 5)
              for cell, bimodal in zip(cells, split) for layout in cell["layouts"] if layout["offset"] not in bimodal]
    promise("95% interval of pte_val table per layout at most 0.02 cycles wide, except in bimodal layouts",
            [*widths, f"{sum(map(len, split))} bimodal"],
            max(widths) <= 0.02 and 2 * sum(map(len, split)) <= len(widths))
    patched = [(cell["overhead"]["cycles"]["estimate"], cell["op"], cell["instructions"]["extra"])
               for cell in first["cells"] if "overhead" in cell
               and key(cell)[2:] == ("site_callee_save", "inline", "throughput")]
    worst = max(patched)
    promise("site_callee_save patched inline costs at most 0.25 cycles and one NOP, in every op that has it",
            f"{len(patched)} ops, most {worst[0]} cycles ({worst[1]}), most {max(p[2] for p in patched)} instructions",
            worst[0] <= 0.25 and max(p[2] for p in patched) <= 1)
    agreeing, compared, bimodal, apart = agreement(first, second)
    promise("two runs agree within the sum of half-widths in 95% of the cells",
            f"{agreeing} of {compared} ({100 * agreeing / compared:.1f}%), {bimodal} of them with modes",
            agreeing >= 0.95 * compared)
    for number, report in enumerate((first, second), 1):
        inside, cells = inside_floor(report)
        promise(f"inline against itself inside the floor in 95% of the cells, run {number}",
                f"{inside} of {cells}, floor {report['floor']['cycles']}", inside >= 0.95 * cells)

    workload_promises(promise, first, second, quick)

    result = {"date": first["run"]["started"], "machine": first["machine"]["cpu_model"],
              "cells": compared, "promises": promises, "apart": apart}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(out)
    return 0 if all(p["kept"] for p in promises) else 1


if __name__ == "__main__":
    sys.exit(main())
