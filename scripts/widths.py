#!/usr/bin/env python3
"""Measures how the widths of intervals depend on the time of a run.

    cargo build --release && scripts/widths.py [--times 12,24,48,96]

Runs four ops with all mechanisms in throughput for each time, and writes reports/widths.json and .svg. They have the
median width of the intervals of two kinds of cells: limited by blocks and workers, or by layouts (in the longest run).
The former should halve with four times the time; the latter should stay. Needs only Python's standard library.
"""

import argparse
import json
import math
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from operating_characteristics import BINARY, ROOT, STYLE

OPS = "pte_val,save_fl,irq_disable,set_pte"
KINDS = ["blocks and workers", "layouts"]


def run(seconds, seed):
    with tempfile.TemporaryDirectory() as folder:
        command = [BINARY, "run", "--op", OPS, "--regime", "throughput", "--time", str(seconds), "--seed", str(seed),
                   "--out", folder]
        subprocess.run(command, check=True, capture_output=True)
        return json.loads((pathlib.Path(folder) / "report.json").read_text(encoding="utf-8"))


def widths(report):
    cells = [cell for cell in report["cells"] if "overhead" in cell and "spread" in cell]
    key = lambda cell: (cell["op"], cell["mechanism"], cell.get("state", ""))
    width = lambda cell: cell["overhead"]["cycles"]["high"] - cell["overhead"]["cycles"]["low"]
    return {key(cell): (width(cell), cell["spread"]["largest"]) for cell in cells}


def plot(points):
    """Plots width against time, both logarithmic: a line per kind, and a thin line with the slope of a square root."""
    width, height, left, top, right, bottom = 720, 360, 80, 40, 20, 60
    times = [point["time_seconds"] for point in points]
    values = [point["median_width_cycles"][kind] for point in points for kind in KINDS]
    low, high = math.log10(min(values)) - 0.3, math.log10(max(values)) + 0.3
    x = lambda t: left + math.log(t / times[0]) / math.log(times[-1] / times[0]) * (width - left - right)
    y = lambda v: top + (high - math.log10(v)) / (high - low) * (height - top - bottom)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
             'font-family="system-ui, sans-serif" font-size="13">',
             "<title>Width of the intervals against the time of a run</title>", STYLE]
    for exponent in range(math.ceil(low), math.floor(high) + 1):
        at = y(10 ** exponent)
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{at:.1f}" y2="{at:.1f}"/>'
                     f'<text class="ink" x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{10 ** exponent:g}</text>')
    for t in times:
        parts.append(f'<text class="ink" x="{x(t):.1f}" y="{height - bottom + 20}" text-anchor="middle">{t} s</text>')
    parts.append(f'<text class="ink" x="{(left + width) / 2}" y="{height - 12}" text-anchor="middle">time of the run; '
                 "median width of the 95% intervals in core cycles</text>")
    for number, kind in enumerate(KINDS):
        line = [(x(point["time_seconds"]), y(point["median_width_cycles"][kind])) for point in points]
        parts.append(f'<polyline class="c{number}" style="fill:none" '
                     f'points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in line)}"/>')
        parts += [f'<circle class="c{number}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in line]
        parts.append(f'<text class="c{number}" x="{left + 10 + number * 260}" y="22">limited by {kind}</text>')
    first = points[0]["median_width_cycles"][KINDS[0]]
    end = y(first / math.sqrt(times[-1] / times[0]))
    parts.append(f'<line class="grid" stroke-dasharray="4 4" x1="{x(times[0])}" x2="{x(times[-1])}" '
                 f'y1="{y(first):.1f}" y2="{end:.1f}"/>')
    return "\n".join(parts) + "\n</svg>\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", default="12,24,48,96")
    parser.add_argument("--out", default=ROOT / "reports", type=pathlib.Path)
    args = parser.parse_args()
    runs = []
    for seconds in (int(part) for part in args.times.split(",")):
        report = run(seconds, 1)
        runs.append((seconds, report, widths(report)))
        print(f"{seconds} s: {report['run']['plan']['workers']} workers", file=sys.stderr, flush=True)
    kinds = {key: KINDS[1] if largest == "layouts" else KINDS[0] for key, (_, largest) in runs[-1][2].items()}
    points = []
    for seconds, report, found in runs:
        widths_of_kind = lambda kind: [width for key, (width, _) in found.items() if kinds.get(key) == kind]
        points.append({
            "time_seconds": seconds, "took_seconds": report["run"]["duration_seconds"],
            "workers": report["run"]["plan"]["workers"], "workers_again": report["run"]["plan"]["workers_again"],
            "median_width_cycles": {kind: round(statistics.median(widths_of_kind(kind)), 6) for kind in KINDS},
        })
        print(points[-1])
    document = {"date": time.strftime("%Y-%m-%d"), "cpu": runs[-1][1]["machine"]["cpu_model"], "ops": OPS,
                "cells": {kind: sum(k == kind for k in kinds.values()) for kind in KINDS}, "runs": points}
    (args.out / "widths.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (args.out / "widths.svg").write_text(plot(points), encoding="utf-8")


if __name__ == "__main__":
    main()
