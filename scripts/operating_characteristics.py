#!/usr/bin/env python3
"""Experiments with known differences: shares of found differences and of false ones.

Called by operating-characteristics.sh. Needs only Python's standard library.
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = ROOT / "target" / "release" / "pvbench"

# Truth, difference in percent, tries alone, tries beside a neighbour, workers, blocks. The last two set the time of an
# experiment: 50 ms of measuring, and half a second for 0.1%.
PLAN = [
    ("100 adds", 0.0, 2000, 500, 11, 1),
    ("1001 adds", 0.1, 100, 50, 17, 8),
    ("401 adds", 0.25, 100, 50, 11, 1),
    ("201 adds", 0.5, 100, 50, 11, 1),
    ("101 adds", 1.0, 1000, 200, 11, 1),
    ("51 adds", 2.0, 100, 50, 11, 1),
]

SPIN = "while True: pass"
# Copies of 256 MiB, larger than any cache.
STREAM = "a = bytearray(1 << 28); b = memoryview(bytearray(1 << 28))\nwhile True: a[:] = b"
CONDITIONS = [("alone", None), ("busy neighbour", SPIN), ("memory bus in use", STREAM)]


# Style of the plots: ink, grid and three colours, in light and dark mode.
STYLE = (
    "<style>.ink{fill:#222}.grid{stroke:#ccc}.c0{stroke:#1f77b4;fill:#1f77b4}.c1{stroke:#c2570c;fill:#c2570c}"
    ".c2{stroke:#2a7f3b;fill:#2a7f3b}text.c0,text.c1,text.c2{stroke:none}"
    "@media(prefers-color-scheme:dark){.ink{fill:#ddd}.grid{stroke:#444}.c0{stroke:#7ab8f5;fill:#7ab8f5}"
    ".c1{stroke:#f2a65a;fill:#f2a65a}.c2{stroke:#7fd18b;fill:#7fd18b}text.c0,text.c1,text.c2{stroke:none}}</style>"
)


def binomial_tail(k, n, p):
    """P(X >= k) of a binomial distribution."""
    if p <= 0:
        return 1.0 if k == 0 else 0.0
    if p >= 1:
        return 1.0
    term = lambda i: math.exp(math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1)
                              + i * math.log(p) + (n - i) * math.log1p(-p))
    return min(1.0, sum(term(i) for i in range(k, n + 1)))


def clopper_pearson(k, n, confidence=0.95):
    """The exact interval of a share (Clopper and Pearson, Biometrika 26, 1934)."""
    def root(below):
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if below(middle) else (low, middle)
        return (low + high) / 2
    alpha = (1 - confidence) / 2
    low = 0.0 if k == 0 else root(lambda p: binomial_tail(k, n, p) < alpha)
    high = 1.0 if k == n else root(lambda p: 1 - binomial_tail(k + 1, n, p) > alpha)
    return [round(low, 6), round(high, 6)]


def experiments(truth, tries, workers, blocks, cpu):
    command = [BINARY, "selftest", "--truth", truth, "--tries", str(tries), "--workers", str(workers),
               "--blocks", str(blocks), "--cpu", str(cpu), "--seed", "1"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def plot(results, conditions):
    """Plots power against the difference, a line per condition, with intervals, in light and dark mode."""
    width, height, left, top, right, bottom = 720, 360, 60, 40, 20, 60
    positions = sorted({entry[1] for entry in PLAN})
    x = lambda d: left + positions.index(d) * (width - left - right) / (len(positions) - 1)
    y = lambda share: top + (1 - share) * (height - top - bottom)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
             'font-family="system-ui, sans-serif" font-size="13">',
             "<title>Share of experiments in which a difference was found</title>",
             STYLE]
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(share)}" y2="{y(share)}"/>'
                     f'<text class="ink" x="{left - 8}" y="{y(share) + 4}" text-anchor="end">{share:.0%}</text>')
    for d in positions:
        label = "none" if d == 0 else f"{d:g}%"
        parts.append(f'<text class="ink" x="{x(d)}" y="{height - bottom + 20}" text-anchor="middle">{label}</text>')
    parts.append(f'<text class="ink" x="{(left + width) / 2}" y="{height - 12}" text-anchor="middle">'
                 "difference that is there</text>")
    for number, condition in enumerate(conditions):
        rows = {}
        for row in results:
            if row["condition"] == condition:
                rows.setdefault(row["difference_percent"], row)
        rows = [rows[d] for d in sorted(rows)]
        shift = (number - 1) * 6
        points = " ".join(f'{x(row["difference_percent"]) + shift},{y(row["found_share"])}' for row in rows)
        parts.append(f'<polyline class="c{number}" style="fill:none" points="{points}"/>')
        for row in rows:
            at, (low, high) = x(row["difference_percent"]) + shift, row["interval"]
            parts.append(f'<line class="c{number}" x1="{at}" x2="{at}" y1="{y(low)}" y2="{y(high)}"/>'
                         f'<circle class="c{number}" cx="{at}" cy="{y(row["found_share"])}" r="3"/>')
        parts.append(f'<text class="c{number}" x="{left + 10 + number * 200}" y="22">{condition}</text>')
    return "\n".join(parts) + "\n</svg>\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=ROOT / "reports", type=pathlib.Path)
    parser.add_argument("--part", default=1, type=int, help="divide the number of experiments by PART")
    args = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    measuring, other = cpus[-1], cpus[0]
    results = []
    for condition, neighbour in CONDITIONS:
        process = None
        if neighbour:
            process = subprocess.Popen(["taskset", "-c", str(other), sys.executable, "-c", neighbour])
            time.sleep(1)
        try:
            for truth, percent, alone, beside, workers, blocks in PLAN:
                if neighbour and not beside:
                    continue
                tries = max(10, (beside if neighbour else alone) // args.part)
                found = experiments(truth, tries, workers, blocks, measuring)
                results.append({
                    "condition": condition, "truth": truth, "difference_percent": percent, "tries": tries,
                    "found": found["found"], "found_share": found["found"] / tries,
                    "interval": clopper_pearson(found["found"], tries),
                    "found_on_the_wrong_side": found["found_on_the_wrong_side"],
                    "not_found_for": found["not_found_for"],
                    "interval_holds_the_truth": found["interval_holds_the_truth"],
                    "dropped_blocks_share": round(found["dropped_blocks_share"], 4),
                    "measuring_seconds_per_try": round(found["measuring_seconds_per_try"], 4),
                    "wall_seconds_per_try": round(found["wall_seconds_per_try"], 4),
                    "workers": workers, "blocks": blocks,
                })
                row = results[-1]
                print(f"{condition:18} {percent:5}%  found {row['found']} of {tries}, {row['interval']}  "
                      f"{1000 * row['measuring_seconds_per_try']:.0f} ms each", flush=True)
        finally:
            if process:
                process.kill()
                process.wait()
    selftest = json.loads(subprocess.run([BINARY, "selftest", "--json"], check=False, capture_output=True).stdout)
    document = {"date": time.strftime("%Y-%m-%d"), "cpu": selftest["cpu"], "confidence": 0.95,
                "experiments": results, "selftest": selftest}
    (args.out / "operating-characteristics.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    svg = plot(results, [name for name, _ in CONDITIONS])
    (args.out / "operating-characteristics.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
