#!/usr/bin/env python3
"""Compares ops of another crate with built-in ops of the same shape: their costs should be equal.

Runs the bench target same_shape of tests/fixtures/own_suite and writes reports/same-shape.json: for each pair of ops,
the number of cells with equal instructions, and the differences of the overheads. Exits with 1 if a count differs.

    scripts/same_shape.py [--time SECONDS] [--report REPORT.json]
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIXTURE = ROOT / "tests/fixtures/own_suite"
TWIN = "twin_of_"
REGIMES = "throughput,latency,pressure"


def measure(seconds: int) -> Path:
    """Measures with the fixture's program and returns the path of the report."""
    out = ROOT / "target/same_shape"
    command = ["cargo", "bench", "--manifest-path", str(FIXTURE / "Cargo.toml")]
    command += ["--target-dir", str(ROOT / "target/own_suite"), "--bench", "same_shape"]
    command += ["--", "run", "--op", "*", "--regime", REGIMES, "--time", str(seconds), "--out", str(out)]
    subprocess.run(command, check=True)
    return out / "report.json"


def cells(report: dict, op: str) -> dict:
    """The cells of an op, by regime, mechanism and state."""
    own = (cell for cell in report["cells"] if cell["op"] == op)
    return {(cell["regime"], cell["mechanism"], cell.get("state")): cell for cell in own}


def pair(report: dict, built_in: str) -> dict:
    """Compares a built-in op with its counterpart."""
    ours, theirs = cells(report, built_in), cells(report, TWIN + built_in)
    counts = {key: (ours[key].get("instructions"), theirs.get(key, {}).get("instructions")) for key in ours}
    counted = {key: both for key, both in counts.items() if both[0] is not None}
    differing = sorted(" ".join(filter(None, key)) for key, (a, b) in counted.items()
                       if b is None or a["per_op"] != b["per_op"])
    apart, overlapping = [], 0
    for key, cell in ours.items():
        a, b = cell.get("overhead"), theirs.get(key, {}).get("overhead")
        if a and b:
            a, b = a["cycles"], b["cycles"]
            apart.append(abs(a["estimate"] - b["estimate"]))
            overlapping += a["low"] <= b["high"] and b["low"] <= a["high"]
    return {
        "op": built_in,
        "cells": len(ours),
        "instructions_counted": len(counted),
        "instructions_equal": len(counted) - len(differing),
        "instructions_differ": differing,
        "overheads_compared": len(apart),
        "overheads_overlap": overlapping,
        "median_apart_cycles": round(statistics.median(apart), 4) if apart else None,
        "most_apart_cycles": round(max(apart), 4) if apart else None,
    }


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--time", type=int, default=60)
    options.add_argument("--report", type=Path, help="an existing report, instead of a run")
    options = options.parse_args()
    report = json.loads((options.report or measure(options.time)).read_text())
    names = [op["name"] for op in report["catalogue"]["ops"]]
    pairs = [pair(report, name) for name in names if TWIN + name in names]
    if not pairs:
        print("the report has no op with a counterpart; make it with the bench target same_shape", file=sys.stderr)
        return 2
    result = {"machine": report["machine"].get("cpu_model"), "started": report["run"]["started"], "pairs": pairs}
    (ROOT / "reports/same-shape.json").write_text(json.dumps(result, indent=1) + "\n")
    for one in pairs:
        print(
            f"{one['op']:12} {one['instructions_equal']} of {one['instructions_counted']} counts equal, overheads "
            f"{one['median_apart_cycles']} cycles apart (most {one['most_apart_cycles']})"
        )
    return 1 if any(one["instructions_differ"] for one in pairs) else 0


if __name__ == "__main__":
    sys.exit(main())
