//! The answer of a run: what each way to a body costs over `inline`, the differences that people ask for, and what the
//! model kernel pays on its workloads. The terminal and the first screen of the page show it.

use super::Report;
use super::over_ops::OverOps;
use super::plots::grid::{Column, Grid};
use super::schema::{Cell, WorkloadKernel, WorkloadResult};
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
pub const WAYS: [Way; 6] = [TABLE, DIRECT, PATCHED, FLAG, RETPOLINE, DYN];

/// The differences that people ask for: name, minuend, and subtrahend. Without a subtrahend it is `inline`.
const DIFFERENCES: [(&str, Way, Option<Way>); 4] = [
    ("table - direct", TABLE, Some(DIRECT)),
    ("retpoline - table", RETPOLINE, Some(TABLE)),
    ("patched - inline", PATCHED, None),
    ("dyn - table", DYN, Some(TABLE)),
];

/// The answer of a report.
pub struct Answer<'a> {
    /// What the ways cost that were measured, in the order of [`WAYS`].
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
    /// The ends are the medians of the ends of the ops' intervals. The median over ops rises with each op, so it lies
    /// between them where the ops' own intervals hold. Such an interval is wider than necessary, never narrower.
    pub median: Interval,
    /// Lowest and highest estimate over the ops.
    pub range: [f64; 2],
    /// Number of ops.
    pub ops: usize,
    /// Whether the median differs from zero by more than the floor of the regime.
    pub is_resolved: bool,
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
    /// The answer of a report; `grid` is that of the report.
    #[must_use]
    pub fn of(report: &'a Report, grid: &Grid<'a>) -> Self {
        let ways = WAYS.into_iter().filter_map(|way| {
            let costs = by_regime(|regime| cost(report, grid, regime, way, None));
            let linux = has_linux_ops(report);
            let name = if way == TABLE && !linux { "the table" } else { way.name };
            (!costs.is_empty()).then_some(WayCost { way, name, costs })
        });
        let differences = DIFFERENCES.into_iter().filter_map(|(name, way, from)| {
            let costs = by_regime(|regime| cost(report, grid, regime, way, from));
            (!costs.is_empty()).then_some(Difference { name, costs })
        });
        let kernels = [TABLE, PATCHED].into_iter().filter_map(|way| {
            let of = |workload: &'a WorkloadResult| {
                let kernel = workload.kernels.iter().find(|kernel| is_of(kernel, way))?;
                Some((workload.name.as_str(), kernel.overhead_percent?.interval(), kernel.resolved))
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

/// The cost of a way above `inline`, or above another way over the ops that were measured with both.
fn cost(report: &Report, grid: &Grid, regime: Regime, way: Way, from: Option<Way>) -> Option<Cost> {
    let cells = OverOps::of(grid.cells_of(&find(grid, way)?, regime))?.cells;
    let subtrahend = match from {
        Some(from) => Some(OverOps::of(grid.cells_of(&find(grid, from)?, regime))?.cells),
        None => None,
    };
    let of = |cell: &&Cell| -> Option<Interval> {
        let it = cell.overhead?.cycles.interval();
        let Some(others) = &subtrahend else { return Some(it) };
        let other = others.iter().find(|other| other.op == cell.op)?.overhead?.cycles.interval();
        // The two cells share the inline reference, whose errors cancel: the sum of squares is an upper limit.
        let half_width = it.half_width().hypot(other.half_width());
        let estimate = it.estimate - other.estimate;
        Some(Interval { estimate, low: estimate - half_width, high: estimate + half_width })
    };
    let intervals: Vec<Interval> = cells.iter().filter_map(of).collect();
    let at = |share, end: fn(&Interval) -> f64| quantile(&intervals.iter().map(end).collect::<Vec<_>>(), share);
    let median =
        Interval { estimate: at(0.5, |it| it.estimate)?, low: at(0.5, |it| it.low)?, high: at(0.5, |it| it.high)? };
    let floor = report.floor_of(regime)?;
    Some(Cost {
        median,
        range: [at(0.0, |it| it.estimate)?, at(1.0, |it| it.estimate)?],
        ops: intervals.len(),
        is_resolved: median.is_above(floor) || median.is_below(-floor),
    })
}

/// The column of a way, if the report has it.
fn find<'a>(grid: &Grid<'a>, way: Way) -> Option<Column<'a>> {
    grid.columns.iter().find(|column| **column == way.column()).cloned()
}
