#!/usr/bin/env bash
# Builds pvbench of a revision and measures it in turn with the sources as they are here:
#   scripts/ab.sh HEAD~1 --quick
# All further options go to `pvbench ab`. The baseline is built in a worktree of its own, which is removed again; what was
# compiled stays in target/ab for the next time. PVBENCH_FEATURES are the options for cargo, as '--no-default-features'.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { echo "usage: scripts/ab.sh REVISION [OPTIONS OF pvbench ab]" >&2; exit 2; }
commit=$(git rev-parse --verify --quiet "$1^{commit}") || { echo "scripts/ab.sh: '$1' is no revision here" >&2; exit 2; }
shift
read -ra features <<<"${PVBENCH_FEATURES:-}"

worktree=$(mktemp -d)
trap 'git worktree remove --force "$worktree" 2>/dev/null || rm -rf "$worktree"' EXIT
git worktree add --quiet --detach "$worktree" "$commit"
target=$PWD/target/ab
CARGO_TARGET_DIR=$target cargo build --locked --release --bin pvbench "${features[@]}" \
    --manifest-path "$worktree/Cargo.toml" || exit 4
cargo build --locked --release --bin pvbench "${features[@]}" || exit 4

status=0
target/release/pvbench ab --baseline "$target/release/pvbench" "$@" || status=$?
exit "$status"
