//! The reasons why overheads are not resolved, in words, with the remedies.

use super::Report;
use super::schema::{Cell, Limit};
use crate::regime::Regime;

impl Limit {
    /// All limits, in the order of tables.
    pub const ALL: [Limit; 5] = [Limit::Floor, Limit::Interval, Limit::Layout, Limit::Modes, Limit::Traps];

    /// The limit in one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Limit::Floor => "floor",
            Limit::Interval => "interval",
            Limit::Modes => "modes",
            Limit::Layout => "layout",
            Limit::Traps => "traps",
        }
    }

    /// Meaning and remedy in a sentence.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Limit::Floor => "the overhead lies within the noise: no difference is visible",
            Limit::Interval => "the interval reaches into the floor: more time narrows the interval",
            Limit::Modes => {
                "workers gather at several values, which differ by as much as the overhead: \
                 more time does not help, read the modes"
            }
            Limit::Layout => "the layout range is as large as the overhead: more time does not help, read the layouts",
            Limit::Traps => "the op traps to the hypervisor, whose time this is: measure it on bare metal",
        }
    }
}

/// Numbers of measured cells of a regime that are not resolved, by limit. Cells of `inline` do not count, because
/// `inline` is compared with itself there.
#[must_use]
pub fn unresolved(report: &Report, regime: Regime) -> Vec<(Limit, usize)> {
    let compared = |cell: &&Cell| cell.regime == regime && cell.mechanism != "inline" && cell.overhead.is_some();
    let count = |limit| report.cells.iter().filter(compared).filter(|cell| cell.limit == Some(limit)).count();
    Limit::ALL.into_iter().map(|limit| (limit, count(limit))).filter(|(_, count)| *count > 0).collect()
}
