#!/usr/bin/env python3
"""Measures the same two pairs with criterion, divan, tango-bench and pvbench, in turn and repeatedly.

    scripts/peers/run.py                       20 repetitions, two seconds per pair and tool: about six minutes
    scripts/peers/run.py --repetitions 3 --seconds 1 --out /tmp/peers.json

Each repetition runs every tool once per pair, in an order drawn from the seed and with the same time. Tools run as in
their documentation, pinned to one CPU, except for tango, which runs two processes. The result of a run is the ratio of
the times of the two mechanisms; the comparison is of its spread over repetitions. Builds all programs. Needs only
Python's standard library.
"""

import argparse
import datetime
import json
import math
import os
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAIRS = [("pte_val", "inline", "table"), ("save_fl", "direct", "table")]
UNITS = {"ps": 1e-12, "ns": 1e-9, "µs": 1e-6, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def build():
    """Builds the benches and pvbench. Returns the executables of the benches by name, and the path of pvbench."""
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    command = ["cargo", "bench", "--no-run", "--locked", "--message-format=json"]
    lines = subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    made = [json.loads(line) for line in lines]
    benches = {m["target"]["name"]: m["executable"] for m in made if m.get("executable")}
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return benches, str(target / "release" / "pvbench")


def output(command, cpu, folder, fine=(0,)):
    """Runs a command, pinned to `cpu` if given, and returns its standard output. Exits with its errors if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True,
                          env=os.environ | {"CRITERION_HOME": str(folder / "criterion")},
                          preexec_fn=None if cpu is None else lambda: os.sched_setaffinity(0, {cpu}))
    if done.returncode not in fine:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def criterion(benches, pair, seconds, cpu, folder):
    op, first, second = pair
    # Two functions share the time; a fifth of it is warm-up.
    half = seconds / 2
    command = [benches["criterion"], "--bench", "--warm-up-time", f"{half / 5:.3f}",
               "--measurement-time", f"{half * 4 / 5:.3f}", "--noplot", f"^{op}/"]
    output(command, cpu, folder)

    def estimate(mechanism):
        found = json.loads((folder / "criterion" / op / mechanism / "new" / "estimates.json").read_text())
        # The middle of criterion's printed brackets: the slope of the regression, or the mean if it has none.
        return (found["slope"] or found["mean"])["point_estimate"]
    return estimate(second) / estimate(first)


def divan(column, benches, pair, seconds, cpu, folder):
    op, first, second = pair
    half = f"{seconds / 2:.3f}"
    text = output([benches["divan"], "--bench", "--color", "never", "--min-time", half, "--max-time", half, op],
                  cpu, folder)

    def shown(mechanism):
        row = next(line for line in text.splitlines() if re.search(rf"─ {mechanism}\s", line))
        value, unit = row.split("│")[column].split()
        return float(value) * UNITS[unit]
    return shown(second) / shown(first)


def tango(benches, pair, seconds, cpu, folder):
    op = pair[0]
    command = [benches["tango_to"], "--color", "never", "compare", benches["tango_from"]]
    command += ["-t", f"{seconds:.3f}", "-f", op]
    # Its two processes busy-wait for each other, so they need two CPUs. Exit code 1: the second is slower.
    text = output(command, None, folder, (0, 1))
    percent = re.search(rf"{op}\s.*\]\s*([-+][0-9.]+)%", text)
    if not percent:
        sys.exit(f"the output of tango has no line for {op}:\n{text}")
    return 1 + float(percent.group(1)) / 100


def pvbench(binary, pair, seconds, cpu, folder):
    op, first, second = pair
    mechanisms = ",".join(name for name in (first, second) if name != "inline")
    command = [binary, "run", "--op", op, "--mechanism", mechanisms, "--regime", "throughput", "--time",
               str(max(1, round(seconds))), "--cpu", str(cpu), "--out", str(folder / "pvbench")]
    # Not pinned: pvbench itself keeps its parent process off the CPU of the workers.
    output(command, None, folder)
    cells = json.loads((folder / "pvbench" / "report.json").read_text())["cells"]
    ratios = {cell["mechanism"]: cell["overhead"]["ratio"]["estimate"] for cell in cells}
    return ratios[second] / (1.0 if first == "inline" else ratios[first])


def versions():
    lock = (HERE / "Cargo.lock").read_text()
    return {name: re.search(rf'name = "{name}"\nversion = "([^"]+)"', lock).group(1)
            for name in ("criterion", "divan", "tango-bench", "pvbench")}


def cpu_model():
    found = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else "unknown"


def summary(runs):
    ratios = [run["ratio"] for run in runs]
    logs = [math.log(ratio) for ratio in ratios]
    quarters = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    return {
        "seconds_median": round(statistics.median(run["seconds"] for run in runs), 3),
        "ratio_median": round(statistics.median(ratios), 6),
        # Of the natural logarithm, so relative to the ratio.
        "spread_sd": round(statistics.stdev(logs), 8) if len(logs) > 1 else None,
        "spread_range": round(max(logs) - min(logs), 8),
        "middle_half": [round(quarters[0], 6), round(quarters[2], 6)],
        "runs": runs,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds per tool and pair")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "reports" / "peers.json")
    args = parser.parse_args()
    benches, binary = build()
    tools = {"criterion": lambda *rest: criterion(benches, *rest),
             # Columns: fastest, slowest, median, mean. Medians are steps of its clock, with four digits.
             "divan, median": lambda *rest: divan(2, benches, *rest),
             "divan, mean": lambda *rest: divan(3, benches, *rest),
             "tango-bench": lambda *rest: tango(benches, *rest),
             "pvbench": lambda *rest: pvbench(binary, *rest)}
    order = random.Random(args.seed)
    runs = {(tool, pair): [] for tool in tools for pair in PAIRS}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for repetition in range(args.repetitions):
            turns = list(runs)
            order.shuffle(turns)
            for tool, pair in turns:
                began = time.monotonic()
                ratio = tools[tool](pair, args.seconds, args.cpu, folder)
                runs[tool, pair].append({"seconds": round(time.monotonic() - began, 3), "ratio": round(ratio, 6)})
            print(f"{repetition + 1} of {args.repetitions}", file=sys.stderr)
    found = {
        "date": datetime.date.today().isoformat(), "cpu": cpu_model(), "versions": versions(), "seed": args.seed,
        "repetitions": args.repetitions, "seconds_asked": args.seconds,
        "pairs": [{"op": op, "from": first, "to": second,
                   "tools": {tool: summary(runs[tool, (op, first, second)]) for tool in tools}}
                  for op, first, second in PAIRS],
    }
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"wrote {args.out}; scripts/figures.py writes its table into docs/validation.md")


if __name__ == "__main__":
    main()
