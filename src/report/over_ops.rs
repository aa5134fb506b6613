//! What a mechanism costs over the ops of a regime: the one definition that page, plots, terminal and exports share.
//!
//! The **median over ops** is the median of the estimates of all ops that were measured, resolved or not. Ops that trap
//! are left out: their time is the hypervisor's. A median over resolved ops alone would lie too high, for it leaves out
//! what is small. The median itself is **resolved** where more than half of the ops are resolved on its side of zero:
//! then the true median lies beyond their floors, whatever the others are.

use super::schema::{Cell, Estimate, Limit};
use crate::stats::location::quantile;

/// The definition in a few words, for captions.
pub const MEDIAN_OVER_OPS: &str = "median over all measured ops, resolved or not, without those that trap";

/// The overheads of one mechanism and state in one regime, over the ops.
#[derive(Clone, Debug)]
pub struct OverOps<'a> {
    /// The cells that count, in the order given: measured, and not trapping.
    pub cells: Vec<&'a Cell>,
    /// Smallest, first quartile, median, third quartile, largest of their estimates, in core cycles.
    pub five: [f64; 5],
    /// How many of them are resolved.
    pub resolved: usize,
    /// The measured cells that are left out, because they trap.
    pub trapping: Vec<&'a Cell>,
}

impl<'a> OverOps<'a> {
    /// Of cells of one mechanism, state, regime and body. `None` where none of them counts.
    pub fn of(cells: impl IntoIterator<Item = &'a Cell>) -> Option<Self> {
        let measured = cells.into_iter().filter(|cell| cycles(cell).is_some());
        let (trapping, cells): (Vec<&Cell>, Vec<&Cell>) = measured.partition(|cell| cell.traps());
        let values: Vec<f64> = cells.iter().filter_map(|cell| cycles(cell)).collect();
        let at = |share| quantile(&values, share);
        let five = [at(0.0)?, at(0.25)?, at(0.5)?, at(0.75)?, at(1.0)?];
        let resolved = cells.iter().filter(|cell| cell.resolved).count();
        Some(Self { cells, five, resolved, trapping })
    }

    /// The median over the ops, in core cycles.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.five[2]
    }

    /// Whether the median over the ops is a finding: more than half of the ops are resolved on its side of zero.
    #[must_use]
    pub fn median_is_resolved(&self) -> bool {
        let side = |cell: &&&Cell| cycles(cell).is_some_and(|value| value * self.median() > 0.0);
        2 * self.cells.iter().filter(|cell| cell.resolved).filter(side).count() > self.cells.len()
    }

    /// The median over the same ops in nanoseconds.
    #[must_use]
    pub fn median_ns(&self) -> Option<f64> {
        let values: Vec<f64> = self.cells.iter().filter_map(|cell| Some(cell.overhead?.ns.estimate)).collect();
        quantile(&values, 0.5)
    }

    /// The cells with the smallest and the largest overhead among the resolved ones.
    #[must_use]
    pub fn resolved_ends(&self) -> Option<[&'a Cell; 2]> {
        let resolved = || self.cells.iter().copied().filter(|cell| cell.resolved);
        let by_size = |a: &&Cell, b: &&Cell| cycles(a).unwrap_or(0.0).total_cmp(&cycles(b).unwrap_or(0.0));
        Some([resolved().min_by(by_size)?, resolved().max_by(by_size)?])
    }
}

impl Cell {
    /// Whether the op leaves the guest here, so that its time is the hypervisor's and not the mechanism's.
    #[must_use]
    pub fn traps(&self) -> bool {
        self.limit == Some(Limit::Traps)
    }
}

/// Two mechanisms over the ops that count with both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired {
    /// How many ops that are.
    pub ops: usize,
    /// The median over them of the first mechanism, in core cycles.
    pub first: f64,
    /// The median over them of the second.
    pub second: f64,
    /// The median over them of second minus first: what an op changes by, and not how medians differ.
    pub difference: f64,
}

/// Compares two mechanisms over the ops that count with both. `None` without such an op.
#[must_use]
pub fn paired(first: &OverOps, second: &OverOps) -> Option<Paired> {
    let before: std::collections::HashMap<&str, f64> =
        first.cells.iter().filter_map(|cell| Some((cell.op.as_str(), cycles(cell)?))).collect();
    let pair = |cell: &&Cell| Some((*before.get(cell.op.as_str())?, cycles(cell)?));
    let pairs: Vec<(f64, f64)> = second.cells.iter().filter_map(pair).collect();
    let median = |of: fn(&(f64, f64)) -> f64| quantile(&pairs.iter().map(of).collect::<Vec<_>>(), 0.5);
    Some(Paired {
        ops: pairs.len(),
        first: median(|pair| pair.0)?,
        second: median(|pair| pair.1)?,
        difference: median(|pair| pair.1 - pair.0)?,
    })
}

/// The estimate of a cell whose interval is one.
fn cycles(cell: &Cell) -> Option<f64> {
    let Estimate { estimate, low, high } = cell.overhead?.cycles;
    (estimate.is_finite() && low.is_finite() && high.is_finite() && low <= high).then_some(estimate)
}
