#!/usr/bin/env bash
# Checks that counts are equal in every run. Runs `pvbench linux ab` on a kernel three times: alone, with one boot at a
# time, and with all CPUs busy and two boots per CPU. Compares the three files byte by byte.
#
#     cargo build --release && scripts/linux-identical.sh KERNEL [OPTIONS]    about ten minutes
#
# Writes reports/linux/identical.json. OPTIONS are those of `pvbench linux ab`; `--phases 1 --scale 20` takes a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
kernel=$1
shift
options=("$@")
pvbench=${PVBENCH:-target/release/pvbench}
folder=$(mktemp -d)
busy=()
trap '[ ${#busy[@]} -eq 0 ] || kill "${busy[@]}" 2>/dev/null || true; rm -rf "$folder"' EXIT

# Runs a comparison and adds its time and checksum to `rows`.
run() {
    local name=$1
    shift
    local begun=$EPOCHREALTIME
    "$pvbench" linux ab "$kernel" --out "$folder/$name" "${options[@]}" "$@" >"$folder/$name.txt" 2>/dev/null
    seconds=$(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $begun }")
    sum=$(sha256sum "$folder/$name/linux.json" | cut -d' ' -f1)
    rows+=("{ \"run\": \"$name\", \"seconds\": $seconds, \"sha256\": \"$sum\" }")
    echo "$name: $seconds s, $sum"
}

rows=()
run "alone"
first=$sum
run "alone, one boot at a time" --jobs 1
for _ in $(seq "$(nproc)") more; do
    (while :; do :; done) &
    busy+=($!)
done
run "busy machine, twice as many boots as CPUs" --jobs $(($(nproc) * 2))
kill "${busy[@]}"
busy=()

identical=true
for row in "${rows[@]}"; do
    case $row in *"$first"*) ;; *) identical=false ;; esac
done
mkdir -p reports/linux
{
    echo "{"
    echo " \"script\": \"scripts/linux-identical.sh\","
    echo " \"date\": \"$(date -u +%F)\","
    echo " \"pvbench\": \"$("$pvbench" --version | cut -d' ' -f2)\","
    echo " \"qemu\": \"$(qemu-system-x86_64 --version | sed -n '1s/.*version \([^ ]*\).*/\1/p')\","
    echo " \"kernel\": \"$(basename "$kernel")\","
    echo " \"options\": \"${options[*]}\","
    echo " \"cpus\": $(nproc),"
    echo " \"identical\": $identical,"
    echo " \"runs\": ["
    for ((i = 0; i < ${#rows[@]}; i++)); do
        echo "  ${rows[i]}$([ $((i + 1)) -lt ${#rows[@]} ] && echo ,)"
    done
    echo " ]"
    echo "}"
} >reports/linux/identical.json
cat reports/linux/identical.json
[ $identical = true ]
