#!/usr/bin/env python3
"""Checks the bounds of `pvbench predict` on workloads whose overhead is measured.

    scripts/price_validation.py REPORT.json..                   writes reports/price-validation.json
    scripts/price_validation.py --program BIN REPORT.json..     with another build

Each report has workloads with exact counts of hooks and a measured overhead for each mechanism: pairs of a known truth
and a range. A pair is covered if the measured interval meets the range. Reports of pvbench have the workloads of the
model kernel; reports of its example `known_programs` have user programs. Needs only Python's standard library.

The two constants of the range (src/estimate/kernel_time.rs) are chosen again without each program in turn, so that
they cover 97% of the pairs of the others at the least width: a margin for a program that they do not know. Then the
program that was left out is checked with them.
"""

import argparse
import json
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULT = ROOT / "reports" / "price-validation.json"
# The constants of this build, by which its bounds are divided to get them without.
LOW_SHARE, HIGH_FACTOR = 0.5, 1.5
# What the names of the programs of examples/known_programs begin with.
USER_PROGRAM = "known_"
# Share of the known pairs that chosen constants cover.
WANTED = 0.97
# The constants that are tried.
LOWS = [step / 20 for step in range(1, 21)]
HIGHS = [1 + step / 20 for step in range(0, 41)]


def pairs(program, path):
    """The pairs of a report: program, mechanism, measured interval in cycles, bounds without constants."""
    report = json.loads(path.read_text())
    command = [program, "predict", str(path), "--report", str(path), "--json"]
    priced = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    bounds = {(it["workload"], it["mechanism"], it.get("state")): it["cycles"] for it in priced}
    for workload in report["workloads"]:
        for kernel in workload["kernels"]:
            key = (workload["name"], kernel.get("mechanism"), kernel.get("state"))
            if key in bounds and kernel.get("overhead_cycles"):
                measured = kernel["overhead_cycles"]
                yield {"program": key[0], "mechanism": key[1] + (f" ({key[2]})" if key[2] else ""),
                       "measured": [measured["low"], measured["estimate"], measured["high"]],
                       "low": bounds[key]["low"] / LOW_SHARE, "high": bounds[key]["high"] / HIGH_FACTOR}


def covers(pair, low, high):
    """Whether the measured interval meets the range."""
    return pair["measured"][2] >= low * pair["low"] and pair["measured"][0] <= high * pair["high"]


def width(pair, low, high):
    """Width of the range as a multiple of the measured overhead."""
    overhead = abs(pair["measured"][1])
    return (high * pair["high"] - low * pair["low"]) / overhead if overhead > 0 else float("inf")


def choose(known):
    """The constants with the least median width that cover `WANTED` of the pairs; else those that cover most."""
    found = []
    for low in LOWS:
        for high in HIGHS:
            share = sum(covers(pair, low, high) for pair in known) / len(known)
            found.append((-min(share, WANTED), statistics.median(width(pair, low, high) for pair in known), low, high))
    return min(found)[2:]


def is_of_user(pair):
    return pair["program"].startswith(USER_PROGRAM)


def group(name, known, left_out):
    """How many pairs of one kind of program are covered."""
    programs = sorted({pair["program"] for pair in known})
    return {"name": name, "programs": len(programs), "pairs": len(known),
            "covered": sum(covers(pair, LOW_SHARE, HIGH_FACTOR) for pair in known),
            "covered_left_out": sum(left_out[program] for program in programs),
            "median_width": round(statistics.median(width(pair, LOW_SHARE, HIGH_FACTOR) for pair in known), 2)}


def likely_factor(pair, known):
    """How far the likely value is from the measured overhead, as a factor: by the other programs, as a report does it
    for a real kernel (`visible_share` in src/estimate/kernel_time.rs)."""
    def bounds(other):
        return LOW_SHARE * other["low"], HIGH_FACTOR * other["high"]

    def share(other):
        low, high = bounds(other)
        return min(max((other["measured"][1] - low) / (high - low), 0), 1) if high > low else 0

    others = [share(other) for other in known
              if other["mechanism"] == pair["mechanism"] and other["program"] != pair["program"]]
    low, high = bounds(pair)
    likely, measured = low + statistics.median(others) * (high - low), pair["measured"][1]
    return max(likely / measured, measured / likely) if likely > 0 and measured > 0 else float("inf")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=pathlib.Path, nargs="+", metavar="REPORT.json")
    parser.add_argument("--program", default=str(ROOT / "target" / "release" / "pvbench"))
    options = parser.parse_args()
    known = [pair for path in options.reports for pair in pairs(options.program, path)]
    programs = sorted({pair["program"] for pair in known})
    left_out = {}
    for program in programs:
        low, high = choose([pair for pair in known if pair["program"] != program])
        left_out[program] = sum(covers(pair, low, high) for pair in known if pair["program"] == program)
    factors = sorted(likely_factor(pair, known) for pair in known)
    missed = [pair for pair in known if not covers(pair, LOW_SHARE, HIGH_FACTOR)]
    widths = [width(pair, LOW_SHARE, HIGH_FACTOR) for pair in known]
    result = {
        "reports": len(options.reports),
        "programs": programs,
        "pairs": len(known),
        "covered": len(known) - len(missed),
        "covered_left_out": sum(left_out.values()),
        "groups": [group("model kernel", [pair for pair in known if not is_of_user(pair)], left_out),
                   group("user programs", [pair for pair in known if is_of_user(pair)], left_out)],
        "median_width": round(statistics.median(widths), 2),
        "likely_factor_median": round(statistics.median(factors), 3),
        "likely_factor_p90": round(factors[int(0.9 * len(factors))], 2),
        "constants": {"low_share": LOW_SHARE, "high_factor": HIGH_FACTOR},
        "missed": [{"program": pair["program"], "mechanism": pair["mechanism"],
                    "measured_cycles": round(pair["measured"][1], 1),
                    "range_cycles": [round(LOW_SHARE * pair["low"], 1), round(HIGH_FACTOR * pair["high"], 1)]}
                   for pair in missed],
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
