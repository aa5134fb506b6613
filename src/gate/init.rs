//! A first budget file, from a report: what each op executed more by every mechanism, as it was counted.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::op::BodyKind;
use crate::regime::Regime;
use crate::report::Report;

/// Counts are written with six digits: this much above a whole number is one.
const WHOLE: f64 = 1e-3;

/// The text of a budget file that the report keeps: for each op the mechanisms with the same number of extra
/// instructions in a rule, of one regime (throughput, if it is there); of those mechanisms that `keeps` is for. None
/// where nothing of them was counted.
///
/// A bound that somebody else wrote down is a guess: with the body in place a compiler keeps addresses and constants
/// out of the loop that a callee fetches at each call, and how many depends on the body.
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
        "# What each op executes more than inline in {}, as counted on {}, rounded up to whole instructions.\n\
         # Keep the rules of the mechanisms you use, and add a `why` to each; `overhead = \"8 cycles\"` bounds time, too.\n",
        regime.name(),
        report.run.started.get(..10).unwrap_or("an unknown day"),
    );
    // In the order of the report, and within an op by state and number.
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
            let most = (counted.extra - WHOLE).ceil().max(0.0) as u64;
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
