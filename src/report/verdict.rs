//! What keeps a cell from being resolved, in words, with what helps against it.

use super::Report;
use super::schema::{Cell, Limit};
use crate::regime::Regime;

impl Limit {
    /// All, in the order of tables.
    pub const ALL: [Limit; 5] = [Limit::Floor, Limit::Interval, Limit::Layout, Limit::Modes, Limit::Traps];

    /// In a word.
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

    /// What helps, in as few words as a table has room for.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Limit::Floor => "no difference",
            Limit::Interval => "more time",
            Limit::Modes => "workers differ",
            Limit::Layout => "layouts differ",
            Limit::Traps => "bare metal",
        }
    }

    /// What it means and what helps, in a sentence.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Limit::Floor => "the estimate lies within the floor: there is no difference to be seen",
            Limit::Interval => {
                "the estimate lies beyond the floor, but the deciding interval reaches into it: more time narrows the interval"
            }
            Limit::Modes => {
                "workers gather at several values, one of them within the floor: more time does not help, read the modes"
            }
            Limit::Layout => {
                "moving the code moves the overhead by its size or into the floor: more time does not help, read the layouts"
            }
            Limit::Traps => "the op leaves the guest, and its time is the hypervisor's: measure it on bare metal",
        }
    }
}

/// How many compared cells of a regime are not resolved, by what keeps them from it. `inline` against itself is no
/// comparison.
#[must_use]
pub fn unresolved(report: &Report, regime: Regime) -> Vec<(Limit, usize)> {
    let compared = |cell: &&Cell| cell.regime == regime && cell.mechanism != "inline" && cell.overhead.is_some();
    let count = |limit| report.cells.iter().filter(compared).filter(|cell| cell.limit == Some(limit)).count();
    Limit::ALL.into_iter().map(|limit| (limit, count(limit))).filter(|(_, count)| *count > 0).collect()
}
