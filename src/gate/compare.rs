//! Two reports side by side: everything that both have, and what changed.

use serde::{Deserialize, Serialize};

use super::bound::Unit;
use super::change;
use super::evidence::{ERROR, Evidence, Wider};
use super::judge::Before;
use super::verdict::Outcome;
use crate::report::Report;
use crate::report::schema::Estimate;
use crate::report::subject::{self, kernels};

/// What became of a cell, or of a workload on a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Changed {
    /// Which.
    pub subject: String,
    /// In which unit the numbers are: cycles of cells, percent of workloads.
    pub unit: Unit,
    /// Overhead in the first report.
    pub before: f64,
    /// Overhead in the second.
    pub after: f64,
    /// The change, with an interval so wide that all changes hold together.
    pub change: Estimate,
    /// Nothing below it is a change.
    pub floor: f64,
    /// What it is: `fail` for a regression, `improved`, `inconclusive` for one that cannot be told, `pass` for none.
    pub outcome: Outcome,
    /// What keeps it from being told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// By how many executed instructions per op it changed; absent where they were not counted in both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<f64>,
}

/// What changed from one report to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Comparison {
    /// Chance alone makes any of the changes with this probability at most.
    pub error: f64,
    /// Whether machine or tool differ, and in what: then cycles say nothing, and instructions alone are compared.
    pub differences: Vec<String>,
    /// What both reports have.
    pub changed: Vec<Changed>,
    /// What only the first has.
    pub gone: Vec<String>,
    /// What only the second has.
    pub new: Vec<String>,
}

impl Comparison {
    /// How many came out like this.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.changed.iter().filter(|changed| changed.outcome == outcome).count()
    }

    /// Adds what workloads take with `inline`, which two runs can be compared in only where they were measured in turn.
    pub fn add_inline(&mut self, before: &Report, after: &Report) {
        let mut wider = Wider::new(after.run.plan.confidence, self.changed.len() + after.workloads.len());
        for workload in &after.workloads {
            let Some(earlier) = before.workloads.iter().find(|earlier| earlier.name == workload.name) else { continue };
            let (Some(a), Some(b)) = (earlier.inline_cycles, workload.inline_cycles) else { continue };
            let ends = [(b, workload.workers), (a, earlier.workers)].map(|(cycles, workers)| wider.of(cycles, workers));
            let Some(change) = change::difference(ends[0], ends[1]) else { continue };
            let floor = workload.floor_percent.max(earlier.floor_percent) / 100.0 * a.estimate;
            let evidence = Evidence { interval: change, floor, ..Evidence::counted(0.0) };
            let (outcome, reason) = outcome(&evidence);
            self.changed.push(Changed {
                subject: format!(
                    "{}/inline, cycles per {}",
                    subject::plain(&workload.name),
                    subject::plain(&workload.unit)
                ),
                unit: Unit::Cycles,
                before: a.estimate,
                after: b.estimate,
                change,
                floor,
                outcome,
                reason,
                instructions: None,
            });
        }
        self.sort();
    }

    fn sort(&mut self) {
        self.changed.sort_by(|a, b| a.outcome.cmp(&b.outcome).then(size(b).total_cmp(&size(a))));
    }

    /// Whether anything regressed.
    #[must_use]
    pub fn regressed(&self) -> bool {
        self.count(Outcome::Fail) > 0
    }
}

/// Compares two reports. With `differences` between their machines, only instruction counts are looked at.
#[must_use]
pub fn compare(before: &Report, after: &Report, differences: Vec<String>) -> Comparison {
    let judgements = after.cells.len() + kernels(after).count();
    let mut wider = Wider::new(after.run.plan.confidence, judgements.max(1));
    let (old, new) = (Before::of(before), Before::of(after));
    let mut comparison =
        Comparison { error: ERROR, differences, changed: Vec::new(), gone: Vec::new(), new: Vec::new() };
    let without_times = !comparison.differences.is_empty();
    for cell in &after.cells {
        let Some(earlier) = old.cell(cell) else {
            comparison.new.push(subject::of_cell(cell));
            continue;
        };
        let (Some(a), Some(b)) = (&earlier.overhead, &cell.overhead) else { continue };
        let instructions = cell.instructions.zip(earlier.instructions).map(|(new, old)| new.extra - old.extra);
        let Ok(evidence) = change::of_cell(cell, earlier, Unit::Cycles, &mut wider) else { continue };
        let counted = instructions.filter(|change| change.abs() > COUNTS_DIFFER);
        let (mut outcome, mut reason) = if without_times { (Outcome::Skipped, None) } else { outcome(&evidence) };
        if let Some(change) = counted {
            // Counts are exact: whatever the clock says, something changed.
            outcome = if change > 0.0 { Outcome::Fail } else { Outcome::Improved };
            reason = Some(format!("{change:+} instructions"));
        }
        comparison.changed.push(Changed {
            subject: subject::of_cell(cell),
            unit: Unit::Cycles,
            before: a.cycles.estimate,
            after: b.cycles.estimate,
            change: evidence.interval,
            floor: evidence.floor,
            outcome,
            reason,
            instructions,
        });
    }
    for (workload, kernel) in kernels(after) {
        let Some(earlier) = old.kernel(workload, kernel) else {
            comparison.new.push(subject::of_kernel(workload, kernel));
            continue;
        };
        let (Some(a), Some(b)) = (earlier.1.overhead_percent, kernel.overhead_percent) else { continue };
        let Ok(evidence) = change::of_kernel([(workload, kernel), earlier], Unit::Percent, &mut wider) else {
            continue;
        };
        let (outcome, reason) = if without_times { (Outcome::Skipped, None) } else { outcome(&evidence) };
        comparison.changed.push(Changed {
            subject: subject::of_kernel(workload, kernel),
            unit: Unit::Percent,
            before: a.estimate,
            after: b.estimate,
            change: evidence.interval,
            floor: evidence.floor,
            outcome,
            reason,
            instructions: None,
        });
    }
    comparison.gone.extend(before.cells.iter().filter(|cell| new.cell(cell).is_none()).map(subject::of_cell));
    let gone = kernels(before).filter(|(workload, kernel)| new.kernel(workload, kernel).is_none());
    comparison.gone.extend(gone.map(|(workload, kernel)| subject::of_kernel(workload, kernel)));
    comparison.sort();
    comparison
}

/// Counts are rounded to six digits in a report; less than this is no instruction.
const COUNTS_DIFFER: f64 = 0.01;

/// Without any bound but what is no difference: the floor.
fn outcome(evidence: &Evidence) -> (Outcome, Option<String>) {
    let Estimate { low, high, .. } = evidence.interval;
    if low <= 0.0 && high >= 0.0 {
        return (Outcome::Pass, None);
    }
    match evidence.against(0.0, true) {
        // All of it is below 0, and yet it does not stand clear.
        (Outcome::Pass, _) => {
            (Outcome::Inconclusive, Some("a change no greater than floor, modes or layout".to_owned()))
        }
        found => found,
    }
}

fn size(changed: &Changed) -> f64 {
    changed.change.estimate.abs()
}
