//! What a report shows of each quantity that a budget bounds: the evidence, or why there is none.

use std::collections::HashMap;

use super::bound::{Quantity, Unit};
use super::change::{self, NO_INTERVAL, check_finite, ns_per_cycle, value_range};
use super::evidence::Evidence;
use super::verdict::Outcome;
use crate::op::BodyKind;
use crate::regime::Regime;
use crate::report::Report;
use crate::report::schema::{Cell, Listing, ListingLine, WorkloadKernel, WorkloadResult};
use crate::report::subject;

/// Evidence, or an outcome without evidence and its reason.
pub(super) type EvidenceResult = Result<Evidence, (Outcome, String)>;

pub(super) fn inconclusive(reason: impl Into<String>) -> (Outcome, String) {
    (Outcome::Inconclusive, reason.into())
}

pub(super) fn skipped(reason: impl Into<String>) -> (Outcome, String) {
    (Outcome::Skipped, reason.into())
}

/// Machine code by op, mechanism and state.
pub(super) type Listings<'a> = HashMap<(&'a str, &'a str, Option<&'a str>), &'a Listing>;

pub(super) fn index_listings(report: &Report) -> Listings<'_> {
    let mechanisms = report.catalogue.mechanisms.iter();
    mechanisms
        .flat_map(|m| m.listings.iter().map(|l| ((l.op.as_str(), m.name.as_str(), l.state.as_deref()), l)))
        .collect()
}

/// Makes the evidence of a cell's overhead in a unit.
pub(super) fn overhead_evidence(cell: &Cell, unit: Unit, confidence: f64) -> EvidenceResult {
    let Some(overhead) = &cell.overhead else {
        return Err(inconclusive(format!(
            "not measured: {}",
            subject::plain(cell.absent.as_deref().unwrap_or_default())
        )));
    };
    let nothing = || inconclusive(format!("the report has no values to convert cycles to {}", unit.name()));
    // The report has the overhead in each unit; modes, layouts and noise are in cycles and are converted.
    let (interval, per_cycle) = match unit {
        Unit::Ns => (overhead.ns.measured().interval(confidence), ns_per_cycle(cell).ok_or_else(nothing)?),
        Unit::Percent => {
            let native = cell.native_cycles.filter(|native| *native > 0.0).ok_or_else(nothing)?;
            let interval = overhead.ratio.log_of_ratio().interval(confidence);
            (interval.map(|it| it.map(|log| log.exp_m1() * 100.0)), 100.0 / native)
        }
        _ => (overhead.cycles.measured().interval(confidence), 1.0),
    };
    let layouts: Vec<f64> = cell.layouts.iter().map(|layout| layout.cycles.estimate * per_cycle).collect();
    let evidence = Evidence {
        interval: interval.ok_or_else(|| inconclusive(NO_INTERVAL))?,
        modes: cell.modes.iter().map(|mode| mode.cycles * per_cycle).collect(),
        layout_range: value_range(&layouts),
        layouts,
        floor: cell.noise_cycles.unwrap_or(0.0) * per_cycle,
    };
    check_finite(evidence).map_err(inconclusive)
}

/// Makes the evidence of a workload's overhead in a unit.
pub(super) fn workload_evidence(
    workload: &WorkloadResult,
    kernel: &WorkloadKernel,
    unit: Unit,
    confidence: f64,
) -> EvidenceResult {
    let Some(percent) = kernel.overhead_percent else {
        return Err(inconclusive(format!(
            "not measured: {}",
            subject::plain(kernel.absent.as_deref().unwrap_or_default())
        )));
    };
    let per_percent = change::per_percent(workload, unit).map_err(inconclusive)?;
    let interval = percent.log_of_percent().interval(confidence).ok_or_else(|| inconclusive(NO_INTERVAL))?;
    let evidence = Evidence {
        interval: interval.map(|log| log.exp_m1() * 100.0 * per_percent),
        floor: workload.floor_percent * per_percent,
        ..Evidence::counted(0.0)
    };
    check_finite(evidence).map_err(inconclusive)
}

/// Returns the instructions of a cell above `inline`.
pub(super) fn extra_instructions(cell: &Cell) -> Result<f64, (Outcome, String)> {
    let reason = || cell.instructions_absent.as_deref().unwrap_or("the report has no instruction counts");
    cell.instructions.map(|counted| counted.extra).ok_or_else(|| inconclusive(subject::plain(reason())))
}

/// Returns a count of a cell's instruction mix.
pub(super) fn mix_count(cell: &Cell, quantity: Quantity) -> Result<f64, (Outcome, String)> {
    let reason = || match (&cell.instructions_absent, &cell.instructions) {
        (Some(reason), _) => reason.as_str(),
        (None, Some(_)) => {
            "the report has no instruction mix of this cell: an older version wrote it, or the passes of its loop \
             differ; measure again"
        }
        (None, None) => "the report has no instruction counts",
    };
    let counted = cell.mix.as_ref().and_then(|mix| quantity.count_in(mix));
    counted.ok_or_else(|| inconclusive(subject::plain(reason())))
}

/// Returns the instructions of a unit above those with `inline`, as a number or in percent.
pub(super) fn unit_instructions(
    workload: &WorkloadResult,
    kernel: &WorkloadKernel,
    unit: Unit,
) -> Result<f64, (Outcome, String)> {
    let reason = kernel.instructions_absent.as_deref().or(kernel.absent.as_deref());
    let absent =
        || inconclusive(subject::plain(reason.unwrap_or("the report has no instruction counts of this kernel")));
    let counted = kernel.instructions.ok_or_else(absent)?;
    match unit {
        Unit::Percent => Ok(counted.extra_percent),
        _ => workload.inline_instructions.map(|inline| counted.per_unit - inline).ok_or_else(absent),
    }
}

/// Returns the bytes that an op executes at its call site in throughput, including its share of the loop.
pub(super) fn site_bytes(cell: &Cell, listings: &Listings) -> Result<f64, (Outcome, String)> {
    if cell.regime != Regime::Throughput || cell.body != BodyKind::Native {
        return Err(skipped("reports show machine code of native bodies in throughput only"));
    }
    let listing = listings.get(&(cell.op.as_str(), cell.mechanism.as_str(), cell.state.as_deref()));
    let listing = listing.ok_or_else(|| skipped("the report shows no machine code of this op and mechanism"))?;
    let at_site = |line: &&ListingLine| line.place == "site";
    let bytes: usize = listing.lines.iter().filter(at_site).map(|line| line.bytes.len() / 2).sum();
    // If the sites of a pass differ, the listing has all of them.
    let ops = cell.instructions.map_or(1.0, |counted| (listing.lines.len() as f64 / counted.per_op).round().max(1.0));
    if ops.is_finite() { Ok(bytes as f64 / ops) } else { Err(inconclusive("no instructions were executed")) }
}
