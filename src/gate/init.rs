//! A first budget file from a report: the extra instructions of each op with every mechanism, as counted.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::op::BodyKind;
use crate::regime::Regime;
use crate::report::Report;

/// Largest excess over a whole number of instructions that is rounded down. Reports have counts with six digits.
const ROUNDING_EXCESS: f64 = 1e-3;

/// Makes the text of a budget file that the report keeps; `None` if no instructions were counted.
///
/// A rule has the mechanisms of an op with the same number of extra instructions. All rules are of one regime:
/// throughput, if the report has it. `keeps` selects mechanisms.
///
/// Bounds come from counts because they depend on the body: inline, a compiler keeps addresses and constants out of the
/// loop that a callee loads at each call.
#[must_use]
pub fn budgets(report: &Report, keeps: impl Fn(&str) -> bool) -> Option<String> {
    let native = |regime: Regime| {
        report
            .cells
            .iter()
            .filter(move |cell| cell.regime == regime && cell.body == BodyKind::Native && cell.mechanism != "inline")
            .filter(|cell| keeps(&cell.mechanism))
    };
    let regime = Regime::ALL.into_iter().find(|regime| native(*regime).any(|cell| cell.instructions.is_some()))?;
    let mut text = format!(
        "# Instructions of each op above inline in {}, as counted on {}, rounded up to whole numbers.\n\
         # Keep the rules of the mechanisms you use, and add a `why` to each; `overhead = \"8 cycles\"` bounds time.\n",
        regime.name(),
        report.run.started.get(..10).unwrap_or("an unknown day"),
    );
    // Ops are in the order of the report; rules of an op are sorted by state and number.
    let mut ops: Vec<&str> = Vec::new();
    for cell in native(regime) {
        if !ops.contains(&cell.op.as_str()) {
            ops.push(&cell.op);
        }
    }
    for op in ops {
        let mut rules: BTreeMap<(Option<&str>, u64), Vec<&str>> = BTreeMap::new();
        for cell in native(regime).filter(|cell| cell.op == op) {
            let Some(counted) = cell.instructions else { continue };
            let most = (counted.extra - ROUNDING_EXCESS).ceil().max(0.0) as u64;
            rules.entry((cell.state.as_deref(), most)).or_default().push(&cell.mechanism);
        }
        for ((state, most), mechanisms) in rules {
            let _ = write!(text, "\n[[budget]]\nop = {op:?}\nmechanism = {:?}\n", mechanisms.join(","));
            if let Some(state) = state {
                let _ = writeln!(text, "state = {state:?}");
            }
            let _ = writeln!(text, "regime = {:?}\nextra_instructions = \"{most} instructions\"", regime.name());
        }
    }
    Some(text)
}
