#!/usr/bin/env bash
# Builds a revision and the current sources, and measures both in turn: scripts/ab.sh HEAD~1 --quick
# Further options go to `pvbench ab`. The baseline is built in a temporary worktree; its target folder is target/ab.
# PVBENCH_FEATURES has options for cargo, for example '--no-default-features'. PVBENCH_TARGET selects another program
# than pvbench: '--bench uart' is a suite of yours, with a copy of this script in its crate.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { echo "usage: scripts/ab.sh REVISION [OPTIONS OF pvbench ab]" >&2; exit 2; }
commit=$(git rev-parse --verify --quiet "$1^{commit}") || {
    echo "ab.sh: '$1' is not a revision here; see git log" >&2
    exit 2
}
shift
read -ra features <<<"${PVBENCH_FEATURES:-}"
read -ra program <<<"${PVBENCH_TARGET:---bin pvbench}"

# Builds the program and prints its path; bench targets have a hash in their names.
build() {
    local how=(build --release)
    [ "${program[0]}" != --bench ] || how=(bench --no-run)
    cargo "${how[@]}" --locked "${program[@]}" "${features[@]}" --message-format json-render-diagnostics "$@" |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

worktree=$(mktemp -d)
trap 'git worktree remove --force "$worktree" 2>/dev/null || rm -rf "$worktree"' EXIT
git worktree add --quiet --detach "$worktree" "$commit"
prefix=$(git rev-parse --show-prefix)
before=$(CARGO_TARGET_DIR=$PWD/target/ab build --manifest-path "$worktree/${prefix}Cargo.toml") || exit 4
after=$(build) || exit 4
[ -n "$before" ] && [ -n "$after" ] || {
    echo "ab.sh: cargo built no program for ${program[*]}; set PVBENCH_TARGET to a target of this crate" >&2
    exit 4
}

status=0
"$after" ab --baseline "$before" "$@" || status=$?
exit "$status"
