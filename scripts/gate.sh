#!/usr/bin/env bash
# Runs the gate in a CI job: measures the cells and workloads of the budgets, and judges them. All options go to
# `pvbench gate --run`:
#   scripts/gate.sh --budget my-budgets.toml --out public --junit gate.xml
# On GitHub, the summary of the job shows all verdicts.
# Exit codes: 0 kept; 1 exceeded; 2 bad usage or budgets; 3 inconclusive; 4 the measurement failed.
set -uo pipefail
cd "$(dirname "$0")/.."

# PVBENCH is the path of an existing binary.
if [ -z "${PVBENCH:-}" ]; then
    cargo build --locked --release --bin pvbench || exit 4
    PVBENCH=target/release/pvbench
fi

summary=()
[ -z "${GITHUB_STEP_SUMMARY:-}" ] || summary=(--markdown "$GITHUB_STEP_SUMMARY")
exec "$PVBENCH" gate --run "${summary[@]}" "$@"
