//! The answer of a run: what each way to a body costs over `inline`, the differences that people ask for, and what the
//! model kernel pays on its workloads. The terminal and the first screen of the page show it.

use super::Report;
use super::over_ops::{OverOps, unresolved_text};
use super::plots::grid::{Column, Grid, finite};
use super::schema::{Cell, Limit, WorkloadKernel, WorkloadResult};
use super::subject::has_linux_ops;
use crate::regime::Regime;
use crate::stats::Interval;
use crate::stats::location::quantile;

/// A way to reach a body, in the words of people who ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// What people call it: `a direct call`.
    pub name: &'static str,
    /// Name of the mechanism.
    pub mechanism: &'static str,
    /// State of a patchable mechanism.
    pub state: Option<&'static str>,
}

impl Way {
    const fn of(name: &'static str, mechanism: &'static str, state: Option<&'static str>) -> Self {
        Way { name, mechanism, state }
    }

    fn column(self) -> Column<'static> {
        Column { mechanism: self.mechanism, state: self.state }
    }
}

const TABLE: Way = Way::of("the pv_ops table", "table", None);
const DIRECT: Way = Way::of("a direct call", "direct", None);
const PATCHED: Way = Way::of("a patched site", "site", Some("inline"));
const FLAG: Way = Way::of("a flag", "flag", None);
const RETPOLINE: Way = Way::of("a retpoline", "retpoline", None);
const DYN: Way = Way::of("dyn", "dyn", None);

/// The ways that the answer shows, in its order.
pub(crate) const WAYS: [Way; 6] = [TABLE, DIRECT, PATCHED, FLAG, RETPOLINE, DYN];

/// Name of the difference between two ways whose costs are near each other.
pub(crate) const TABLE_AND_DIRECT: &str = "table - direct";

/// The differences that people ask for: name, minuend, and subtrahend. Without a subtrahend it is `inline`.
const DIFFERENCES: [(&str, Way, Option<Way>); 4] = [
    (TABLE_AND_DIRECT, TABLE, Some(DIRECT)),
    ("retpoline - table", RETPOLINE, Some(TABLE)),
    ("patched - inline", PATCHED, None),
    ("dyn - table", DYN, Some(TABLE)),
];

/// The answer of a report.
pub struct Answer<'a> {
    /// What the ways cost that were measured, in the order of `WAYS`.
    pub ways: Vec<WayCost>,
    /// The differences whose both sides were measured.
    pub differences: Vec<Difference>,
    /// What the model kernel pays for the table and for patched sites on its workloads.
    pub kernels: Vec<KernelCost<'a>>,
}

/// The cost of a way over `inline`, by regime.
pub struct WayCost {
    /// The way.
    pub way: Way,
    /// What it is called in this report: a suite without Linux's ops has a table, but no `pv_ops`.
    pub name: &'static str,
    /// The costs in the regimes that were measured, in the order of [`Regime::ALL`].
    pub costs: Vec<(Regime, Cost)>,
}

/// A difference between two ways, by regime.
pub struct Difference {
    /// What people call it: `table - direct`.
    pub name: &'static str,
    /// The differences in the regimes in which both ways were measured, in the order of [`Regime::ALL`].
    pub costs: Vec<(Regime, Cost)>,
}

/// A cost over the ops, in core cycles per call. Ops that trap are left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// The median over the ops, with its interval.
    ///
    /// The ends are the medians of the ends of the ops' intervals (`OverOps::median_interval`).
    pub median: Interval,
    /// Lowest and highest estimate over the ops.
    pub range: [f64; 2],
    /// Number of ops.
    pub ops: usize,
    /// Number of ops whose own cost is resolved, on the median's side of zero.
    pub resolved: usize,
    /// Median of the ops' floors in core cycles; 0 if no op has one.
    pub floor: f64,
    /// Whether the median is resolved: more than half of the ops are resolved on its side of zero. An op's difference
    /// between two ways is resolved if its interval lies beyond the floors of both cells.
    pub is_resolved: bool,
    /// Why the median is not resolved although its interval excludes zero: what limits most ops that are not resolved.
    pub limit: Option<Limit>,
}

impl Cost {
    /// `< 0.13`: the number that the size of a median lies below that is not resolved.
    #[must_use]
    pub fn bound_text(&self) -> String {
        unresolved_text(self.median, self.floor)
    }
}

/// What the model kernel pays for a way on its workloads, in percent of the time with `inline`.
pub struct KernelCost<'a> {
    /// The way.
    pub way: Way,
    /// Name, interval in percent, and whether it is resolved, for each workload that was measured.
    pub workloads: Vec<(&'a str, Interval, bool)>,
}

impl KernelCost<'_> {
    /// Lowest and highest resolved estimate with their workloads; `None` if none is resolved.
    #[must_use]
    pub fn resolved_ends(&self) -> Option<[(&str, f64); 2]> {
        let resolved =
            || self.workloads.iter().filter(|(.., resolved)| *resolved).map(|(name, it, _)| (*name, it.estimate));
        let by_value = |a: &(&str, f64), b: &(&str, f64)| a.1.total_cmp(&b.1);
        Some([resolved().min_by(by_value)?, resolved().max_by(by_value)?])
    }

    /// The interval of a workload.
    #[must_use]
    pub fn on(&self, workload: &str) -> Option<(Interval, bool)> {
        let found = self.workloads.iter().find(|(name, ..)| *name == workload)?;
        Some((found.1, found.2))
    }
}

impl<'a> Answer<'a> {
    /// The answer of a report.
    #[must_use]
    pub fn from_report(report: &'a Report) -> Self {
        Self::of(report, &Grid::new(report))
    }

    /// The answer of a report; `grid` is that of the report.
    #[must_use]
    pub fn of(report: &'a Report, grid: &Grid<'a>) -> Self {
        let linux = has_linux_ops(report);
        let ways = WAYS.into_iter().filter_map(|way| {
            let costs = by_regime(|regime| cost(grid, way, regime));
            let name = if way == TABLE && !linux { "the table" } else { way.name };
            (!costs.is_empty()).then_some(WayCost { way, name, costs })
        });
        let differences = DIFFERENCES.into_iter().filter_map(|(name, way, from)| {
            let costs = by_regime(|regime| match from {
                Some(from) => difference(grid, way, from, regime),
                None => cost(grid, way, regime),
            });
            (!costs.is_empty()).then_some(Difference { name, costs })
        });
        let kernels = [TABLE, PATCHED].into_iter().filter_map(|way| {
            let of = |workload: &'a WorkloadResult| {
                let kernel = workload.kernels.iter().find(|kernel| is_of(kernel, way))?;
                Some((workload.name.as_str(), finite(kernel.overhead_percent?)?.interval(), kernel.resolved))
            };
            let workloads: Vec<_> = report.workloads.iter().filter_map(of).collect();
            (!workloads.is_empty()).then_some(KernelCost { way, workloads })
        });
        Answer { ways: ways.collect(), differences: differences.collect(), kernels: kernels.collect() }
    }
}

fn is_of(kernel: &WorkloadKernel, way: Way) -> bool {
    kernel.option.is_none()
        && kernel.mechanism.as_deref() == Some(way.mechanism)
        && kernel.state.as_deref() == way.state
}

fn by_regime(cost: impl Fn(Regime) -> Option<Cost>) -> Vec<(Regime, Cost)> {
    Regime::ALL.into_iter().filter_map(|regime| Some((regime, cost(regime)?))).collect()
}

/// The cost of a way above `inline`.
fn cost(grid: &Grid, way: Way, regime: Regime) -> Option<Cost> {
    cost_of(grid, &way.column(), regime)
}

/// The cost of a mechanism, in one state if it is patchable, above `inline`. `None` if nothing was measured.
#[must_use]
pub(crate) fn cost_of(grid: &Grid, column: &Column, regime: Regime) -> Option<Cost> {
    let over = OverOps::of(cells(grid, column, regime)?)?;
    let intervals: Vec<Interval> = over.cells.iter().filter_map(|cell| cycles(cell)).collect();
    let floors: Vec<f64> = over.cells.iter().filter_map(|cell| cell.floor_cycles).collect();
    let cost = summarise(&intervals, &floors)?;
    Some(Cost {
        resolved: over.resolved_on_its_side(),
        is_resolved: over.median_is_resolved(),
        limit: over.limit(),
        ..cost
    })
}

/// The cost of a way above another one, over the ops that were measured with both.
fn difference(grid: &Grid, way: Way, from: Way, regime: Regime) -> Option<Cost> {
    difference_of(grid, &way.column(), &from.column(), regime)
}

/// The cost of a mechanism above another one, over the ops that were measured with both. It is resolved if more than
/// half of the ops differ in its direction by more than their floors.
#[must_use]
pub(crate) fn difference_of(grid: &Grid, column: &Column, from: &Column, regime: Regime) -> Option<Cost> {
    let minuend = OverOps::of(cells(grid, column, regime)?)?;
    let subtrahend = OverOps::of(cells(grid, from, regime)?)?;
    let of_op = |cell: &&Cell| {
        let other = subtrahend.cells.iter().find(|other| other.op == cell.op)?;
        let (it, less) = (cycles(cell)?, cycles(other)?);
        // Both overheads contain the error of the same `inline`, which the difference does not have. So the sum of
        // squares is an upper limit.
        let half_width = it.half_width().hypot(less.half_width());
        let estimate = it.estimate - less.estimate;
        let floor = cell.floor_cycles?.abs().max(other.floor_cycles?.abs());
        let layouts = [cell, other].map(|it| it.layout_range.unwrap_or(0.0)).into_iter().fold(0.0, f64::max);
        let is_of_layout = layouts >= estimate.abs() && layouts > 0.0;
        Some((Interval { estimate, low: estimate - half_width, high: estimate + half_width }, floor, is_of_layout))
    };
    let differences: Vec<(Interval, f64, bool)> = minuend.cells.iter().filter_map(of_op).collect();
    let intervals: Vec<Interval> = differences.iter().map(|it| it.0).collect();
    let floors: Vec<f64> = differences.iter().map(|it| it.1).collect();
    let median = summarise(&intervals, &floors)?;
    let is_beyond = |(it, floor, _): &&(Interval, f64, bool)| match median.median.estimate {
        above if above > 0.0 => it.is_above(*floor),
        below if below < 0.0 => it.is_below(-*floor),
        _ => false,
    };
    let resolved = differences.iter().filter(is_beyond).count();
    let is_resolved = 2 * resolved > differences.len();
    let open = || differences.iter().filter(|it| !is_beyond(it));
    let by_layout = open().filter(|it| it.2).count();
    let depends_on_layout = !is_resolved && !median.median.contains(0.0) && 2 * by_layout > open().count();
    Some(Cost { resolved, is_resolved, limit: depends_on_layout.then_some(Limit::Layout), ..median })
}

/// The median and the range of intervals over ops, and the median of the floors; nothing is resolved yet.
fn summarise(intervals: &[Interval], floors: &[f64]) -> Option<Cost> {
    let floors: Vec<f64> = floors.iter().copied().filter(|floor| floor.is_finite()).map(f64::abs).collect();
    let at = |share, of: fn(&Interval) -> f64| quantile(&intervals.iter().map(of).collect::<Vec<_>>(), share);
    let estimate: fn(&Interval) -> f64 = |it| it.estimate;
    Some(Cost {
        median: Interval { estimate: at(0.5, estimate)?, low: at(0.5, |it| it.low)?, high: at(0.5, |it| it.high)? },
        range: [at(0.0, estimate)?, at(1.0, estimate)?],
        ops: intervals.len(),
        resolved: 0,
        floor: quantile(&floors, 0.5).unwrap_or(0.0),
        is_resolved: false,
        limit: None,
    })
}

/// The cells of a column of the grid; `None` if the grid has no such column.
fn cells<'a>(grid: &Grid<'a>, column: &Column, regime: Regime) -> Option<Vec<&'a Cell>> {
    let of = |own: &&Column<'a>| (own.mechanism, own.state) == (column.mechanism, column.state);
    Some(grid.cells_of(grid.columns.iter().find(of)?, regime))
}

fn cycles(cell: &Cell) -> Option<Interval> {
    finite(cell.overhead?.cycles).map(|cycles| cycles.interval())
}
