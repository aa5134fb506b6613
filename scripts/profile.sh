#!/usr/bin/env bash
# Profiles a workload on the plain model kernel (`inline`, no options) by function, with perf's software clock.
#
#     cargo build --release && scripts/profile.sh [WORKLOAD] > reports/profile-WORKLOAD.txt
#
# WORKLOAD is mmap_perf by default.
#
# Needs perf (Debian: linux-perf). It needs no hardware counters, and up to kernel.perf_event_paranoid = 2 no root.
set -euo pipefail
cd "$(dirname "$0")/.."
workload=${1:-mmap_perf}
pvbench=${PVBENCH:-target/release/pvbench}

command -v perf >/dev/null || {
    echo "profile.sh: perf is not installed; install it (Debian: package linux-perf)" >&2
    exit 2
}
[ -x "$pvbench" ] || { echo "profile.sh: $pvbench does not exist; run cargo build --release" >&2; exit 2; }
data=$(mktemp)
trap 'rm -f "$data"' EXIT

# An assignment for one worker (src/run/protocol.rs): the plain kernel and its copies.
target='{"workload":{"workload":"'$workload'","seed":1,"units":null,"in_place":true}}'
job='{"target":'$target',"treatments":[],"blocks":400,"count":false}'
assignment='{"treatments":[],"jobs":['$job'],"seed":1,"window_cycles":100000,"cpu":null,"clock":"tsc",
"min_adds_per_cycle":0,"counters":false,"instructions":false}'
echo "$assignment" | tr -d '\n' | { cat; echo; } |
    perf record --quiet --event cpu-clock --freq 4000 --output "$data" -- "$pvbench" worker >/dev/null
echo "$workload, inline: share of samples by function; $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)," \
    "$(date --utc +%F)"
perf report --input "$data" --stdio --no-children --percent-limit 0.5 --sort symbol 2>/dev/null |
    sed -n 's/^ *\([0-9.]*%\)  \[.\] /\1  /p' |
    sed 's/[ -]*$//; s/<impl pvbench::kernel::Kernel<D,C>>:://; s/pvbench:://g' |
    awk '{ share = $1; $1 = ""; sum[$0] += share }
        END { for (name in sum) printf "%6.2f%% %s\n", sum[name], name }' | sort -rn
