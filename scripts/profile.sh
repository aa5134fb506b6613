#!/usr/bin/env bash
# Where a workload on the model kernel spends its time: perf's software clock over the plain kernel (inline, no options),
# by function.
#
#     scripts/profile.sh [WORKLOAD] > reports/profile-WORKLOAD.txt      mmap_perf without a name
#
# Needs perf (Debian: linux-perf); no hardware counters and, with kernel.perf_event_paranoid up to 2, no root.
set -euo pipefail
cd "$(dirname "$0")/.."
workload=${1:-mmap_perf}

command -v perf >/dev/null || { echo "profile.sh: perf is not installed; Debian has it in linux-perf" >&2; exit 2; }
bench=$(cargo bench --bench macro --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"name":"macro".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[ -n "$bench" ] || { echo "profile.sh: cargo bench --bench macro --no-run built nothing" >&2; exit 2; }
data=$(mktemp)
trap 'rm -f "$data"' EXIT

# Criterion's way to run one benchmark alone, over and over.
perf record --quiet --event cpu-clock --freq 5000 --output "$data" -- \
    "$bench" --bench --profile-time 10 "^$workload/inline\$" >/dev/null 2>&1
echo "$workload, inline: share of samples by function, $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)," \
    "$(date --utc +%F)"
perf report --input "$data" --stdio --no-children --percent-limit 0.5 --sort symbol 2>/dev/null |
    sed -n 's/^ *\([0-9.]*%\)  \[.\] /\1  /p' | sed 's/<impl pvbench::kernel::Kernel<D,C>>:://; s/pvbench:://'
