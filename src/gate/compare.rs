//! Two reports side by side: everything that both have, what changed, and what could not be compared, with the reason.

use serde::{Deserialize, Serialize};

use super::bound::Unit;
use super::change;
use super::evidence::{ERROR, Evidence, Wider};
use super::judge::{Before, trouble};
use super::left_out::{self, Measured, NotCompared};
use super::verdict::Outcome;
use crate::report::Report;
use crate::report::schema::{Estimate, Workload};
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
    /// What is wrong with one of the reports as a whole: it is incomplete, or something failed while it was measured.
    #[serde(default)]
    pub trouble: Vec<String>,
    /// What both reports measured.
    pub changed: Vec<Changed>,
    /// What was not compared, and why: everything of either report that is not in `changed`.
    #[serde(default)]
    pub not_compared: Vec<NotCompared>,
}

/// What a comparison comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// Something regressed.
    Regressed,
    /// It cannot be told whether anything did.
    Inconclusive,
    /// Nothing that was compared regressed.
    Fine,
}

impl Comparison {
    /// What it comes to. It is inconclusive where nothing was compared, where a report is incomplete or has failures,
    /// and where the second report names a reason why it lacks what the first one measured.
    #[must_use]
    pub fn conclusion(&self) -> Conclusion {
        if self.regressed() {
            Conclusion::Regressed
        } else if self.compared() == 0 || !self.trouble.is_empty() || self.not_compared.iter().any(NotCompared::is_lost)
        {
            Conclusion::Inconclusive
        } else {
            Conclusion::Fine
        }
    }

    /// How many cells and kernels were compared, in time or in instructions.
    #[must_use]
    pub fn compared(&self) -> usize {
        self.changed.len() - self.count(Outcome::Skipped)
    }

    /// How many of those that at least one of the reports measured were not compared.
    #[must_use]
    pub fn left_out(&self) -> usize {
        let measured = |left: &&NotCompared| left.measured_in != Measured::Neither;
        self.count(Outcome::Skipped) + self.not_compared.iter().filter(measured).count()
    }

    /// How many came out like this.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.changed.iter().filter(|changed| changed.outcome == outcome).count()
    }

    /// Names the reports, for a reader who knows them by other names than the first and the second.
    pub fn name_reports(&mut self, reports: [(&str, &Report); 2]) {
        self.trouble = reports.into_iter().flat_map(|(name, report)| trouble(name, report)).collect();
    }

    /// Adds what workloads take with `inline`, which two runs can be compared in only where they were measured in turn.
    pub fn add_inline(&mut self, before: &Report, after: &Report) {
        let mut wider = Wider::new(after.run.plan.confidence, self.changed.len() + after.workloads.len());
        let only_before = before.workloads.iter().filter(|workload| named(after, &workload.name).is_none());
        for workload in after.workloads.iter().chain(only_before) {
            let ends = [named(before, &workload.name), named(after, &workload.name)];
            match inline(ends, &mut wider) {
                Ok(changed) => self.changed.push(changed),
                Err(reason) => {
                    let measured = ends.map(|end| end.is_some_and(|end| end.inline_cycles.is_some()));
                    self.not_compared.push(NotCompared {
                        subject: of_inline(workload),
                        measured_in: Measured::of(measured),
                        is_listed_in_both: ends.iter().all(Option::is_some),
                        reason,
                    });
                }
            }
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

/// What a workload took with `inline` before and after.
fn inline(ends: [Option<&Workload>; 2], wider: &mut Wider) -> Result<Changed, String> {
    let [Some(earlier), Some(workload)] = ends else {
        return Err(left_out::no_such(ends[0].is_none(), "workload"));
    };
    let (Some(a), Some(b)) = (earlier.inline_cycles, workload.inline_cycles) else {
        return Err(left_out::no_inline([earlier, workload]));
    };
    let [new, old] = [(b, workload.workers), (a, earlier.workers)].map(|(cycles, workers)| wider.of(cycles, workers));
    let change = change::difference(new, old).ok_or(change::TOO_FEW_WORKERS)?;
    let floor = workload.floor_percent.max(earlier.floor_percent) / 100.0 * a.estimate;
    let evidence = change::finite(Evidence { interval: change, floor, ..Evidence::counted(0.0) })?;
    let (outcome, reason) = outcome(&evidence);
    Ok(Changed {
        subject: of_inline(workload),
        unit: Unit::Cycles,
        before: a.estimate,
        after: b.estimate,
        change,
        floor,
        outcome,
        reason,
        instructions: None,
    })
}

fn named<'a>(report: &'a Report, name: &str) -> Option<&'a Workload> {
    report.workloads.iter().find(|workload| workload.name == name)
}

fn of_inline(workload: &Workload) -> String {
    format!("{}/inline, cycles per {}", subject::plain(&workload.name), subject::plain(&workload.unit))
}

/// Compares two reports. With `differences` between their machines, only instruction counts are looked at.
#[must_use]
pub fn compare(before: &Report, after: &Report, differences: Vec<String>) -> Comparison {
    let judgements = after.cells.len() + kernels(after).count();
    let mut wider = Wider::new(after.run.plan.confidence, judgements.max(1));
    let (old, new) = (Before::of(before), Before::of(after));
    let mut comparison =
        Comparison { error: ERROR, differences, trouble: Vec::new(), changed: Vec::new(), not_compared: Vec::new() };
    comparison.name_reports([("the first report", before), ("the second report", after)]);
    let without_times = !comparison.differences.is_empty();
    for cell in &after.cells {
        let earlier = old.cell(cell);
        let (Some(earlier), Some(a), Some(b)) = (earlier, earlier.and_then(|earlier| earlier.overhead), cell.overhead)
        else {
            comparison.not_compared.push(left_out::cell([earlier, Some(cell)], [before, after]));
            continue;
        };
        let evidence = match change::of_cell(cell, earlier, Unit::Cycles, &mut wider) {
            Ok(evidence) => evidence,
            Err(reason) => {
                comparison.not_compared.push(NotCompared::in_both(subject::of_cell(cell), reason));
                continue;
            }
        };
        let instructions = cell.instructions.zip(earlier.instructions).map(|(new, old)| new.extra - old.extra);
        let (mut outcome, mut reason) = match (without_times, instructions) {
            (false, _) => outcome(&evidence),
            // By what was counted, it is the same.
            (true, Some(_)) => (Outcome::Pass, None),
            (true, None) => (Outcome::Skipped, None),
        };
        if let Some(change) = instructions.filter(|change| change.abs() > COUNTS_DIFFER) {
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
        let earlier = old.kernel(workload, kernel);
        let (Some(earlier), Some(a), Some(b)) =
            (earlier, earlier.and_then(|(_, kernel)| kernel.overhead_percent), kernel.overhead_percent)
        else {
            comparison.not_compared.push(left_out::kernel([earlier, Some((workload, kernel))], [before, after]));
            continue;
        };
        let evidence = match change::of_kernel([(workload, kernel), earlier], Unit::Percent, &mut wider) {
            Ok(evidence) => evidence,
            Err(reason) => {
                comparison.not_compared.push(NotCompared::in_both(subject::of_kernel(workload, kernel), reason));
                continue;
            }
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
    let gone = before.cells.iter().filter(|cell| new.cell(cell).is_none());
    comparison.not_compared.extend(gone.map(|cell| left_out::cell([Some(cell), None], [before, after])));
    let gone = kernels(before).filter(|(workload, kernel)| new.kernel(workload, kernel).is_none());
    comparison.not_compared.extend(gone.map(|of| left_out::kernel([Some(of), None], [before, after])));
    comparison.not_compared.extend(left_out::workloads([before, after]));
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
