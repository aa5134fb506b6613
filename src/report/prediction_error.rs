//! How wrong the predictions of workloads are, by the measured overheads of the same report.

use super::Report;
use super::plots::number::{clipped, fixed, plural};
use super::schema::{WorkloadKernel, WorkloadResult};
use super::subject::{kernels, mechanism};
use crate::stats::location::median;

/// The error of the predictions of a report.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PredictionError {
    /// Number of predictions whose overhead is measured and resolved.
    checked: usize,
    /// Median of the factors between prediction and measurement, at least 1.
    median: f64,
    /// The largest factor, with its workload and kernel: `null_syscall with direct`.
    worst: (f64, String),
    /// Number of predictions of no cost where a cost was measured.
    missed: usize,
    /// The largest of these costs in percent, with its workload and kernel.
    largest_missed: Option<(f64, String)>,
}

/// The measured overhead of a kernel in percent, if it is resolved and a cost.
fn measured_cost(kernel: &WorkloadKernel) -> Option<f64> {
    kernel.overhead_percent.filter(|_| kernel.resolved).map(|it| it.estimate).filter(|it| *it > 0.0 && it.is_finite())
}

/// The predicted overhead in percent, and whether it is a cost: larger than what the workload can resolve.
fn predicted_cost(kernel: &WorkloadKernel) -> Option<(f64, bool)> {
    let predicted = kernel.predicted_percent.filter(|it| it.is_finite())?;
    Some((predicted, predicted > kernel.floor_percent.unwrap_or(0.0).max(0.0)))
}

/// The factor between a prediction and the measured overhead, at least 1. `None` if one of them is no cost.
pub(crate) fn factor(kernel: &WorkloadKernel) -> Option<f64> {
    let (predicted, _) = predicted_cost(kernel).filter(|it| it.1)?;
    let ratio = predicted / measured_cost(kernel)?;
    (ratio.is_finite() && ratio > 0.0).then(|| ratio.max(1.0 / ratio))
}

/// Whether the measured interval of a kernel meets the bounds of its prediction. `None` without both.
pub(crate) fn is_within_bounds(kernel: &WorkloadKernel) -> Option<bool> {
    let (range, measured) = (kernel.predicted_range_percent?, kernel.overhead_percent?);
    Some(measured.high >= range.low && measured.low <= range.high)
}

/// How many predictions of a report hold the measured overhead within their bounds; empty without bounds.
#[must_use]
pub(crate) fn state_coverage(report: &Report) -> String {
    let within: Vec<bool> = kernels(report).filter_map(|(_, kernel)| is_within_bounds(kernel)).collect();
    match within.len() {
        0 => String::new(),
        all => format!(
            "In this report, the measured overhead lies within the bounds of {} of {all} predictions.",
            within.iter().filter(|it| **it).count()
        ),
    }
}

/// How far the likely value of a workload is from its measured overhead, as a factor, if its share of the range comes
/// from the other workloads with the same mechanism: the median; empty without three workloads.
#[must_use]
pub(crate) fn state_likely_error(report: &Report) -> String {
    let share = |kernel: &WorkloadKernel| {
        let (range, measured) = (kernel.predicted_range_percent?, kernel.overhead_percent?);
        let share = (measured.estimate - range.low) / (range.high - range.low);
        share.is_finite().then(|| (range, measured.estimate, share.clamp(0.0, 1.0)))
    };
    let mut factors = Vec::new();
    for (workload, kernel) in kernels(report) {
        let is_same = |other: &WorkloadKernel| (&other.mechanism, &other.state) == (&kernel.mechanism, &kernel.state);
        let others = kernels(report).filter(|(other, it)| other.name != workload.name && is_same(it));
        let shares: Vec<f64> = others.filter_map(|(_, it)| Some(share(it)?.2)).collect();
        let (Some((range, measured, _)), Some(usual)) = (share(kernel), median(&shares)) else { continue };
        let ratio = range.at(usual) / measured;
        if shares.len() > 1 && ratio.is_finite() && ratio > 0.0 {
            factors.push(ratio.max(1.0 / ratio));
        }
    }
    median(&factors).map_or_else(String::new, |factor| {
        format!(
            "If each workload is left out in turn, its likely value is off by a factor of {} in the median.",
            fixed(factor, 2)
        )
    })
}

impl PredictionError {
    /// The error of a report's predictions; `None` if no prediction can be checked.
    #[must_use]
    pub(crate) fn of(report: &Report) -> Option<Self> {
        let named = |workload: &WorkloadResult, kernel: &WorkloadKernel| {
            let name = mechanism(kernel.mechanism.as_deref().unwrap_or_default(), kernel.state.as_deref());
            format!("{} with {name}", clipped(&workload.name, 40))
        };
        let largest = |all: &[(f64, String)]| all.iter().max_by(|a, b| a.0.total_cmp(&b.0)).cloned();
        let by_factor =
            kernels(report).filter_map(|(workload, kernel)| Some((factor(kernel)?, named(workload, kernel))));
        let by_factor: Vec<(f64, String)> = by_factor.collect();
        let missed = kernels(report).filter_map(|(workload, kernel)| {
            predicted_cost(kernel).filter(|it| !it.1)?;
            Some((measured_cost(kernel)?, named(workload, kernel)))
        });
        let missed: Vec<(f64, String)> = missed.collect();
        let factors: Vec<f64> = by_factor.iter().map(|it| it.0).collect();
        Some(PredictionError {
            checked: factors.len(),
            median: median(&factors)?,
            worst: largest(&by_factor)?,
            missed: missed.len(),
            largest_missed: largest(&missed),
        })
    }

    /// The error in a sentence.
    #[must_use]
    pub(crate) fn sentence(&self) -> String {
        let missed = self.largest_missed.as_ref().map_or_else(String::new, |(percent, name)| {
            format!(
                "; {} more {} no cost where one was measured, the largest {}% ({name})",
                self.missed,
                plural(self.missed, "predicts", "predict"),
                fixed(*percent, 1)
            )
        });
        format!(
            "In this report, simple products miss {} measured {} by a factor of {} in the median and of {} at worst \
             ({}){missed}.",
            self.checked,
            plural(self.checked, "overhead", "overheads"),
            factor_text(self.median),
            factor_text(self.worst.0),
            self.worst.1
        )
    }
}

/// `1.9`, `30`
pub(crate) fn factor_text(factor: f64) -> String {
    fixed(factor, usize::from(factor < 9.95))
}
