#!/usr/bin/env python3
"""Measures how long `pvbench site` takes, how much memory it needs, and how large its pages are.

    cargo build --release --bin pvbench --example made_history && scripts/site_speed.py [--out reports/site-speed.json]

The history is made, not measured: runs with planted steps, of as many cells as a default run has
(examples/made_history.rs). The site is built three times: cold, with one more run, and with nothing new. The newest
run is kept apart for the second build. On a busy machine, see the CPU time: it is that of all threads.
Exits with 1 if a promise is missed: 60 s and 500 MB cold, 3 s with one more run, 150 KB for the front page, 250 KB
compressed for the page of an op, and an op's page that answers within 1 s in Chromium, if that is installed.
"""

import argparse
import gzip
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# With 84 cells each, 126 ops have the cells of a default run.
RUNS, OPS = 1000, 126
TITLE, REPOSITORY = "made history", "https://github.com/owner/name"
BOUNDS = {"cold_seconds": 60, "peak_mb": 500, "one_more_run_seconds": 3, "front_kb": 150, "op_compressed_kb": 250,
          "op_ready_ms": 1000}


def build(program, store, site):
    """Wall seconds, CPU seconds, peak memory in MB and files of a build."""
    arguments = [str(program), "site", str(store), "--out", str(site), "--title", TITLE, "--repository", REPOSITORY]
    begun = time.monotonic()
    with tempfile.NamedTemporaryFile("w+") as output:
        into = [(os.POSIX_SPAWN_DUP2, output.fileno(), 1)]
        child = os.posix_spawn(program, arguments, os.environ, file_actions=into)
        _, status, used = os.wait4(child, 0)
        seconds = time.monotonic() - begun
        output.seek(0)
        line = output.read()
    if status != 0:
        sys.exit(f"{' '.join(arguments)} failed")
    files, changed, removed = map(int, re.search(r"(\d+) files, (\d+) changed, (\d+) removed", line).groups())
    return {"seconds": round(seconds, 2), "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
            "peak_mb": round(used.ru_maxrss / 1024), "files": files, "changed": changed, "removed": removed}


def ready_ms(page, folder):
    """Milliseconds from the navigation until the script of a page has run; None without Chromium."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        return None
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile",
               "--dump-dom", f"file://{page}"]
    times = []
    for _ in range(3):
        dom = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        times += [int(found) for found in re.findall(r'<html[^>]* data-ready="(\d+)"', dom)]
    return min(times) if times else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target/release/pvbench")
    parser.add_argument("--made", type=pathlib.Path, default=ROOT / "target/release/examples/made_history")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--note", default="", help="what is special about this measurement, for the results")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "reports/site-speed.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        store, site, apart = folder / "history", folder / "site", folder / "newest.pvr"
        subprocess.run([given.made, str(given.runs + 1), str(OPS), str(store)], check=True)
        newest = max(store.glob("runs/*/*.pvr"), key=lambda path: path.name)
        sizes = [path.stat().st_size for path in store.glob("runs/*/*.pvr")]
        newest.rename(apart)
        cold = build(given.program, store, site)
        apart.rename(newest)
        more, again = (build(given.program, store, site) for _ in range(2))
        ops = {page: len(gzip.compress(page.read_bytes(), 9)) for page in site.glob("op/*.html")}
        largest = max(ops, key=ops.get)
        measured = {
            "cold_seconds": cold["seconds"], "peak_mb": max(it["peak_mb"] for it in (cold, more, again)),
            "one_more_run_seconds": more["seconds"],
            "front_kb": round((site / "index.html").stat().st_size / 1000, 1),
            "op_compressed_kb": round(ops[largest] / 1000, 1), "op_ready_ms": ready_ms(largest, folder),
        }
        site_mb = sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) / 1e6
    promises = {name: {"measured": value, "at_most": BOUNDS[name], "kept": value is not None and value <= BOUNDS[name]}
                for name, value in measured.items()}
    report = {"history": "made, not measured: examples/made_history.rs", "runs": given.runs, "ops": OPS,
              "note": given.note, "cpus": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1),
              "promises": promises, "builds": {"cold": cold, "one_more_run": more, "nothing_new": again},
              "site_mb": round(site_mb), "run_file_kb": round(max(sizes) / 1000)}
    given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))
    sys.exit(0 if all(promise["kept"] for promise in promises.values()) else 1)


if __name__ == "__main__":
    main()
