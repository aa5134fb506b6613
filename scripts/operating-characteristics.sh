#!/usr/bin/env bash
# Measures how often the instrument is wrong: many short experiments on loops with known differences, on an idle
# machine, beside a busy core, and beside a core that fills the memory bus. Writes
# reports/operating-characteristics.json and .svg.
#
#     scripts/operating-characteristics.sh            about 26 minutes
#     scripts/operating-characteristics.sh --part 10  a tenth of the experiments
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked --quiet
exec python3 scripts/operating_characteristics.py "$@"
