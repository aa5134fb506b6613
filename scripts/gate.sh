#!/usr/bin/env bash
# Measures what the budgets bind and judges it; what a CI job calls. All options go to `pvbench gate --run`:
#   scripts/gate.sh --budget my-budgets.toml --out public --junit gate.xml
# On GitHub the summary of the job shows the verdicts, whatever they are.
# Exit codes: 0 kept; 1 exceeded; 2 bad usage or budgets; 3 cannot be told; 4 the measurement failed.
set -uo pipefail
cd "$(dirname "$0")/.."

# PVBENCH names a binary that is there already.
if [ -z "${PVBENCH:-}" ]; then
    cargo build --locked --release --bin pvbench || exit 4
    PVBENCH=target/release/pvbench
fi

summary=()
[ -z "${GITHUB_STEP_SUMMARY:-}" ] || summary=(--markdown "$GITHUB_STEP_SUMMARY")
exec "$PVBENCH" gate --run "${summary[@]}" "$@"
