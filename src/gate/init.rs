//! A first budget file from a report: the counts of each op with every mechanism.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::quantities::{Listings, index_listings, site_bytes};
use crate::op::BodyKind;
use crate::regime::Regime;
use crate::report::Report;
use crate::report::schema::{Cell, Instructions};

/// Largest excess over a whole number that is rounded down. Reports have counts with six digits.
const ROUNDING_EXCESS: f64 = 1e-3;

/// The bounds of a rule, as whole numbers: the counts that decide whether a call changed. An author adds others.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Bounds {
    extra_instructions: u64,
    /// `None` if the report shows no machine code of the op and mechanism.
    site_bytes: Option<u64>,
    /// Calls, indirect branches and conditional branches; `None` if the report has no instruction mix.
    transfers: Option<[u64; 3]>,
}

impl Bounds {
    fn new(cell: &Cell, counted: &Instructions, listings: &Listings) -> Self {
        let whole = |count: f64| (count - ROUNDING_EXCESS).ceil().max(0.0) as u64;
        Bounds {
            extra_instructions: whole(counted.extra),
            site_bytes: site_bytes(cell, listings).ok().map(whole),
            transfers: cell.mix.map(|mix| [mix.calls(), mix.indirect_branches(), mix.branches()].map(whole)),
        }
    }

    fn write(&self, text: &mut String) {
        let _ = writeln!(text, "extra_instructions = \"{} instructions\"", self.extra_instructions);
        if let Some(bytes) = self.site_bytes {
            let _ = writeln!(text, "site_bytes = \"{bytes} bytes\"");
        }
        if let Some([calls, indirect, branches]) = self.transfers {
            let _ = writeln!(text, "calls = {calls}\nindirect_branches = {indirect}");
            if branches > 0 {
                let _ = writeln!(text, "branches = {branches}");
            }
        }
    }
}

/// Makes the text of a budget file that the report keeps; `None` if no instructions were counted.
///
/// A rule has the mechanisms of an op with the same counts. All rules are of one regime: throughput, if the report has
/// it. `keeps` selects mechanisms.
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
         # `site_bytes` are those of an op's call site; calls and branches those of site, mechanism and body.\n\
         # Keep the rules of the mechanisms you use, and add a `why` to each; `overhead = \"8 cycles\"` bounds time.\n",
        regime.name(),
        report.run.started.get(..10).unwrap_or("an unknown day"),
    );
    // Ops are in the order of the report; rules of an op are sorted by state and counts.
    let (mut ops, listings): (Vec<&str>, _) = (Vec::new(), index_listings(report));
    for cell in native(regime) {
        if !ops.contains(&cell.op.as_str()) {
            ops.push(&cell.op);
        }
    }
    for op in ops {
        let mut rules: BTreeMap<(Option<&str>, Bounds), Vec<&str>> = BTreeMap::new();
        for cell in native(regime).filter(|cell| cell.op == op) {
            let Some(counted) = &cell.instructions else { continue };
            let bounds = Bounds::new(cell, counted, &listings);
            rules.entry((cell.state.as_deref(), bounds)).or_default().push(&cell.mechanism);
        }
        for ((state, bounds), mechanisms) in rules {
            let _ = write!(text, "\n[[budget]]\nop = {op:?}\nmechanism = {:?}\n", mechanisms.join(","));
            if let Some(state) = state {
                let _ = writeln!(text, "state = {state:?}");
            }
            let _ = writeln!(text, "regime = {:?}", regime.name());
            bounds.write(&mut text);
        }
    }
    Some(text)
}
