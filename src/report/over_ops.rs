//! The cost of a mechanism over the ops of a regime: the definition that page, plots, terminal and exports share.
//!
//! The **median over ops** is the median of the estimates of all measured ops, resolved or not. Ops that trap are left
//! out, because their time is the hypervisor's. A median over resolved ops alone would be too high, because it leaves
//! out the small overheads. The median is **resolved** if more than half of the ops are resolved on its side of zero:
//! then the true median lies beyond their floors, whatever the other ops are.

#[cfg(feature = "html")]
use super::plots::number::upper_bound;
use super::schema::{Cell, Estimate, Limit};
use crate::stats::Interval;
use crate::stats::location::quantile;

/// Definition of the median over ops for captions.
pub(crate) const MEDIAN_OVER_OPS: &str = "median over all measured ops, resolved or not, without ops that trap";

/// The overheads of one mechanism and state in one regime, over the ops.
#[derive(Clone, Debug)]
pub struct OverOps<'a> {
    /// The measured cells that do not trap, in the given order.
    pub cells: Vec<&'a Cell>,
    /// Minimum, first quartile, median, third quartile and maximum of their estimates, in core cycles.
    pub five: [f64; 5],
    /// Number of resolved cells among them.
    pub resolved: usize,
    /// The measured cells that trap, which are left out of all figures.
    pub trapping: Vec<&'a Cell>,
}

impl<'a> OverOps<'a> {
    /// The overheads of some cells of one mechanism, state, regime and body. `None` if no cell was measured without a
    /// trap.
    pub fn of(cells: impl IntoIterator<Item = &'a Cell>) -> Option<Self> {
        let measured = cells.into_iter().filter(|cell| cycles(cell).is_some());
        let (trapping, cells): (Vec<&Cell>, Vec<&Cell>) = measured.partition(|cell| cell.traps());
        let values: Vec<f64> = cells.iter().filter_map(|cell| cycles(cell)).collect();
        let at = |share| quantile(&values, share);
        let five = [at(0.0)?, at(0.25)?, at(0.5)?, at(0.75)?, at(1.0)?];
        let resolved = cells.iter().filter(|cell| cell.resolved).count();
        Some(Self { cells, five, resolved, trapping })
    }

    /// The median over the ops in core cycles.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.five[2]
    }

    /// Whether the median is resolved: more than half of the ops are resolved on its side of zero.
    #[must_use]
    pub fn median_is_resolved(&self) -> bool {
        2 * self.resolved_on_its_side() > self.cells.len()
    }

    /// Number of resolved ops on the median's side of zero.
    #[must_use]
    pub(crate) fn resolved_on_its_side(&self) -> usize {
        let side = |cell: &&&Cell| cycles(cell).is_some_and(|value| value * self.median() > 0.0);
        self.cells.iter().filter(|cell| cell.resolved).filter(side).count()
    }

    /// The median with its interval, whose ends are the medians of the ends of the ops' intervals.
    ///
    /// A median never falls when one of its values rises, so the true median lies between them where the ops' own
    /// intervals hold.
    #[must_use]
    pub(crate) fn median_interval(&self) -> Interval {
        let end = |of: fn(&Estimate) -> f64| {
            let ends: Vec<f64> = self.cells.iter().filter_map(|cell| Some(of(&cell.overhead?.cycles))).collect();
            quantile(&ends, 0.5).unwrap_or_else(|| self.median())
        };
        Interval { estimate: self.median(), low: end(|it| it.low), high: end(|it| it.high) }
    }

    /// The median of the ops' floors in core cycles; 0 if no op has one.
    #[must_use]
    pub(crate) fn typical_floor(&self) -> f64 {
        let floors = self.cells.iter().filter_map(|cell| cell.floor_cycles).map(f64::abs);
        quantile(&floors.filter(|floor| floor.is_finite()).collect::<Vec<_>>(), 0.5).unwrap_or(0.0)
    }

    /// Why a median is not resolved although its interval excludes zero: the limit of most ops that are not resolved.
    #[must_use]
    pub(crate) fn limit(&self) -> Option<Limit> {
        let open = || self.cells.iter().filter(|cell| !cell.resolved);
        let is_of_most = |limit: &Limit| 2 * open().filter(|cell| cell.limit == Some(*limit)).count() > open().count();
        let excludes_zero = !self.median_is_resolved() && !self.median_interval().contains(0.0);
        Limit::ALL.into_iter().filter(|_| excludes_zero).find(is_of_most)
    }

    /// The median over the same ops in nanoseconds.
    #[must_use]
    pub fn median_ns(&self) -> Option<f64> {
        let values: Vec<f64> = self.cells.iter().filter_map(|cell| Some(cell.overhead?.ns.estimate)).collect();
        quantile(&values, 0.5)
    }

    /// The resolved cells with the smallest and with the largest overhead.
    #[must_use]
    pub fn resolved_ends(&self) -> Option<[&'a Cell; 2]> {
        let resolved = || self.cells.iter().copied().filter(|cell| cell.resolved);
        let by_size = |a: &&Cell, b: &&Cell| cycles(a).unwrap_or(0.0).total_cmp(&cycles(b).unwrap_or(0.0));
        Some([resolved().min_by(by_size)?, resolved().max_by(by_size)?])
    }
}

/// A median that is not resolved as text: `< 0.13`, the number that its size lies below. No figure below the typical
/// floor is a cost, however narrow its interval is.
#[cfg(feature = "html")]
#[must_use]
pub(crate) fn unresolved_text(median: Interval, typical_floor: f64) -> String {
    format!("< {}", upper_bound(typical_floor.max(median.low.abs()).max(median.high.abs())))
}

impl Cell {
    /// Whether the op traps to the hypervisor, so that its time says nothing about the mechanism.
    #[must_use]
    pub fn traps(&self) -> bool {
        self.limit == Some(Limit::Traps)
    }
}

/// Two mechanisms, compared over the ops that were measured with both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired {
    /// Number of ops that were measured with both.
    pub ops: usize,
    /// Median of the first mechanism over these ops, in core cycles.
    pub first: f64,
    /// Median of the second mechanism over these ops, in core cycles.
    pub second: f64,
    /// Median over these ops of second minus first, in core cycles. It is not the difference of the two medians.
    pub difference: f64,
}

/// Compares two mechanisms over the ops that were measured with both. `None` without such an op.
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

/// The estimate of a cell in core cycles; `None` if its interval is not finite and ordered.
fn cycles(cell: &Cell) -> Option<f64> {
    let Estimate { estimate, low, high, .. } = cell.overhead?.cycles;
    (estimate.is_finite() && low.is_finite() && high.is_finite() && low <= high).then_some(estimate)
}
