#!/usr/bin/env python3
"""Measures how long `pvbench audit` takes and how much memory it needs, by the size of the binary.

    cargo build --release && scripts/audit_speed.py [FILE..] [--out reports/audit-speed.json]

Without FILE: librustc_driver of the installed Rust (154 MB, 97 MB of code, no debug information), and programs and
libraries of /usr, one for each size from 1 MB on. Each file is audited several times; the fastest run counts, because
a busy machine only adds. On a busy machine, see the CPU time: it is that of all threads.
Exits with 1 if a promise is missed: 2 s for 100 MB without debug information, 300 ms for 20 MB, 1 GB of memory, and
CPU time per megabyte of code that grows by at most half from the second largest file to the largest one.
"""

import argparse
import json
import os
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MB = 1e6
RUNS = 4
MAX_SECONDS_PER_100_MB, MAX_GATE_SECONDS, GATE_MB, MAX_MEMORY_MB, MAX_GROWTH = 2.0, 0.3, 20, 1000, 1.5


def run(program, path, output):
    """Wall seconds, CPU seconds and peak memory in MB of one audit."""
    begun = time.monotonic()
    into = (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    child = os.posix_spawn(program, [str(program), "audit", "--json", str(path)], os.environ, file_actions=[into])
    _, status, used = os.wait4(child, 0)
    seconds = time.monotonic() - begun
    return (seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024) if status == 0 else None


def measure(program, path, output):
    runs = [run(program, path, output) for _ in range(RUNS)]
    if None in runs:
        return None
    with open(output, encoding="utf-8") as file:
        binary = json.load(file)["binaries"][0]
    return {"file": path.name, "mb": round(path.stat().st_size / MB, 1), "code_mb": round(binary["code_bytes"] / MB, 1),
            "instructions": binary["instructions"], "sites": sum(binary["counts"].values()),
            "seconds": round(min(seconds for seconds, _, _ in runs), 3),
            "cpu_seconds": round(min(cpu for _, cpu, _ in runs), 3),
            "peak_mb": round(max(peak for _, _, peak in runs))}


def of_each_size():
    """One file for each doubling of the size."""
    folders = [pathlib.Path("/usr/bin"), pathlib.Path("/usr/lib/x86_64-linux-gnu")]
    found = sorted((path.stat().st_size, path) for folder in folders for path in folder.iterdir()
                   if path.is_file() and not path.is_symlink() and (folder.name == "bin" or ".so" in path.name))
    wanted = [MB * 2 ** step for step in range(8)]
    chosen = [next((path for size, path in found if size >= least), None) for least in [*wanted, GATE_MB * MB]]
    drivers = sorted(pathlib.Path.home().glob(".rustup/toolchains/*/lib/librustc_driver-*.so"))
    return sorted({path for path in [*chosen, *drivers[:1]] if path}, key=lambda path: path.stat().st_size)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target/release/pvbench")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "reports/audit-speed.json")
    given = parser.parse_args()
    output = given.out.with_suffix(".tmp")
    results = []
    for path in given.files or of_each_size():
        result = measure(given.program, path, output)
        if result:
            results.append(result)
            print(result, flush=True)
    output.unlink(missing_ok=True)
    large = [result for result in results if result["mb"] >= 100]
    gate = [result for result in results if GATE_MB <= result["mb"] < 2 * GATE_MB]
    per_mb = [(result["code_mb"], result["cpu_seconds"] / result["code_mb"]) for result in results
              if result["code_mb"] >= 1]
    per_mb.sort()
    growth = per_mb[-1][1] / per_mb[-2][1] if len(per_mb) > 1 else 1
    promises = {
        "seconds_per_100_mb": [max((100 * it["seconds"] / it["mb"] for it in large), default=0),
                               MAX_SECONDS_PER_100_MB],
        "seconds_of_20_mb": [max((GATE_MB * it["seconds"] / it["mb"] for it in gate), default=0), MAX_GATE_SECONDS],
        "peak_mb": [max(it["peak_mb"] for it in results), MAX_MEMORY_MB],
        "growth_of_cpu_seconds_per_code_mb": [growth, MAX_GROWTH],
    }
    report = {"cpus": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1), "runs": RUNS,
              "promises": {name: {"measured": round(value, 3), "at_most": bound, "kept": value <= bound}
                           for name, (value, bound) in promises.items()}, "files": results}
    given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report["promises"], indent=1))
    sys.exit(0 if all(promise["kept"] for promise in report["promises"].values()) else 1)


if __name__ == "__main__":
    main()
