#!/usr/bin/env python3
"""Measures the time of a first build of a user's crate.

The crate is a copy of tests/fixtures/own_suite: ops in Rust and in assembly, a workload, a mechanism, and four bench
targets, with `default-features = false, features = ["cli"]` as in docs/own-ops.md. Dependencies are downloaded before;
the target folder is empty. The result is CPU time (user and system), since wall time depends on the load of the
machine. On two CPUs, a build takes at least half of it.

    scripts/user_crate.py [--json reports/user-crate.json]
"""

import argparse
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# 90 s on two CPUs.
MAX_CPU_SECONDS = 180


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the result, in addition to the terminal")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        crate = Path(folder) / "crate"
        shutil.copytree(ROOT / "tests/fixtures/own_suite", crate, ignore=shutil.ignore_patterns("target"))
        manifest = crate / "Cargo.toml"
        manifest.write_text(manifest.read_text().replace('path = "../../.."', f"path = {json.dumps(str(ROOT))}"))
        # The tested versions of dependencies, as in tests/own_suite.rs.
        shutil.copy(ROOT / "Cargo.lock", crate / "Cargo.lock")
        environment = {**os.environ, "CARGO_TARGET_DIR": str(Path(folder) / "target")}
        subprocess.run(["cargo", "fetch"], cwd=crate, env=environment, check=True)
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(["cargo", "bench", "--offline", "--no-run"], cwd=crate, env=environment, check=True)
        wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    result = {
        "cpu_seconds": round(cpu, 1),
        "wall_seconds": round(wall, 1),
        "most_cpu_seconds": MAX_CPU_SECONDS,
        "cpus": len(os.sched_getaffinity(0)),
        "load_at_the_end": round(os.getloadavg()[0], 1),
        "cpu_model": model.group(1) if model else platform.processor(),
        "rustc": subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip(),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")
    sys.exit(0 if cpu <= MAX_CPU_SECONDS else 1)


if __name__ == "__main__":
    main()
