//! Verdicts of budgets on a report.

use std::collections::{BTreeMap, HashSet};

use super::bound::{Bound, Quantity};
use super::budget::{Budgets, Level, Rule};
use super::change;
use super::evidence::{self, ERROR, Evidence};
use super::index::ReportIndex;
use super::quantities::{
    EvidenceResult, Listings, extra_instructions, inconclusive, index_listings, mix_count, overhead_evidence,
    site_bytes, skipped, unit_instructions, workload_evidence,
};
use super::rules::{Decision, Decisions, Names, ResolvedRule, decide, resolve_leniently};
use super::verdict::{Judged, Outcome, RuleInfo, SCHEMA, Verdict};
use crate::report::Report;
use crate::report::schema::{Cell, WorkloadKernel, WorkloadResult};
use crate::report::subject;

/// The input of the gate.
pub struct GateInput<'a> {
    /// The budget file.
    pub budgets: &'a Budgets,
    /// Its rules, with names in place of globs.
    pub rules: &'a [ResolvedRule<'a>],
    /// The rules that decide each cell and kernel.
    pub decisions: &'a Decisions,
    /// The report to judge.
    pub report: &'a Report,
    /// The report that changes are measured against.
    pub baseline: Option<&'a Report>,
    /// Differences of machine and tool; see [`super::comparable`].
    pub differences: Vec<String>,
    /// Whether times are judged despite differences.
    pub across_machines: bool,
    /// Whether times of unoptimised code are judged.
    pub unoptimised: bool,
    /// Number of verdicts on times that hold together; see [`timed`].
    pub judgements: usize,
}

/// Exit codes of the gate.
const FINE: u8 = 0;
const EXCEEDED: u8 = 1;
const INCONCLUSIVE: u8 = 3;
const FAILED: u8 = 4;

/// Judges a report: each bound of each rule, for every cell and kernel that the rule decides. The worst verdict is
/// first.
#[must_use]
pub fn judge(input: &GateInput) -> Judged {
    let without_times = !input.differences.is_empty() && !input.across_machines;
    let unoptimised = |report: &Report| {
        let check = report.unoptimised().filter(|_| !input.unoptimised)?;
        Some(format!("{}; --unoptimised judges times of such code", subject::plain(&check.detail)))
    };
    let with = JudgeContext {
        unoptimised: unoptimised(input.report),
        unoptimised_baseline: input.baseline.and_then(unoptimised),
        confidence: evidence::confidence(input.judgements),
        without_times,
        listings: index_listings(input.report),
        before: input.baseline.map(ReportIndex::new),
    };
    let mut verdicts = Vec::new();
    for Decision { rule, of } in &input.decisions.cells {
        judge_cell(input.rules[*rule].rule, &input.report.cells[*of], &with, &mut verdicts);
    }
    for Decision { rule, of: (workload, kernel) } in &input.decisions.kernels {
        let workload = &input.report.workloads[*workload];
        judge_kernel(input.rules[*rule].rule, workload, &workload.kernels[*kernel], &with, &mut verdicts);
    }
    if let Some(baseline) = input.baseline {
        judge_baseline_only(input, baseline, without_times, &mut verdicts);
    }
    mark_rules_without_evidence(&mut verdicts);
    let mut judged = Judged {
        schema: SCHEMA.to_owned(),
        budget: input.budgets.path.display().to_string(),
        seed: Some(input.report.run.seed),
        started: Some(subject::plain(&input.report.run.started)),
        cpu_model: input.report.machine.cpu_model.as_deref().map(subject::plain),
        error: ERROR,
        confidence: with.confidence,
        differences: input.differences.clone(),
        faults: std::iter::once(("the report", input.report))
            .chain(input.baseline.map(|baseline| ("the baseline", baseline)))
            .flat_map(|(name, report)| list_faults(name, report))
            .collect(),
        counts: BTreeMap::new(),
        exit_code: FINE,
        verdicts,
    };
    settle(&mut judged, input.report.run.complete);
    judged
}

/// A document with verdicts on binaries alone.
#[must_use]
pub fn document_of_binaries(budgets: &Budgets, verdicts: Vec<Verdict>) -> Judged {
    let mut judged = Judged {
        schema: SCHEMA.to_owned(),
        budget: budgets.path.display().to_string(),
        seed: None,
        started: None,
        cpu_model: None,
        // Counts are certain.
        error: 0.0,
        confidence: 1.0,
        differences: Vec::new(),
        faults: Vec::new(),
        counts: BTreeMap::new(),
        exit_code: 0,
        verdicts,
    };
    settle(&mut judged, true);
    judged
}

/// Adds skipped verdicts of rules on changes for cells and kernels that only the baseline has.
fn judge_baseline_only(input: &GateInput, baseline: &Report, without_times: bool, verdicts: &mut Vec<Verdict>) {
    let rules = resolve_leniently(input.budgets, &Names::of(baseline));
    let decisions = decide(&rules, baseline);
    let here = ReportIndex::new(input.report);
    let mut skip = |rule: usize, subject: &str, of: &[(&str, Option<&str>)]| {
        let rule = rules[rule].rule;
        for bound in rule.bounds.iter().filter(|bound| bound.quantity.is_change()) {
            let reason = if without_times && bound.quantity.is_time() { OTHER_MACHINE } else { NO_LONGER };
            verdicts.push(make_verdict(rule, bound, subject.to_owned(), of, Err(skipped(reason))));
        }
    };
    for Decision { rule, of } in &decisions.cells {
        let cell = &baseline.cells[*of];
        if cell.overhead.is_some() && here.cell(cell).is_none() {
            skip(*rule, &subject::of_cell(cell), &cell_parts(cell));
        }
    }
    for Decision { rule, of: (workload, kernel) } in &decisions.kernels {
        let workload = &baseline.workloads[*workload];
        let kernel = &workload.kernels[*kernel];
        if kernel.overhead_percent.is_some() && here.kernel(workload, kernel).is_none() {
            skip(*rule, &subject::of_kernel(workload, kernel), &kernel_parts(workload, kernel));
        }
    }
}

/// Makes skipped verdicts inconclusive if all verdicts of their rule and quantity are skipped because the report shows
/// no machine code, or because report and baseline have nothing in common.
fn mark_rules_without_evidence(verdicts: &mut [Verdict]) {
    let of = |verdict: &Verdict| (verdict.rule.line, verdict.quantity);
    let judged: HashSet<_> = verdicts.iter().filter(|v| v.outcome != Outcome::Skipped).map(of).collect();
    let lacks_evidence = |verdict: &Verdict| {
        let reason = verdict.reason.as_deref();
        verdict.quantity == Quantity::SiteBytes
            || [NO_CELL, NO_KERNEL, NO_LONGER].iter().any(|missing| reason == Some(*missing))
    };
    for verdict in verdicts.iter_mut().filter(|verdict| lacks_evidence(verdict)) {
        if !judged.contains(&of(verdict)) {
            verdict.outcome = Outcome::Inconclusive;
        }
    }
}

/// Sorts and counts the verdicts, and sets the exit code.
pub fn settle(judged: &mut Judged, complete: bool) {
    // The worst is first; equal ones are in the order of the file and of the report.
    judged.verdicts.sort_by_key(|verdict| (verdict.outcome, verdict.rule.level == Level::Soft, verdict.rule.line));
    judged.counts = Outcome::ALL
        .iter()
        .map(|outcome| {
            (outcome.name().to_owned(), [Level::Hard, Level::Soft].map(|level| judged.count(level, *outcome)))
        })
        .collect();
    let hard = |outcome| judged.count(Level::Hard, outcome) > 0;
    let skipped = judged.verdicts.iter().all(|verdict| verdict.outcome == Outcome::Skipped);
    judged.exit_code = if !complete {
        FAILED
    } else if !judged.faults.is_empty() {
        INCONCLUSIVE
    } else if hard(Outcome::Fail) {
        EXCEEDED
    } else if hard(Outcome::Inconclusive) || skipped {
        INCONCLUSIVE
    } else {
        FINE
    };
}

/// Lists the faults of a whole report. `name` is the name of the report for the reader.
pub(super) fn list_faults(name: &str, report: &Report) -> Vec<String> {
    let mut faults = Vec::new();
    if !report.run.complete {
        faults.push(format!("{name} is incomplete: part of its plan was not measured"));
    }
    if let Some(failure) = report.failures.first() {
        let at = |group: &String| format!("at {}", subject::plain(group));
        let place = failure.comparison.as_ref().map_or("between comparisons".to_owned(), at);
        let (count, message) = (report.failures.len(), subject::plain(&failure.message));
        faults.push(format!("{count} failures in {name}, the first {place}: {message}"));
    }
    faults
}

/// Counts the verdicts on times; at least 1.
#[must_use]
pub fn timed(rules: &[ResolvedRule], decisions: &Decisions, with_baseline: bool) -> usize {
    let times = |rule: usize| {
        let bounds = rules[rule].rule.bounds.iter();
        bounds.filter(|b| b.quantity.is_time() && (!b.quantity.is_change() || with_baseline)).count()
    };
    let cells: usize = decisions.cells.iter().map(|decision| times(decision.rule)).sum();
    let kernels: usize = decisions.kernels.iter().map(|decision| times(decision.rule)).sum();
    (cells + kernels).max(1)
}

/// State that all verdicts of a report share.
struct JudgeContext<'a> {
    /// Confidence of a single interval.
    confidence: f64,
    without_times: bool,
    /// Why times of the report are not judged: its code is unoptimised.
    unoptimised: Option<String>,
    /// Why changes of times are not judged: the code of the baseline is unoptimised.
    unoptimised_baseline: Option<String>,
    listings: Listings<'a>,
    before: Option<ReportIndex<'a>>,
}

impl JudgeContext<'_> {
    /// Returns why a quantity is not judged, if it is not. Counts are exact in any build and always judged.
    fn refuse(&self, quantity: Quantity) -> Option<(Outcome, String)> {
        let of_baseline = self.unoptimised_baseline.as_ref().filter(|_| quantity.is_change());
        match self.unoptimised.as_ref().or(of_baseline) {
            _ if !quantity.is_time() => None,
            Some(reason) => Some(inconclusive(reason)),
            None => self.without_times.then(|| skipped(OTHER_MACHINE)),
        }
    }
}

const NO_BASELINE: &str = "a change needs a baseline; name one with --baseline";
const NO_CELL: &str = "the baseline lacks this cell";
const NO_KERNEL: &str = "the baseline lacks this workload on this kernel";
const NO_LONGER: &str = "the baseline has it, but the report does not";
const OTHER_MACHINE: &str = "times of another machine or tool are not judged";

/// Adds the verdicts of a rule on a cell.
fn judge_cell(rule: &Rule, cell: &Cell, with: &JudgeContext, verdicts: &mut Vec<Verdict>) {
    for bound in &rule.bounds {
        let found = match (with.refuse(bound.quantity), bound.quantity) {
            (Some(refusal), _) => Err(refusal),
            (None, Quantity::Overhead) => overhead_evidence(cell, bound.unit, with.confidence),
            (None, Quantity::ExtraInstructions) => extra_instructions(cell).map(Evidence::counted),
            (None, Quantity::SiteBytes) => site_bytes(cell, &with.listings).map(Evidence::counted),
            (None, counted) if counted.is_of_mix() => mix_count(cell, counted).map(Evidence::counted),
            (None, _) => match with.before.as_ref().map(|b| b.cell(cell)) {
                None => Err(skipped(NO_BASELINE)),
                Some(None) => Err(skipped(NO_CELL)),
                Some(Some(before)) if bound.quantity == Quantity::Change => {
                    change::compare_cells(cell, before, bound.unit, with.confidence).map_err(inconclusive)
                }
                Some(Some(before)) => extra_instructions(cell)
                    .and_then(|new| Ok(new - extra_instructions(before)?))
                    .map(Evidence::counted),
            },
        };
        verdicts.push(make_verdict(rule, bound, subject::of_cell(cell), &cell_parts(cell), found));
    }
}

fn cell_parts(cell: &Cell) -> [(&str, Option<&str>); 5] {
    [
        ("op", Some(cell.op.as_str())),
        ("body", Some(cell.body.name())),
        ("mechanism", Some(cell.mechanism.as_str())),
        ("state", cell.state.as_deref()),
        ("regime", Some(cell.regime.name())),
    ]
}

fn kernel_parts<'a>(workload: &'a WorkloadResult, kernel: &'a WorkloadKernel) -> [(&'a str, Option<&'a str>); 4] {
    [
        ("workload", Some(workload.name.as_str())),
        ("mechanism", kernel.mechanism.as_deref()),
        ("state", kernel.state.as_deref()),
        ("option", kernel.option.as_deref()),
    ]
}

/// Adds the verdicts of a rule on a workload with a kernel.
fn judge_kernel(
    rule: &Rule,
    workload: &WorkloadResult,
    kernel: &WorkloadKernel,
    with: &JudgeContext,
    verdicts: &mut Vec<Verdict>,
) {
    for bound in &rule.bounds {
        let found = if bound.quantity == Quantity::ExtraInstructions {
            unit_instructions(workload, kernel, bound.unit).map(Evidence::counted)
        } else if let Some(refusal) = with.refuse(bound.quantity) {
            Err(refusal)
        } else if bound.quantity.is_change() {
            match with.before.as_ref().map(|before| before.kernel(workload, kernel)) {
                None => Err(skipped(NO_BASELINE)),
                Some(None) => Err(skipped(NO_KERNEL)),
                Some(Some(before)) => {
                    change::compare_kernels([(workload, kernel), before], bound.unit, with.confidence)
                        .map_err(inconclusive)
                }
            }
        } else {
            workload_evidence(workload, kernel, bound.unit, with.confidence)
        };
        let of = kernel_parts(workload, kernel);
        verdicts.push(make_verdict(rule, bound, subject::of_kernel(workload, kernel), &of, found));
    }
}

/// Makes the verdict of a bound from its evidence.
fn make_verdict(
    rule: &Rule,
    bound: &Bound,
    subject: String,
    of: &[(&str, Option<&str>)],
    found: EvidenceResult,
) -> Verdict {
    let (evidence, (outcome, reason)) = match found {
        Ok(evidence) => {
            let outcome = evidence.against(bound.value, bound.quantity.is_change());
            (Some(evidence), outcome)
        }
        Err((outcome, reason)) => (None, (outcome, Some(reason))),
    };
    let is_time = bound.quantity.is_time();
    Verdict {
        subject,
        of: of.iter().filter_map(|(part, name)| Some(((*part).to_owned(), subject::plain((*name)?)))).collect(),
        rule: RuleInfo { line: rule.position.line, selects: rule.selects(), level: rule.level, why: rule.why.clone() },
        quantity: bound.quantity,
        unit: bound.unit,
        bound: bound.value,
        measured: evidence.as_ref().map(|evidence| evidence.interval),
        floor: evidence.as_ref().filter(|_| is_time).map(|evidence| evidence.floor),
        layout_range: evidence
            .as_ref()
            .filter(|e| is_time && e.layouts.len() > 1)
            .map(|evidence| evidence.layout_range),
        outcome,
        reason,
        before: Vec::new(),
    }
}
