#!/usr/bin/env bash
# The steps of action.yml, each by its name:
#   scripts/action.sh key       writes what the cache keeps, and its key, to $GITHUB_OUTPUT
#   scripts/action.sh install   installs pvbench, or builds the bench target
#   scripts/action.sh doctor    tells whether this runner is fit to measure on
#   scripts/action.sh gate      measures and judges; its exit code is that of the gate, but 0 for 3
# They run in the folder of the user's crate. Inputs are environment variables:
#   PVBENCH_BENCH_TARGET  a bench target of the user's crate; without it, the built-in suite is measured
#   PVBENCH_VERSION       a published version; without it, the sources beside this script are built
#   PVBENCH_BUDGET, PVBENCH_BASELINE, PVBENCH_ARGS   options of `pvbench gate --run`
#   PVBENCH               the path of an existing program: nothing is installed
set -euo pipefail

sources=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
temp=${RUNNER_TEMP:-/tmp}
root=$temp/pvbench-install
report=$temp/pvbench-report
bench=${PVBENCH_BENCH_TARGET:-}

# Writes an output of the step.
say() {
    if [ -n "${GITHUB_OUTPUT:-}" ]; then echo "$1" >>"$GITHUB_OUTPUT"; fi
}

# Prints one SHA-256 sum of files and their names. A file may be missing: a library has no Cargo.lock.
sum() {
    { find "$@" -type f -print0 2>/dev/null || true; } | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-32
}

# Runs a subcommand of pvbench.
pvbench() {
    if [ -n "$bench" ]; then
        cargo bench -q --bench "$bench" -- "$@"
    else
        "${PVBENCH:-$root/bin/pvbench}" "$@"
    fi
}

key() {
    local version
    if [ -n "$bench" ]; then
        say "path=target"
        version=$(sum Cargo.toml Cargo.lock)
        say "key=pvbench-bench-$(uname -m)-$version"
    else
        say "path=$root"
        version=${PVBENCH_VERSION:-$(cd "$sources" && sum Cargo.toml Cargo.lock askama.toml src)}
        say "key=pvbench-$(uname -m)-$version"
    fi
}

install() {
    if [ -n "$bench" ]; then
        # A step of its own, so that a compile error does not look like a failure of the gate.
        cargo bench --bench "$bench" --no-run
    elif [ -n "${PVBENCH:-}" ] || [ -x "$root/bin/pvbench" ]; then
        echo "action.sh: pvbench is installed already"
    elif [ -n "${PVBENCH_VERSION:-}" ]; then
        cargo install --locked --root "$root" --version "$PVBENCH_VERSION" pvbench
    else
        cargo install --locked --root "$root" --path "$sources"
    fi
}

gate() {
    local budget more=() options status=0
    budget=$(realpath "${PVBENCH_BUDGET:-budgets.toml}")
    read -ra more <<<"${PVBENCH_ARGS:-}"
    options=(--budget "$budget" --out "$report" --json "$report/verdict.json" --junit "$report/gate.xml")
    if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then options+=(--markdown "$GITHUB_STEP_SUMMARY"); fi
    # `cargo bench` runs the target in the folder of its package, so paths are absolute.
    if [ -n "${PVBENCH_BASELINE:-}" ]; then options+=(--baseline "$(realpath "$PVBENCH_BASELINE")"); fi
    mkdir -p "$report"
    say "report=$report"
    pvbench gate --run "${options[@]}" ${more[@]+"${more[@]}"} || status=$?
    say "status=$status"
    if [ "$status" -eq 3 ]; then
        echo "::warning::the gate is inconclusive; see the summary of the job"
        status=0
    fi
    return "$status"
}

case ${1:-} in
key) key ;;
install) install ;;
doctor) pvbench doctor ;;
gate) gate ;;
*)
    echo "action.sh: name one step: key, install, doctor or gate" >&2
    exit 2
    ;;
esac
