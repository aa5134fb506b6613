//! Verdicts on a report.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::bound::{Bound, Quantity, Unit};
use super::budget::{Budgets, Level, Rule};
use super::change::{self, ns_per_cycle, range, scaled, workers};
use super::evidence::{ERROR, Evidence, Wider};
use super::rules::{Decision, Decisions, Names, Resolved, decide, resolve_what_is_there};
use super::verdict::{Judged, Outcome, RuleInfo, SCHEMA, Verdict};
use crate::op::Platform;
use crate::regime::Regime;
use crate::report::Report;
use crate::report::schema::{Cell, Estimate, Listing, Workload, WorkloadKernel};
use crate::report::subject;

/// What is judged, and how.
pub struct Case<'a> {
    /// The rules.
    pub budgets: &'a Budgets,
    /// The same with names for globs.
    pub rules: &'a [Resolved<'a>],
    /// Which of them decides what.
    pub decisions: &'a Decisions,
    /// The report.
    pub report: &'a Report,
    /// What changes are held against.
    pub baseline: Option<&'a Report>,
    /// Whether another machine or tool was involved, and in what it differs.
    pub differences: Vec<String>,
    /// Whether times are judged all the same.
    pub across_machines: bool,
    /// Whether times of code that is not optimised are judged all the same.
    pub unoptimised: bool,
    /// How many verdicts on times are to hold together: see [`timed`].
    pub judgements: usize,
}

/// How the process is to end that judged a report.
const FINE: u8 = 0;
const EXCEEDED: u8 = 1;
const INCONCLUSIVE: u8 = 3;
const FAILED: u8 = 4;

/// Judges a report: every bound of every rule on all that it decides, the worst first.
#[must_use]
pub fn judge(case: &Case) -> Judged {
    let without_times = !case.differences.is_empty() && !case.across_machines;
    let unoptimised = |report: &Report| {
        let check = report.unoptimised().filter(|_| !case.unoptimised)?;
        Some(format!("{}; --unoptimised judges times all the same", subject::plain(&check.detail)))
    };
    let mut with = Means {
        unoptimised: unoptimised(case.report),
        unoptimised_baseline: case.baseline.and_then(unoptimised),
        wider: Wider::new(case.report.run.plan.confidence, case.judgements),
        without_times,
        listings: listings(case.report),
        before: case.baseline.map(Before::of),
    };
    let mut verdicts = Vec::new();
    for Decision { rule, of } in &case.decisions.cells {
        of_cell(case.rules[*rule].rule, &case.report.cells[*of], &mut with, &mut verdicts);
    }
    for Decision { rule, of: (workload, kernel) } in &case.decisions.kernels {
        let workload = &case.report.workloads[*workload];
        of_kernel(case.rules[*rule].rule, workload, &workload.kernels[*kernel], &mut with, &mut verdicts);
    }
    if let Some(baseline) = case.baseline {
        of_baseline_alone(case, baseline, without_times, &mut verdicts);
    }
    never_judged(&mut verdicts);
    let mut judged = Judged {
        schema: SCHEMA.to_owned(),
        budget: case.budgets.path.display().to_string(),
        seed: case.report.run.seed,
        started: subject::plain(&case.report.run.started),
        cpu_model: case.report.machine.cpu_model.as_deref().map(subject::plain),
        error: ERROR,
        confidence: with.wider.confidence(),
        differences: case.differences.clone(),
        trouble: std::iter::once(("the report", case.report))
            .chain(case.baseline.map(|baseline| ("the baseline", baseline)))
            .flat_map(|(name, report)| trouble(name, report))
            .collect(),
        counts: BTreeMap::new(),
        exit_code: FINE,
        verdicts,
    };
    settle(&mut judged, case.report.run.complete);
    judged
}

/// What rules on changes select in the baseline and the report does not have: it is told, and not left out.
fn of_baseline_alone(case: &Case, baseline: &Report, without_times: bool, verdicts: &mut Vec<Verdict>) {
    let rules = resolve_what_is_there(case.budgets, &Names::of(baseline));
    let decisions = decide(&rules, baseline);
    let here = Before::of(case.report);
    let mut told = |rule: usize, subject: &str, of: &[(&str, Option<&str>)]| {
        let rule = rules[rule].rule;
        for bound in rule.bounds.iter().filter(|bound| bound.quantity.is_change()) {
            let reason = if without_times && bound.quantity.is_time() { OTHER_MACHINE } else { NO_LONGER };
            verdicts.push(verdict(rule, bound, subject.to_owned(), of, Err(skipped(reason))));
        }
    };
    for Decision { rule, of } in &decisions.cells {
        let cell = &baseline.cells[*of];
        if cell.overhead.is_some() && here.cell(cell).is_none() {
            told(*rule, &subject::of_cell(cell), &parts_of_cell(cell));
        }
    }
    for Decision { rule, of: (workload, kernel) } in &decisions.kernels {
        let workload = &baseline.workloads[*workload];
        let kernel = &workload.kernels[*kernel];
        if kernel.overhead_percent.is_some() && here.kernel(workload, kernel).is_none() {
            told(*rule, &subject::of_kernel(workload, kernel), &parts_of_kernel(workload, kernel));
        }
    }
}

/// A rule on machine code of which the report shows none is not kept by that; nor is one on changes of which the
/// baseline has nothing.
fn never_judged(verdicts: &mut [Verdict]) {
    let of = |verdict: &Verdict| (verdict.rule.line, verdict.quantity);
    let judged: HashSet<_> = verdicts.iter().filter(|v| v.outcome != Outcome::Skipped).map(of).collect();
    let lacks = |verdict: &Verdict| {
        let reason = verdict.reason.as_deref();
        verdict.quantity == Quantity::SiteBytes
            || [NO_CELL, NO_KERNEL, NO_LONGER].iter().any(|lacking| reason == Some(*lacking))
    };
    for verdict in verdicts.iter_mut().filter(|verdict| lacks(verdict)) {
        if !judged.contains(&of(verdict)) {
            verdict.outcome = Outcome::Inconclusive;
        }
    }
}

/// Sorts and counts the verdicts, and says how the process is to end.
pub fn settle(judged: &mut Judged, complete: bool) {
    // The worst first, then in the order of the file and of the report.
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
    } else if !judged.trouble.is_empty() {
        INCONCLUSIVE
    } else if hard(Outcome::Fail) {
        EXCEEDED
    } else if hard(Outcome::Inconclusive) || skipped {
        INCONCLUSIVE
    } else {
        FINE
    };
}

/// What is wrong with a report as a whole, by the name that it has for the reader.
pub(super) fn trouble(name: &str, report: &Report) -> Vec<String> {
    let mut trouble = Vec::new();
    if !report.run.complete {
        trouble.push(format!("{name} is incomplete: not all that was planned was measured"));
    }
    if let Some(failure) = report.failures.first() {
        let (count, place) = (report.failures.len(), failure.group.as_deref().unwrap_or("between groups"));
        let (place, message) = (subject::plain(place), subject::plain(&failure.message));
        trouble.push(format!("{count} failures in {name}, the first at {place}: {message}"));
    }
    trouble
}

/// How many verdicts there are on what is measured, and not counted.
#[must_use]
pub fn timed(rules: &[Resolved], decisions: &Decisions, with_baseline: bool) -> usize {
    let times = |rule: usize| {
        let bounds = rules[rule].rule.bounds.iter();
        bounds.filter(|b| b.quantity.is_time() && (!b.quantity.is_change() || with_baseline)).count()
    };
    let cells: usize = decisions.cells.iter().map(|decision| times(decision.rule)).sum();
    let kernels: usize = decisions.kernels.iter().map(|decision| times(decision.rule)).sum();
    (cells + kernels).max(1)
}

type CellKey<'a> = (&'a str, Platform, &'a str, Option<&'a str>, Regime);

fn key(cell: &Cell) -> CellKey<'_> {
    (&cell.op, cell.body, &cell.mechanism, cell.state.as_deref(), cell.regime)
}

type KernelKey<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>);

fn kernel_key<'a>(workload: &'a Workload, kernel: &'a WorkloadKernel) -> KernelKey<'a> {
    (&workload.name, kernel.mechanism.as_deref(), kernel.state.as_deref(), kernel.option.as_deref())
}

/// A baseline by names.
pub(super) struct Before<'a> {
    cells: HashMap<CellKey<'a>, &'a Cell>,
    kernels: HashMap<KernelKey<'a>, (&'a Workload, &'a WorkloadKernel)>,
}

impl<'a> Before<'a> {
    pub(super) fn of(report: &'a Report) -> Self {
        Before {
            cells: report.cells.iter().map(|cell| (key(cell), cell)).collect(),
            kernels: subject::kernels(report).map(|(w, kernel)| (kernel_key(w, kernel), (w, kernel))).collect(),
        }
    }

    pub(super) fn cell(&self, cell: &Cell) -> Option<&'a Cell> {
        self.cells.get(&key(cell)).copied()
    }

    pub(super) fn kernel(
        &self,
        workload: &Workload,
        kernel: &WorkloadKernel,
    ) -> Option<(&'a Workload, &'a WorkloadKernel)> {
        self.kernels.get(&kernel_key(workload, kernel)).copied()
    }
}

/// Machine code by op, mechanism and state.
type Listings<'a> = HashMap<(&'a str, &'a str, Option<&'a str>), &'a Listing>;

fn listings(report: &Report) -> Listings<'_> {
    let mechanisms = report.catalogue.mechanisms.iter();
    mechanisms
        .flat_map(|m| m.listings.iter().map(|l| ((l.op.as_str(), m.name.as_str(), l.state.as_deref()), l)))
        .collect()
}

/// What all verdicts are made with.
struct Means<'a> {
    wider: Wider,
    without_times: bool,
    /// Why times of the report are not judged.
    unoptimised: Option<String>,
    /// Why changes from the baseline's times are not judged.
    unoptimised_baseline: Option<String>,
    listings: Listings<'a>,
    before: Option<Before<'a>>,
}

impl Means<'_> {
    /// Why a quantity is not judged, whatever its value. Counts are exact in any build.
    fn refusal(&self, quantity: Quantity) -> Option<(Outcome, String)> {
        let of_baseline = self.unoptimised_baseline.as_ref().filter(|_| quantity.is_change());
        match self.unoptimised.as_ref().or(of_baseline) {
            _ if !quantity.is_time() => None,
            Some(reason) => Some(unknown(reason)),
            None => self.without_times.then(|| skipped(OTHER_MACHINE)),
        }
    }
}

/// Evidence, or an outcome that needs none, and why.
type Found = Result<Evidence, (Outcome, String)>;

fn unknown(reason: impl Into<String>) -> (Outcome, String) {
    (Outcome::Inconclusive, reason.into())
}

fn skipped(reason: impl Into<String>) -> (Outcome, String) {
    (Outcome::Skipped, reason.into())
}

const NO_BASELINE: &str = "a change needs a baseline: name one with --baseline";
const NO_CELL: &str = "the baseline has no such cell";
const NO_KERNEL: &str = "the baseline has no such workload on such a kernel";
const NO_LONGER: &str = "the baseline measured it, and the report does not have it";
const OTHER_MACHINE: &str = "times of another machine or tool are not judged";

fn of_cell(rule: &Rule, cell: &Cell, with: &mut Means, verdicts: &mut Vec<Verdict>) {
    for bound in &rule.bounds {
        let found = match (with.refusal(bound.quantity), bound.quantity) {
            (Some(refusal), _) => Err(refusal),
            (None, Quantity::Overhead) => overhead(cell, bound.unit, &mut with.wider),
            (None, Quantity::ExtraInstructions) => instructions(cell).map(Evidence::counted),
            (None, Quantity::SiteBytes) => site_bytes(cell, &with.listings).map(Evidence::counted),
            (None, Quantity::Change | Quantity::InstructionsChange) => match with.before.as_ref().map(|b| b.cell(cell))
            {
                None => Err(skipped(NO_BASELINE)),
                Some(None) => Err(skipped(NO_CELL)),
                Some(Some(before)) if bound.quantity == Quantity::Change => {
                    change::of_cell(cell, before, bound.unit, &mut with.wider).map_err(unknown)
                }
                Some(Some(before)) => {
                    instructions(cell).and_then(|new| Ok(new - instructions(before)?)).map(Evidence::counted)
                }
            },
        };
        verdicts.push(verdict(rule, bound, subject::of_cell(cell), &parts_of_cell(cell), found));
    }
}

fn parts_of_cell(cell: &Cell) -> [(&str, Option<&str>); 5] {
    [
        ("op", Some(cell.op.as_str())),
        ("body", Some(cell.body.name())),
        ("mechanism", Some(cell.mechanism.as_str())),
        ("state", cell.state.as_deref()),
        ("regime", Some(cell.regime.name())),
    ]
}

fn parts_of_kernel<'a>(workload: &'a Workload, kernel: &'a WorkloadKernel) -> [(&'a str, Option<&'a str>); 4] {
    [
        ("workload", Some(workload.name.as_str())),
        ("mechanism", kernel.mechanism.as_deref()),
        ("state", kernel.state.as_deref()),
        ("option", kernel.option.as_deref()),
    ]
}

fn of_kernel(rule: &Rule, workload: &Workload, kernel: &WorkloadKernel, with: &mut Means, verdicts: &mut Vec<Verdict>) {
    for bound in &rule.bounds {
        let found = if bound.quantity == Quantity::ExtraInstructions {
            unit_instructions(workload, kernel, bound.unit).map(Evidence::counted)
        } else if let Some(refusal) = with.refusal(bound.quantity) {
            Err(refusal)
        } else if bound.quantity.is_change() {
            match with.before.as_ref().map(|before| before.kernel(workload, kernel)) {
                None => Err(skipped(NO_BASELINE)),
                Some(None) => Err(skipped(NO_KERNEL)),
                Some(Some(before)) => {
                    change::of_kernel([(workload, kernel), before], bound.unit, &mut with.wider).map_err(unknown)
                }
            }
        } else {
            workload_overhead(workload, kernel, bound.unit, &mut with.wider)
        };
        let of = parts_of_kernel(workload, kernel);
        verdicts.push(verdict(rule, bound, subject::of_kernel(workload, kernel), &of, found));
    }
}

fn verdict(rule: &Rule, bound: &Bound, subject: String, of: &[(&str, Option<&str>)], found: Found) -> Verdict {
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
        rule: RuleInfo { line: rule.place.line, selects: rule.selects(), level: rule.level, why: rule.why.clone() },
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

fn overhead(cell: &Cell, unit: Unit, wider: &mut Wider) -> Found {
    let Some(overhead) = &cell.overhead else {
        return Err(unknown(format!("not measured: {}", subject::plain(cell.absent.as_deref().unwrap_or_default()))));
    };
    let nothing = || unknown(format!("there is nothing to make {} of", unit.name()));
    // The interval is that of the unit; what the report has in cycles alone follows it.
    let (estimate, per_cycle) = match unit {
        Unit::Ns => (overhead.ns, ns_per_cycle(cell).ok_or_else(nothing)?),
        Unit::Percent => {
            let Estimate { estimate, low, high } = overhead.ratio;
            let percent = |ratio: f64| (ratio - 1.0) * 100.0;
            let native = cell.native_cycles.filter(|native| *native > 0.0).ok_or_else(nothing)?;
            (Estimate { estimate: percent(estimate), low: percent(low), high: percent(high) }, 100.0 / native)
        }
        _ => (overhead.cycles, 1.0),
    };
    let interval =
        wider.of(estimate, workers(cell)).ok_or_else(|| unknown("too few workers measured it for an interval"))?;
    let layouts: Vec<f64> = cell.layouts.iter().map(|layout| layout.cycles.estimate * per_cycle).collect();
    Ok(Evidence {
        interval,
        modes: cell.modes.iter().map(|mode| mode.cycles * per_cycle).collect(),
        layout_range: range(&layouts),
        layouts,
        floor: cell.floor_cycles.unwrap_or(0.0) * per_cycle,
    })
}

fn workload_overhead(workload: &Workload, kernel: &WorkloadKernel, unit: Unit, wider: &mut Wider) -> Found {
    let Some(percent) = kernel.overhead_percent else {
        return Err(unknown(format!("not measured: {}", subject::plain(kernel.absent.as_deref().unwrap_or_default()))));
    };
    let per_percent = match unit {
        Unit::Ns => workload.inline_ns.map(|ns| ns / 100.0),
        Unit::Cycles => workload.inline_cycles.map(|cycles| cycles.estimate / 100.0),
        _ => Some(1.0),
    };
    let per_percent = per_percent.ok_or_else(|| unknown(format!("there is nothing to make {} of", unit.name())))?;
    let interval =
        wider.of(percent, workload.workers).ok_or_else(|| unknown("too few workers measured it for an interval"))?;
    let floor = workload.floor_percent * per_percent;
    Ok(Evidence { interval: scaled(interval, per_percent), floor, ..Evidence::counted(0.0) })
}

/// Instructions above `inline`.
fn instructions(cell: &Cell) -> Result<f64, (Outcome, String)> {
    let reason = || cell.instructions_absent.as_deref().unwrap_or("the report has no instruction counts");
    cell.instructions.map(|counted| counted.extra).ok_or_else(|| unknown(subject::plain(reason())))
}

/// Instructions of a unit above those with `inline`.
fn unit_instructions(workload: &Workload, kernel: &WorkloadKernel, unit: Unit) -> Result<f64, (Outcome, String)> {
    let reason = kernel.instructions_absent.as_deref().or(kernel.absent.as_deref());
    let absent = || unknown(subject::plain(reason.unwrap_or("the report has no instruction counts of it")));
    let counted = kernel.instructions.ok_or_else(absent)?;
    match unit {
        Unit::Percent => Ok(counted.extra_percent),
        _ => workload.inline_instructions.map(|inline| counted.per_unit - inline).ok_or_else(absent),
    }
}

/// Bytes that an op executes at its call site in throughput, the loop's own share among them.
fn site_bytes(cell: &Cell, listings: &Listings) -> Result<f64, (Outcome, String)> {
    if cell.regime != Regime::Throughput || cell.body != Platform::Native {
        return Err(skipped("machine code is shown of native bodies in throughput"));
    }
    let listing = listings.get(&(cell.op.as_str(), cell.mechanism.as_str(), cell.state.as_deref()));
    let listing = listing.ok_or_else(|| skipped("the report shows no machine code of it"))?;
    let at_site = |line: &&crate::report::schema::ListingLine| line.place == "site";
    let bytes: usize = listing.lines.iter().filter(at_site).map(|line| line.bytes.len() / 2).sum();
    // Where the sites of a pass differ, the listing has all of them.
    let ops = cell.instructions.map_or(1.0, |counted| (listing.lines.len() as f64 / counted.per_op).round().max(1.0));
    if ops.is_finite() { Ok(bytes as f64 / ops) } else { Err(unknown("no instructions were executed")) }
}
