#!/usr/bin/env python3
"""How often does the gate fail unchanged code, and how often does it find a regression?

    scripts/gate_validation.py                builds, runs, writes reports/gate-validation.json
    scripts/gate_validation.py --for 280      runs for 280 seconds; the next call continues

Runs `gate --run` on the programs of tests/fixtures/regressions: unchanged code, half of the runs beside a busy core,
and three regressions. Needs only Python's standard library and cargo. target/gate-validation/runs.jsonl keeps all runs
of one build; a new build starts from zero.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from operating_characteristics import ROOT, SPIN, clopper_pearson

FOLDER = ROOT / "target" / "gate-validation"
RUNS = FOLDER / "runs.jsonl"
FIXTURE = ROOT / "tests" / "fixtures" / "regressions"
RESULT = ROOT / "reports" / "gate-validation.json"
BUDGETS = ROOT / "reports" / "budgets.toml"

# Program, its difference, and a pattern of the subject that the gate has to name.
SOURCES = {
    "unchanged": ("the source as it is", None),
    "load": ("one more load in the way of `table`, which the call depends on", r"/table[/ ]"),
    "fallback": ("patched sites of `site_callee_save` silently stay indirect calls", r"/site_callee_save \(inline\)/"),
    "work": ("2% more work in units of `mmap_perf` with `site`", r"^mmap_perf/site "),
}


def binary(name):
    return FOLDER / "build" / "release" / name


def build(options):
    """Builds the programs that are missing or stale."""
    environment = dict(os.environ, CARGO_TARGET_DIR=str(FOLDER / "build"))
    subprocess.run(["cargo", "build", "--release", "--bins", *options], check=True, cwd=FIXTURE, env=environment)


def list_runs(runs, regressed):
    """All runs: program, busy neighbour, number."""
    planned = [("unchanged", number % 2 == 1, number) for number in range(runs)]
    for name in SOURCES:
        if name != "unchanged":
            planned += [(name, False, number) for number in range(regressed)]
    # Shuffled, so that changes of the machine over hours affect all programs alike.
    random.Random(1).shuffle(planned)
    return planned


@contextlib.contextmanager
def neighbour(is_busy, cpu):
    """Keeps another CPU busy, if asked for and if there is one."""
    others = sorted(os.sched_getaffinity(0) - {cpu})
    if not is_busy or not others:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", SPIN], preexec_fn=lambda: os.sched_setaffinity(0, {others[0]}))
    try:
        time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


def gate(source, seed, cpu):
    began = time.monotonic()
    options = ["--budget", BUDGETS, "--json", "-", "--seed", str(seed), "--cpu", str(cpu)]
    command = [binary(source), "gate", "--run", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.monotonic() - began
    if done.returncode not in (0, 1, 3, 4):
        sys.exit(f"the gate of program {source} ended with exit code {done.returncode}: {done.stderr}")
    verdicts = json.loads(done.stdout)["verdicts"]
    named = {outcome: sorted({f"{v['subject']} {v['quantity']}" for v in verdicts if v["outcome"] == outcome})
             for outcome in ("fail", "inconclusive")}
    again = sum(1 for v in verdicts if v.get("before"))
    return {"exit": done.returncode, "seconds": round(seconds, 2), "load": os.getloadavg()[0],
            "verdicts": len(verdicts), "again": again, **named}


def share(count, of):
    return {"count": count, "of": of, "interval": clopper_pearson(count, of)}


def summarise(records):
    groups = {}
    for record in records:
        groups.setdefault((record["source"], record["busy"]), []).append(record)
    table = []
    for (source, busy), runs in sorted(groups.items(), key=lambda item: (list(SOURCES).index(item[0][0]), item[0][1])):
        what, pattern = SOURCES[source]
        exits = {code: sum(run["exit"] == code for run in runs) for code in (0, 1, 3, 4)}
        entry = {
            "source": source, "what": what, "busy_neighbour": busy, "runs": len(runs),
            "kept": share(exits[0], len(runs)), "failed": share(exits[1], len(runs)),
            "inconclusive": share(exits[3], len(runs)), "measurement_failed": exits[4],
            "measured_again": sum(run["again"] > 0 for run in runs),
            "seconds_median": sorted(run["seconds"] for run in runs)[len(runs) // 2],
            "seconds_most": max(run["seconds"] for run in runs),
            # Load of the whole machine: above 1 (2 with a busy neighbour), other processes ran beside the gate.
            "load_median": sorted(run["load"] for run in runs)[len(runs) // 2],
        }
        if pattern:
            right = [run for run in runs if run["exit"] == 1 and any(re.search(pattern, s) for s in run["fail"])]
            wrong = [run for run in runs if any(not re.search(pattern, s) for s in run["fail"])]
            entry["failed_and_named_it"] = share(len(right), len(runs))
            entry["named_another"] = share(len(wrong), len(runs))
        else:
            entry["failing_subjects"] = sorted({subject for run in runs for subject in run["fail"]})
        inconclusive = {}
        for run in runs:
            for subject in run["inconclusive"]:
                inconclusive[subject] = inconclusive.get(subject, 0) + 1
        entry["inconclusive_subjects"] = dict(sorted(inconclusive.items(), key=lambda item: -item[1]))
        table.append(entry)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="runs of unchanged code")
    parser.add_argument("--injected", type=int, default=100, help="runs of each regression")
    parser.add_argument("--for", dest="seconds", type=float, default=float("inf"), help="seconds after which to stop")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="CPU to measure on")
    parser.add_argument("--cargo", default="", help="further options for cargo build")
    parser.add_argument("--build", action="store_true", help="build only")
    parser.add_argument("--built", action="store_true", help="do not build; use the existing programs")
    arguments = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not arguments.built:
        build(arguments.cargo.split())
    if arguments.build:
        return
    parts = [binary(name).read_bytes() for name in SOURCES] + [BUDGETS.read_bytes()]
    build_hash = hashlib.sha256(b"".join(parts)).hexdigest()[:16]
    records = [json.loads(line) for line in RUNS.read_text().splitlines()] if RUNS.exists() else []
    records = [record for record in records if record["build"] == build_hash]
    done = {(record["source"], record["busy"], record["number"]) for record in records}
    until = time.monotonic() + arguments.seconds
    planned = list_runs(arguments.runs, arguments.injected)
    with RUNS.open("a") as lines:
        for source, busy, number in planned:
            if (source, busy, number) in done:
                continue
            if time.monotonic() > until:
                break
            with neighbour(busy, arguments.cpu):
                found = gate(source, number, arguments.cpu)
            record = {"build": build_hash, "source": source, "busy": busy, "number": number, **found}
            records.append(record)
            lines.write(json.dumps(record) + "\n")
            lines.flush()
            print(f"{len(records)} of {len(planned)}: {source}{' busy' if busy else ''}: exit {found['exit']}, "
                  f"{found['seconds']} s, {', '.join(found['fail'] + found['inconclusive'])}", flush=True)
    models = (line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    model = next(models, None)
    result = {
        "script": "scripts/gate_validation.py", "cpu": model, "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cargo": arguments.cargo, "complete": len(records) >= len(planned), "results": summarise(records),
    }
    temporary = RESULT.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    temporary.replace(RESULT)


if __name__ == "__main__":
    main()
