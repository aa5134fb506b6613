//! Changes of cells and workloads from one report to another.

use super::bound::Unit;
use super::evidence::{Evidence, Widening};
use super::left_out;
use crate::report::schema::{Cell, Estimate, LayoutEstimate, WorkloadKernel, WorkloadResult};
use crate::stats::location::median;

/// Computes the change of a cell's overhead from `before` to `after`, in `unit`.
///
/// Each layout is compared with the same layout of the other report, so that effects of the code offset cancel. The
/// change is the median of the layouts' changes. Its interval is as wide as that of a typical layout: a worker measures
/// all layouts, so an error of a worker may affect all of them. The two runs are independent, so their half widths add
/// up in quadrature. The layout range is that of the changes.
///
/// # Errors
/// The reason why there is no change, such as a cell that was not measured.
pub fn compare_cells(after: &Cell, before: &Cell, unit: Unit, wider: &mut Widening) -> Result<Evidence, String> {
    let (Some(new), Some(old)) = (&after.overhead, &before.overhead) else {
        return Err(left_out::describe_unmeasured_cell([before, after]));
    };
    let factor = match unit {
        Unit::Ns => ns_per_cycle(after),
        Unit::Percent => before.native_cycles.map(|native| 100.0 / (native + old.cycles.estimate)),
        _ => Some(1.0),
    };
    let factor = factor.filter(|factor| factor.is_finite() && *factor > 0.0);
    let factor = factor.ok_or_else(|| format!("the report has no values to convert cycles to {}", unit.name()))?;
    let whole =
        |estimate: Estimate, cell: &Cell| LayoutEstimate { offset: 0, cycles: estimate, workers: count_workers(cell) };
    let at = |offset: u32| before.layouts.iter().find(|layout| layout.offset == offset);
    let mut pairs: Vec<(LayoutEstimate, LayoutEstimate)> =
        after.layouts.iter().filter_map(|layout| Some((*layout, *at(layout.offset)?))).collect();
    if pairs.is_empty() && !before.layouts.is_empty() && !after.layouts.is_empty() {
        // Effects of the code offset would be taken for a change.
        return Err("the reports have no code offset in common; measure both with the same --layouts".to_owned());
    }
    if pairs.is_empty() {
        pairs.push((whole(new.cycles, after), whole(old.cycles, before)));
    }
    let mut changes = Vec::with_capacity(pairs.len());
    for (new, old) in &pairs {
        let [new, old] = [new, old].map(|layout| wider.widen(layout.cycles, layout.workers));
        changes.push(subtract(new, old).ok_or(TOO_FEW_WORKERS)?);
    }
    let middle = |of: fn(&Estimate) -> f64| median(&changes.iter().map(of).collect::<Vec<_>>()).unwrap_or(f64::NAN);
    let (estimate, below, above) =
        (middle(|c| c.estimate), middle(|c| c.estimate - c.low), middle(|c| c.high - c.estimate));
    let layouts: Vec<f64> = changes.iter().map(|change| change.estimate * factor).collect();
    let interval = Estimate { estimate, low: estimate - below, high: estimate + above };
    check_finite(Evidence {
        interval: scale(interval, factor),
        modes: compare_modes(after, before).into_iter().map(|mode| mode * factor).collect(),
        layout_range: value_range(&layouts),
        layouts,
        floor: factor * after.floor_cycles.unwrap_or(0.0).max(before.floor_cycles.unwrap_or(0.0)),
    })
}

/// Computes the change of a workload's overhead on a kernel from `before` to `after`, in `unit`.
///
/// # Errors
/// The reason why there is no change, such as a workload that was not measured.
pub fn compare_kernels(
    [after, before]: [(&WorkloadResult, &WorkloadKernel); 2],
    unit: Unit,
    wider: &mut Widening,
) -> Result<Evidence, String> {
    let (Some(new), Some(old)) = (after.1.overhead_percent, before.1.overhead_percent) else {
        return Err(left_out::describe_unmeasured_kernel([before.1, after.1]));
    };
    // Overheads are ratios to `inline`; the logarithms of ratios scatter alike in both runs.
    let log = |percent: f64| (1.0 + percent / 100.0).ln();
    let logs = |Estimate { estimate, low, high }: Estimate| Estimate {
        estimate: log(estimate),
        low: log(low),
        high: log(high),
    };
    let [new, old] = [(logs(new), after.0), (logs(old), before.0)].map(|(log, of)| wider.widen(log, of.workers));
    let change = subtract(new, old).ok_or(TOO_FEW_WORKERS)?;
    if !(change.low.is_finite() && change.high.is_finite()) {
        return Err("an overhead of -100% or less is impossible".to_owned());
    }
    let per_percent = match unit {
        Unit::Ns => after.0.inline_ns.map(|ns| ns / 100.0),
        Unit::Cycles => after.0.inline_cycles.map(|cycles| cycles.estimate / 100.0),
        _ => Some(1.0),
    };
    let per_percent =
        per_percent.ok_or_else(|| format!("the report has no values to convert percent to {}", unit.name()))?;
    let percent = |log: f64| log.exp_m1() * 100.0 * per_percent;
    let floor = after.0.floor_percent.max(before.0.floor_percent) * per_percent;
    let Estimate { estimate, low, high } = change;
    let interval = Estimate { estimate: percent(estimate), low: percent(low), high: percent(high) };
    check_finite(Evidence { interval, floor, ..Evidence::counted(0.0) })
}

/// The reason why two estimates have no difference with an interval.
pub(super) const TOO_FEW_WORKERS: &str = "too few workers measured it for an interval";

/// Checks that all numbers of the evidence are finite: a report may have numbers so large that their changes overflow.
pub(super) fn check_finite(evidence: Evidence) -> Result<Evidence, String> {
    let Estimate { estimate, low, high } = evidence.interval;
    let numbers = [estimate, low, high, evidence.floor, evidence.layout_range];
    if numbers.iter().chain(&evidence.modes).chain(&evidence.layouts).all(|number| number.is_finite()) {
        return Ok(evidence);
    }
    Err("its numbers are too large to be compared".to_owned())
}

/// Returns the smallest number of workers over the layouts of a cell.
pub(super) fn count_workers(cell: &Cell) -> usize {
    cell.layouts.iter().map(|layout| layout.workers).min().unwrap_or(0)
}

/// Returns the nanoseconds per core cycle in the run of a cell.
pub(super) fn ns_per_cycle(cell: &Cell) -> Option<f64> {
    let overhead = cell.overhead.as_ref()?;
    // The end of the interval that is further from 0 has more significant digits.
    let [ns, cycles] = [overhead.ns, overhead.cycles].map(|e| if e.high.abs() > e.low.abs() { e.high } else { e.low });
    Some(ns / cycles).filter(|ratio| ratio.is_finite())
}

/// Multiplies an estimate and its interval by a factor.
pub(super) fn scale(Estimate { estimate, low, high }: Estimate, factor: f64) -> Estimate {
    Estimate { estimate: estimate * factor, low: low * factor, high: high * factor }
}

/// Returns the largest value minus the smallest one; 0 without values.
pub(super) fn value_range(values: &[f64]) -> f64 {
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    if values.is_empty() { 0.0 } else { most - least }
}

/// Subtracts two independent estimates; their half widths add up in quadrature.
pub fn subtract(new: Option<Estimate>, old: Option<Estimate>) -> Option<Estimate> {
    let (new, old) = (new?, old?);
    let estimate = new.estimate - old.estimate;
    let below = (new.estimate - new.low).hypot(old.high - old.estimate);
    let above = (new.high - new.estimate).hypot(old.estimate - old.low);
    Some(Estimate { estimate, low: estimate - below, high: estimate + above })
}

/// Lists the changes from every mode before to every mode after; empty if neither cell has modes.
fn compare_modes(after: &Cell, before: &Cell) -> Vec<f64> {
    if after.modes.is_empty() && before.modes.is_empty() {
        return Vec::new();
    }
    let of = |cell: &Cell| -> Vec<f64> {
        let own: Vec<f64> = cell.modes.iter().map(|mode| mode.cycles).collect();
        if own.is_empty() { cell.overhead.iter().map(|o| o.cycles.estimate).collect() } else { own }
    };
    let before = of(before);
    of(after).iter().flat_map(|new| before.iter().map(move |old| new - old)).collect()
}
