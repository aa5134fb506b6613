#!/usr/bin/env bash
# Builds pvbench of a revision and measures it in turn with the sources as they are here:
#   scripts/ab.sh HEAD~1 --quick
# All further options go to `pvbench ab`. The baseline is built in a worktree of its own, which is removed again; what was
# compiled stays in target/ab for the next time. PVBENCH_FEATURES are the options for cargo, as '--no-default-features'.
# PVBENCH_TARGET is another program than pvbench: '--bench uart' is a suite of yours, from a copy of this script in its
# crate.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { echo "usage: scripts/ab.sh REVISION [OPTIONS OF pvbench ab]" >&2; exit 2; }
commit=$(git rev-parse --verify --quiet "$1^{commit}") || { echo "scripts/ab.sh: '$1' is no revision here" >&2; exit 2; }
shift
read -ra features <<<"${PVBENCH_FEATURES:-}"
read -ra program <<<"${PVBENCH_TARGET:---bin pvbench}"

# The path of the program that cargo builds; bench targets have a hash in their names.
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
[ -n "$before" ] && [ -n "$after" ] || { echo "scripts/ab.sh: cargo built no program of ${program[*]}" >&2; exit 4; }

status=0
"$after" ab --baseline "$before" "$@" || status=$?
exit "$status"
