#!/usr/bin/env python3
"""Checks `pvbench linux replay` on programs whose cost is known, and on its own stream.

    scripts/replay_validation.py PVBENCH KNOWN_PROGRAMS          writes reports/replay-validation.json

PVBENCH is a build with the feature `workloads`, KNOWN_PROGRAMS the example of that name. Needs only Python's standard
library, and ten minutes.

Truth is what a run measures of a workload with sites that are patched in place: only the bytes of the sites differ, as
in a replay. A replay is made from a recording of the same workload by the program's own tracer, with the hooks behind
the table. Two things are not recorded: which operations wait for which, and which addresses wait for a load. Their
shares are chosen by the inline cycles of the other programs, without the one in question.
"""

import argparse
import json
import math
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULT = ROOT / "reports" / "replay-validation.json"
# Programs need as many lines of code of 64 bytes to be like a path through a kernel.
MIN_LINES = 500
# What must hold: inline cycles, cycles per hook of direct and table, share of retpoline.
INLINE_SHARE, HOOK_CYCLES, RETPOLINE_SHARE = 0.15, 1.5, 0.25
# Shares in percent that are tried for what a recording does not say: chained operations, addresses after a load.
GRID = [(chained, after) for chained in (10, 40, 70) for after in (0, 10)]
# Replays of Linux's own recordings, for the question whether the result follows the stream.
SHIPPED = ["mmap_perf", "fault", "fork_exec", "ping_pong", "open_close", "signal"]
MECHANISMS = ["direct", "table", "retpoline"]
# Quantile of Student's t for the intervals of differences between placements, at seven degrees of freedom and more.
T = 2.37


def run(*command):
    print("+", *command, file=sys.stderr, flush=True)
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def truths(program, seconds, own):
    """What a run measures, by workload: cycles of a unit with patched sites, and cycles per hook above."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([program, "run", "--workload", "*", "--mechanism", "site,retpoline", "--time", str(seconds),
                        "--out", folder], check=True, capture_output=True)
        report = json.loads((pathlib.Path(folder) / "report.json").read_text())
    found = {}
    for workload in report["workloads"]:
        hooks = sum(workload["calls"].values())
        over = {(it.get("mechanism"), it.get("state")): it["overhead_cycles"] for it in workload["kernels"]
                if it.get("overhead_cycles")}
        names = {"direct": ("site", "direct"), "table": ("site", "unpatched"), "retpoline": ("retpoline", None)}
        patched = over.get(("site", "inline"))
        if not patched or hooks == 0 or not all(name in over for name in names.values()):
            continue

        def difference(it):
            half = math.hypot(it["high"] - it["low"], patched["high"] - patched["low"]) / 2
            return {"value": (it["estimate"] - patched["estimate"]) / hooks, "half": half / hooks}

        found[workload["name"]] = {
            "own": own, "hooks": hooks,
            "inline": workload["inline_cycles"]["estimate"] + patched["estimate"],
            **{name: difference(over[key]) for name, key in names.items()},
        }
    return found


def replays(program, names, *options, placements=8, blocks=4):
    """The replays of workloads, by name."""
    out = run(program, "linux", "replay", *names, "--placements", placements, "--blocks", blocks, "--json", *options)
    return {it["workload"]: it for it in json.loads(out)}


def against_patched(replay):
    """Cycles of a unit with patched sites, and cycles per hook above, with intervals over placements."""
    hooks = replay["hooks_per_unit"]
    found = {"inline": replay["inline_cycles"]["estimate"] + replay["overhead_cycles"]["patched"]["estimate"]}
    for name in MECHANISMS:
        each = [it["mechanisms"][name] - it["mechanisms"]["patched"] for it in replay["placements"]]
        found[name] = {"value": statistics.mean(each), "half": T * statistics.stdev(each) / math.sqrt(len(each))}
    found["copy"] = {"value": replay["copy_cycles_per_hook"]["estimate"],
                     "half": replay["copy_cycles_per_hook"]["high"] - replay["copy_cycles_per_hook"]["estimate"]}
    found["repeat"] = {"value": replay["repeat_cycles_per_hook"]["estimate"],
                       "half": replay["repeat_cycles_per_hook"]["high"] - replay["repeat_cycles_per_hook"]["estimate"]}
    found["placement_range"] = max(it["inline_cycles"] for it in replay["placements"]) / min(
        it["inline_cycles"] for it in replay["placements"]) - 1
    found["hooks"] = hooks
    return found


def rounded(it):
    if isinstance(it, dict):
        return {key: rounded(value) for key, value in it.items()}
    if isinstance(it, list):
        return [rounded(value) for value in it]
    return float(f"{it:.4g}") if isinstance(it, float) else it


def choose(inline, truth, without):
    """The shares with which the inline cycles of the other programs are nearest to the truth, in the median."""
    def error(point):
        return statistics.median(abs(math.log(inline[point][name] / truth[name]["inline"]))
                                 for name in truth if name != without and name in inline[point])
    return min(GRID, key=error)


def stream_dependence(plain, half, double, known):
    """Whether the cycles per hook move with the length of the replay or the size of its stream."""
    rows = []
    for name in plain:
        for mechanism in MECHANISMS:
            if name not in half or name not in double:
                continue
            sides = [against_patched(it[name])[mechanism] for it in (plain, half, double)]
            base = sides[0]
            moved = [abs(it["value"] - base["value"]) > math.hypot(it["half"], base["half"]) for it in sides[1:]]
            rows.append({"workload": name, "mechanism": mechanism, "whole": base, "half_length": sides[1],
                         "double_stream": sides[2], "moved_half_length": moved[0], "moved_double_stream": moved[1],
                         "known": known})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pvbench", type=pathlib.Path)
    parser.add_argument("known_programs", type=pathlib.Path)
    parser.add_argument("--time", type=int, default=60, help="seconds for the truths of each program")
    options = parser.parse_args()
    programs = [(options.pvbench.resolve(), True), (options.known_programs.resolve(), False)]
    truth, inline, replayed, known_sizes = {}, {point: {} for point in GRID}, {}, ({}, {})
    folder = pathlib.Path(tempfile.mkdtemp(prefix="replay-validation-"))
    for program, own in programs:
        found = truths(program, options.time, own)
        truth.update(found)
        names = list(found)
        # Recordings are made once.
        replays(program, names, "--own", "--save", folder / program.name, placements=2, blocks=1)
        names = [name for name in names if (folder / program.name / f"{name}.pvrec").exists()]
        for chained, after in GRID:
            shares = ["--recordings", folder / program.name, "--chained", chained, "--after-load", after]
            quick = replays(program, names, "--mechanism", "patched", *shares, placements=3, blocks=1)
            inline[chained, after].update(
                {name: it["inline_cycles"]["estimate"] + it["overhead_cycles"]["patched"]["estimate"]
                 for name, it in quick.items()})
    common = set.intersection(*(set(of) for of in inline.values()))
    truth = {name: it for name, it in truth.items() if name in common}
    chosen = {name: choose(inline, truth, name) for name in truth}
    for program, own in programs:
        for point in sorted(set(chosen.values())):
            names = [name for name in truth if chosen[name] == point and truth[name]["own"] == own]
            if names:
                shares = ["--recordings", folder / program.name, "--chained", point[0], "--after-load", point[1]]
                replayed.update(replays(program, names, *shares))
                known_sizes[0].update(replays(program, names, *shares, "--part", 50))
                known_sizes[1].update(replays(program, names, *shares, "--stream-factor", 2))
    rows = []
    for name, known in truth.items():
        if name not in replayed:
            continue
        own, facts = against_patched(replayed[name]), replayed[name]["facts"]
        row = {"program": name, "code_lines": facts["recorded_code_lines"], "hooks": known["hooks"],
               "shares": chosen[name], "placements": len(replayed[name]["placements"]),
               "inline": {"truth": known["inline"], "replay": own["inline"],
                          "error": own["inline"] / known["inline"] - 1,
                          "holds": abs(own["inline"] / known["inline"] - 1) <= INLINE_SHARE},
               "repeat": own["repeat"], "copy": own["copy"], "placement_range": own["placement_range"]}
        for mechanism in MECHANISMS:
            error = own[mechanism]["value"] - known[mechanism]["value"]
            bound = RETPOLINE_SHARE * known["retpoline"]["value"] if mechanism == "retpoline" else HOOK_CYCLES
            row[mechanism] = {"truth": known[mechanism], "replay": own[mechanism], "error": error,
                              "holds": abs(error) <= bound}
        rows.append(row)
    rows.sort(key=lambda row: -row["code_lines"])
    large = [row for row in rows if row["code_lines"] >= MIN_LINES]
    sizes = [replays(options.pvbench, SHIPPED, *more)
             for more in ([], ["--part", 50], ["--stream-factor", 2])]
    stream = stream_dependence(*sizes, False) + stream_dependence(replayed, *known_sizes, True)
    kinds = ["inline", *MECHANISMS]
    result = {
        "cpu": cpu_model(),
        "min_lines": MIN_LINES,
        "bounds": {"inline_share": INLINE_SHARE, "hook_cycles": HOOK_CYCLES, "retpoline_share": RETPOLINE_SHARE},
        "programs": rows,
        "holds_large": {kind: [sum(row[kind]["holds"] for row in large), len(large)] for kind in kinds},
        "holds_all": {kind: [sum(row[kind]["holds"] for row in rows), len(rows)] for kind in kinds},
        "stream": stream,
        "moved_half_length": [sum(row["moved_half_length"] for row in stream), len(stream)],
        "moved_double_stream": [sum(row["moved_double_stream"] for row in stream), len(stream)],
        "linux": {name: {**against_patched(it), "streamed_share": it["facts"]["streamed"] / it["facts"]["accesses"],
                         "code_lines": it["facts"]["code_lines"],
                         "recorded_code_lines": it["facts"]["recorded_code_lines"],
                         "instructions_share": it["facts"]["instructions"] / it["facts"]["recorded_instructions"] - 1,
                         "stream_bytes_per_unit": it["facts"]["stream_bytes"] / it["units"]}
                  for name, it in sizes[0].items()},
    }
    shutil.rmtree(folder)
    RESULT.write_text(json.dumps(rounded(result), indent=1) + "\n")


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


if __name__ == "__main__":
    main()
