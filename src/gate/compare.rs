//! Comparison of two reports: the changes, and everything that was not compared, with the reason.

use serde::{Deserialize, Serialize};

use super::bound::Unit;
use super::change;
use super::evidence::{self, ERROR, Evidence};
use super::index::ReportIndex;
use super::judge::list_faults;
use super::left_out::{self, MeasuredIn, NotCompared};
use super::verdict::Outcome;
use crate::op::InstructionMix;
use crate::report::Report;
use crate::report::schema::{Cell, WorkloadResult};
use crate::report::subject::{self, kernels};
use crate::stats::Interval;

/// The change of a cell, or of a workload on a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Change {
    /// The cell or kernel.
    pub subject: String,
    /// The unit of all numbers here: cycles for cells, percent for workloads.
    pub unit: Unit,
    /// The overhead in the first report.
    pub before: f64,
    /// The overhead in the second report.
    pub after: f64,
    /// The change; its interval is so wide that all changes hold together.
    pub change: Interval,
    /// The floor: nothing below it is a change.
    pub floor: f64,
    /// The outcome: `fail` for a regression, `improved`, `inconclusive`, or `pass` if nothing changed.
    pub outcome: Outcome,
    /// The reason for the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The change in executed instructions per op; absent unless both reports counted them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<f64>,
}

/// The comparison of two reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReportComparison {
    /// Largest probability that any of the changes is due to chance.
    pub error: f64,
    /// Differences of machine and tool. If there are any, only instructions are compared.
    pub differences: Vec<String>,
    /// Faults of a whole report: it is incomplete, or has failures.
    #[serde(default)]
    pub faults: Vec<String>,
    /// Everything that both reports measured.
    pub changed: Vec<Change>,
    /// Everything of either report that is not in `changed`, with the reason.
    #[serde(default)]
    pub not_compared: Vec<NotCompared>,
}

/// The conclusion of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conclusion {
    /// Something regressed.
    Regressed,
    /// Whether anything regressed is unknown.
    Inconclusive,
    /// Nothing that was compared regressed.
    Fine,
}

impl ReportComparison {
    /// Returns the conclusion. It is inconclusive if nothing was compared, if a report is incomplete or has failures,
    /// or if the second report lists something without a value that the first one measured.
    #[must_use]
    pub(crate) fn conclusion(&self) -> Conclusion {
        if self.regressed() {
            Conclusion::Regressed
        } else if self.compared() == 0 || !self.faults.is_empty() || self.not_compared.iter().any(NotCompared::is_lost)
        {
            Conclusion::Inconclusive
        } else {
            Conclusion::Fine
        }
    }

    /// Counts the cells and kernels that were compared, in time or in instructions.
    #[must_use]
    pub fn compared(&self) -> usize {
        self.changed.len() - self.count(Outcome::Skipped)
    }

    /// Counts the cells and kernels that at least one report measured but that were not compared.
    #[must_use]
    pub fn left_out(&self) -> usize {
        let measured = |left: &&NotCompared| left.measured_in != MeasuredIn::Neither;
        self.count(Outcome::Skipped) + self.not_compared.iter().filter(measured).count()
    }

    /// Counts the changes with an outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.changed.iter().filter(|changed| changed.outcome == outcome).count()
    }

    /// Names the two reports in the texts about their faults.
    pub(crate) fn name_reports(&mut self, reports: [(&str, &Report); 2]) {
        self.faults = reports.into_iter().flat_map(|(name, report)| list_faults(name, report)).collect();
    }

    /// Adds the changes of workloads with `inline`. They are comparable only if the two runs were measured in turn.
    pub(crate) fn add_inline(&mut self, before: &Report, after: &Report) {
        let confidence = evidence::confidence(self.changed.len() + after.workloads.len());
        let only_before = before.workloads.iter().filter(|workload| find_workload(after, &workload.name).is_none());
        for workload in after.workloads.iter().chain(only_before) {
            let ends = [find_workload(before, &workload.name), find_workload(after, &workload.name)];
            match compare_inline(ends, confidence) {
                Ok(changed) => self.changed.push(changed),
                Err(reason) => {
                    let measured = ends.map(|end| end.is_some_and(|end| end.inline_cycles.is_some()));
                    self.not_compared.push(NotCompared {
                        subject: name_inline(workload),
                        measured_in: MeasuredIn::of(measured),
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

/// Compares the time of a workload with `inline` before and after.
fn compare_inline(ends: [Option<&WorkloadResult>; 2], confidence: f64) -> Result<Change, String> {
    let [Some(earlier), Some(workload)] = ends else {
        return Err(left_out::describe_missing(ends[0].is_none(), "workload"));
    };
    let (Some(a), Some(b)) = (earlier.inline_cycles, workload.inline_cycles) else {
        return Err(left_out::describe_unmeasured_inline([earlier, workload]));
    };
    let change = b.measured().minus(&a.measured()).interval(confidence).ok_or(change::NO_INTERVAL)?;
    let floor = workload.floor_percent.max(earlier.floor_percent) / 100.0 * a.estimate;
    let evidence = change::check_finite(Evidence { interval: change, floor, ..Evidence::counted(0.0) })?;
    let (outcome, reason) = decide(&evidence);
    Ok(Change {
        subject: name_inline(workload),
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

fn find_workload<'a>(report: &'a Report, name: &str) -> Option<&'a WorkloadResult> {
    report.workloads.iter().find(|workload| workload.name == name)
}

/// Names the subject of a change of `inline` itself.
fn name_inline(workload: &WorkloadResult) -> String {
    format!("{}/inline, cycles per {}", subject::plain(&workload.name), subject::plain(&workload.unit))
}

/// Compares two reports. With `differences` between their machines, only instruction counts are compared.
#[must_use]
pub fn compare(before: &Report, after: &Report, differences: Vec<String>) -> ReportComparison {
    let judgements = after.cells.len() + kernels(after).count();
    let confidence = evidence::confidence(judgements);
    let (old, new) = (ReportIndex::new(before), ReportIndex::new(after));
    let mut comparison = ReportComparison {
        error: ERROR,
        differences,
        faults: Vec::new(),
        changed: Vec::new(),
        not_compared: Vec::new(),
    };
    comparison.name_reports([("the first report", before), ("the second report", after)]);
    let without_times = !comparison.differences.is_empty();
    for cell in &after.cells {
        let earlier = old.cell(cell);
        let (Some(earlier), Some(a), Some(b)) = (earlier, earlier.and_then(|earlier| earlier.overhead), cell.overhead)
        else {
            comparison.not_compared.push(left_out::cell([earlier, Some(cell)], [before, after]));
            continue;
        };
        let evidence = match change::compare_cells(cell, earlier, Unit::Cycles, confidence) {
            Ok(evidence) => evidence,
            Err(reason) => {
                comparison.not_compared.push(NotCompared::in_both(subject::of_cell(cell), reason));
                continue;
            }
        };
        let instructions = cell.instructions.zip(earlier.instructions).map(|(new, old)| new.extra - old.extra);
        let (mut outcome, mut reason) = match (without_times, instructions) {
            (false, _) => decide(&evidence),
            // The instructions are equal, unless the check below finds otherwise.
            (true, Some(_)) => (Outcome::Pass, None),
            (true, None) => (Outcome::Skipped, None),
        };
        if let Some(change) = instructions.filter(|change| change.abs() > MIN_COUNT_DIFFERENCE) {
            // Counts are exact, so a difference is a change whatever the times are.
            outcome = if change > 0.0 { Outcome::Fail } else { Outcome::Improved };
            reason = Some(format!("{change:+} instructions"));
        }
        if let Some((direction, transfers)) = compare_transfers(earlier, cell) {
            outcome = if outcome == Outcome::Fail { outcome } else { direction };
            reason = Some(reason.map_or(transfers.clone(), |instructions| format!("{instructions}; {transfers}")));
        }
        comparison.changed.push(Change {
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
        let evidence = match change::compare_kernels([(workload, kernel), earlier], Unit::Percent, confidence) {
            Ok(evidence) => evidence,
            Err(reason) => {
                comparison.not_compared.push(NotCompared::in_both(subject::of_kernel(workload, kernel), reason));
                continue;
            }
        };
        let (outcome, reason) = if without_times { (Outcome::Skipped, None) } else { decide(&evidence) };
        comparison.changed.push(Change {
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

/// Compares calls and indirect branches, which are exact: the outcome, and the change of each class. `None` if they are
/// the same, or not counted in both.
fn compare_transfers(before: &Cell, after: &Cell) -> Option<(Outcome, String)> {
    let (old, new) = before.mix.zip(after.mix)?;
    let more = |of: fn(&InstructionMix) -> f64| of(&new) - of(&old);
    // A call that becomes indirect is no call more; a call that goes away counts where no branch became indirect.
    let changes = [more(InstructionMix::indirect_branches), more(InstructionMix::calls)];
    let change = changes.into_iter().find(|change| change.abs() > MIN_COUNT_DIFFERENCE)?;
    let classes = InstructionMix::NAMES.iter().zip(old.values()).zip(new.values());
    let changed: Vec<String> = classes
        .filter(|((name, old), new)| {
            (name.ends_with("calls") || name.ends_with("jumps")) && (new - old).abs() > MIN_COUNT_DIFFERENCE
        })
        .map(|((name, old), new)| format!("{:+} {name}", new - old))
        .collect();
    Some((if change > 0.0 { Outcome::Fail } else { Outcome::Improved }, changed.join(", ")))
}

/// Smallest difference of instruction counts that is a change. A report rounds counts to six digits.
const MIN_COUNT_DIFFERENCE: f64 = 0.01;

/// Decides the outcome of a change without a bound: only floor, modes and layouts limit it.
fn decide(evidence: &Evidence) -> (Outcome, Option<String>) {
    let Interval { low, high, .. } = evidence.interval;
    if low <= 0.0 && high >= 0.0 {
        return (Outcome::Pass, None);
    }
    match evidence.against(0.0, true) {
        // The interval is below 0, but the change does not exceed floor, modes and layout range.
        (Outcome::Pass, _) => {
            (Outcome::Inconclusive, Some("the change does not exceed floor, modes and layout range".to_owned()))
        }
        found => found,
    }
}

fn size(changed: &Change) -> f64 {
    changed.change.estimate.abs()
}
