//! Changes of cells and workloads from one report to another.

use super::bound::Unit;
use super::evidence::Evidence;
use super::left_out;
use crate::report::schema::{Cell, LayoutEstimate, WorkloadKernel, WorkloadResult};
use crate::stats::Interval;
use crate::stats::location::median;
use crate::stats::measured::Measured;

/// Computes the change of a cell's overhead from `before` to `after`, in `unit`.
///
/// The two runs are independent, so their standard errors add up in quadrature. Where they measured different code
/// offsets, only the common ones are compared. The layout range is that of the layouts' changes, so that effects of the
/// code offset cancel. The floor is the larger of that range and of the noise of both runs.
///
/// # Errors
/// The reason why there is no change, such as a cell that was not measured.
pub(crate) fn compare_cells(after: &Cell, before: &Cell, unit: Unit, confidence: f64) -> Result<Evidence, String> {
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
    let at = |offset: u32| before.layouts.iter().find(|layout| layout.offset == offset);
    let pairs: Vec<(&LayoutEstimate, &LayoutEstimate)> =
        after.layouts.iter().filter_map(|layout| Some((layout, at(layout.offset)?))).collect();
    if pairs.is_empty() && !before.layouts.is_empty() && !after.layouts.is_empty() {
        // Effects of the code offset would be taken for a change.
        return Err("the reports have no code offset in common; measure both with the same --layouts".to_owned());
    }
    let [new, old] = if pairs.len() == after.layouts.len() && pairs.len() == before.layouts.len() {
        [new.cycles.measured(), old.cycles.measured()]
    } else {
        let (new, old): (Vec<Measured>, Vec<Measured>) =
            pairs.iter().map(|(new, old)| (new.cycles.measured(), old.cycles.measured())).unzip();
        [&new[..], &old].map(median_of_common_layouts)
    };
    let layouts: Vec<f64> =
        pairs.iter().map(|(new, old)| (new.cycles.estimate - old.cycles.estimate) * factor).collect();
    let layout_range = value_range(&layouts);
    check_finite(Evidence {
        interval: new.minus(&old).scaled(factor).interval(confidence).ok_or(NO_INTERVAL)?,
        modes: compare_modes(after, before).into_iter().map(|mode| mode * factor).collect(),
        layouts,
        layout_range,
        floor: layout_range.max(factor * after.noise_cycles.unwrap_or(0.0).max(before.noise_cycles.unwrap_or(0.0))),
    })
}

/// The median over some layouts of a cell. The report does not say what its layouts have in common, so the standard
/// error is that of the least certain layout, as if they had all of it in common.
fn median_of_common_layouts(layouts: &[Measured]) -> Measured {
    let value = median(&layouts.iter().map(|layout| layout.value).collect::<Vec<_>>()).unwrap_or(f64::NAN);
    let by_error = |a: &&Measured, b: &&Measured| a.standard_error.total_cmp(&b.standard_error);
    let widest = layouts.iter().max_by(by_error).copied();
    let unknown = Measured { value, standard_error: f64::NAN, degrees_of_freedom: f64::NAN };
    Measured { value, ..widest.unwrap_or(unknown) }
}

/// Computes the change of a workload's overhead on a kernel from `before` to `after`, in `unit`.
///
/// # Errors
/// The reason why there is no change, such as a workload that was not measured.
pub(crate) fn compare_kernels(
    [after, before]: [(&WorkloadResult, &WorkloadKernel); 2],
    unit: Unit,
    confidence: f64,
) -> Result<Evidence, String> {
    let (Some(new), Some(old)) = (after.1.overhead_percent, before.1.overhead_percent) else {
        return Err(left_out::describe_unmeasured_kernel([before.1, after.1]));
    };
    if [new, old].iter().any(|percent| percent.estimate <= -100.0) {
        return Err("an overhead of -100% or less is impossible".to_owned());
    }
    // Overheads are ratios to `inline`; the logarithms of ratios scatter alike in both runs.
    let change = new.log_of_percent().minus(&old.log_of_percent()).interval(confidence).ok_or(NO_INTERVAL)?;
    let per_percent = per_percent(after.0, unit)?;
    check_finite(Evidence {
        interval: change.map(|log| log.exp_m1() * 100.0 * per_percent),
        floor: after.0.floor_percent.max(before.0.floor_percent) * per_percent,
        ..Evidence::counted(0.0)
    })
}

/// Returns the value of a percent of a workload's time with `inline`, in `unit`.
pub(super) fn per_percent(workload: &WorkloadResult, unit: Unit) -> Result<f64, String> {
    let per_percent = match unit {
        Unit::Ns => workload.inline_ns.map(|ns| ns / 100.0),
        Unit::Cycles => workload.inline_cycles.map(|cycles| cycles.estimate / 100.0),
        _ => Some(1.0),
    };
    per_percent.ok_or_else(|| format!("the report has no values to convert percent to {}", unit.name()))
}

/// The reason why an estimate has no interval.
pub(super) const NO_INTERVAL: &str = "its numbers are too large for an interval";

/// Checks that all numbers of the evidence are finite: a report may have numbers so large that their changes overflow.
pub(super) fn check_finite(evidence: Evidence) -> Result<Evidence, String> {
    let Interval { estimate, low, high } = evidence.interval;
    let numbers = [estimate, low, high, evidence.floor, evidence.layout_range];
    if numbers.iter().chain(&evidence.modes).chain(&evidence.layouts).all(|number| number.is_finite()) {
        return Ok(evidence);
    }
    Err("its numbers are too large to be compared".to_owned())
}

/// Returns the nanoseconds per core cycle in the run of a cell.
pub(super) fn ns_per_cycle(cell: &Cell) -> Option<f64> {
    let overhead = cell.overhead.as_ref()?;
    // The end of the interval that is further from 0 has more significant digits.
    let [ns, cycles] = [overhead.ns, overhead.cycles].map(|e| if e.high.abs() > e.low.abs() { e.high } else { e.low });
    Some(ns / cycles).filter(|ratio| ratio.is_finite())
}

/// Returns the largest value minus the smallest one; 0 without values.
pub(super) fn value_range(values: &[f64]) -> f64 {
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    if values.is_empty() { 0.0 } else { most - least }
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
