//! `pvbench gate`: judges a report, or a run of its own, by a budget file.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::Args;

use super::Done;
use super::conditions::Conditions;
use super::error::{self, CliError};
use super::exit::Exit;
use super::inherited::stop_on_signals;
use super::measured::{Extras, measure};
use super::output::{self, FailedWrites, stdout};
use crate::gate::budget::{BudgetError, Budgets};
use crate::gate::judge::{GateInput, document_of_binaries, judge, settle, timed};
use crate::gate::rules::{Decisions, Names, ResolvedRule, decide, resolve};
use crate::gate::{Judged, Outcome, Verdict, comparable, junit, markdown, terminal};
use crate::host::{Machine, Root};
use crate::report::{Report, read, write};
use crate::run::host_context::HostContext;
use crate::suite::Suite;

mod binaries;
mod history;
mod init;
mod plan;

use plan::Measurable;

pub(crate) const EXAMPLES: &str = "A budget file. The first rule of each level that matches a cell decides:
  [[budget]]
  mechanism = \"site_callee_save\"       # op, mechanism, state, regime, body: globs
  state = \"inline\"
  overhead = \"0.5 cycles\"              # cycles, ns or % above inline
  extra_instructions = \"1 instructions\"
  indirect_branches = 0                 # also calls, branches, loads, stores, .. per op; counted exactly

  [[budget]]
  workload = \"mmap_perf\"               # with mechanism, state, or option
  mechanism = \"site\"
  overhead = \"3 %\"
  change = \"1 %\"                       # against --baseline
  level = \"soft\"                       # soft warns; hard (default) fails

  [[budget]]
  binary = \"target/release/app\"       # call sites of a program, counted without running it
  function = \"uart::poll\"             # a glob; without it, the whole binary
  indirect_calls = 0                    # also calls, plt_calls, retpolines, jump_tables, ..

Examples:
  pvbench gate --run
  pvbench gate reports/latest/report.json --init --mechanism table,dyn > budgets.toml
  pvbench gate reports/latest/report.json --budget budgets.toml --markdown summary.md
  pvbench gate --budget binaries.toml
  pvbench gate --init --binary target/release/app --function 'uart::*' > binaries.toml
  pvbench gate new.json --baseline old.json --json verdict.json --junit verdict.xml";

/// Options of `gate`.
#[derive(Args)]
pub struct GateArgs {
    /// The report to judge
    #[arg(value_name = "REPORT.json", conflicts_with = "run")]
    report: Option<PathBuf>,
    /// Measure now, and only what the rules bind
    #[arg(long)]
    run: bool,
    /// Print a first budget file with the counts of every op in the report: instructions, bytes, calls, branches
    #[arg(long, conflicts_with = "run")]
    init: bool,
    /// With --init: print budgets on the call sites of this binary instead
    #[cfg(feature = "audit")]
    #[arg(long, value_name = "FILE", requires = "init", requires = "function", conflicts_with = "report")]
    binary: Option<PathBuf>,
    /// With --init --binary: these functions (globs)
    #[cfg(feature = "audit")]
    #[arg(long, value_name = "GLOB", requires = "binary")]
    function: Vec<String>,
    /// With --init: only these mechanisms (globs)
    #[arg(long, value_name = "GLOB", requires = "init")]
    mechanism: Vec<String>,
    /// The budget file
    #[arg(long, value_name = "FILE", default_value = "reports/budgets.toml")]
    budget: PathBuf,
    /// The report that changes are measured against; of the same machine
    #[arg(long, value_name = "REPORT.json")]
    baseline: Option<PathBuf>,
    /// The history whose last confirmed levels changes are measured against; silent on a machine that it lacks
    #[arg(long, value_name = "DIR", requires = "report", conflicts_with_all = ["baseline", "run", "init"])]
    history: Option<PathBuf>,
    /// Judge times even if CPU model, microcode, mitigations or version of pvbench differ
    #[arg(long)]
    across_machines: bool,
    /// Judge times even if the code is not optimised (opt-level 0) or instrumented
    #[arg(long)]
    unoptimised: bool,
    /// With --run: measure failed and inconclusive verdicts again, up to N times and in fresh processes (default: 1)
    #[arg(long, value_name = "N", requires = "run", value_parser = clap::value_parser!(u8).range(0..=9))]
    confirm: Option<u8>,
    /// With --run: seconds of each measurement, repeated ones too (default: 4 for cells, 8 for workloads)
    #[arg(long, value_name = "SECONDS", requires = "run", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    time: Option<u32>,
    /// With --run: also write the report to DIR
    #[arg(long, value_name = "DIR", requires = "run")]
    out: Option<PathBuf>,
    #[command(flatten)]
    conditions: Conditions,
    /// Write the verdicts as JSON to FILE; - writes them to standard output instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a summary in Markdown; it is appended if GITHUB_STEP_SUMMARY names FILE
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the verdicts as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Also show verdicts that pass
    #[arg(long)]
    all: bool,
}

/// Judges a report, or measures and judges.
pub fn gate(args: &GateArgs, suite: &Suite) -> Done {
    if args.init {
        return init::print(args);
    }
    let nothing = "there is nothing to judge: name a report.json, or measure with --run what the rules bind";
    let budgets = match Budgets::read(&args.budget) {
        Ok(budgets) => budgets,
        // Without a report, the missing report is the fault to name.
        Err(BudgetError::Read { .. }) if args.report.is_none() && !args.run => {
            return Err(CliError::Usage(nothing.to_owned()));
        }
        Err(error) => return Err(error.into()),
    };
    let only_binaries = args.report.is_none() && (!args.run || budgets.rules.is_empty());
    if only_binaries && budgets.binary_rules.is_empty() {
        return Err(CliError::Usage(nothing.to_owned()));
    }
    if only_binaries && !budgets.rules.is_empty() {
        let count = budgets.rules.len();
        error::warn(&format!(
            "{count} rules on cells and workloads are not judged: name a report.json, or measure with --run"
        ));
    }
    let binaries = binaries::judge(&budgets)?;
    let baseline = args.baseline.as_deref().map(read::report).transpose()?;
    let changes = budgets.rules.iter().flat_map(|rule| &rule.bounds).all(|bound| bound.quantity.is_change());
    if baseline.is_none() && args.history.is_none() && changes && !budgets.rules.is_empty() && !only_binaries {
        let message = format!(
            "{}: every rule bounds a change and no baseline is given: name one with --baseline",
            args.budget.display()
        );
        return Err(CliError::Usage(message));
    }
    let files: Vec<&Path> =
        [&args.json, &args.markdown, &args.junit].into_iter().flatten().map(PathBuf::as_path).collect();
    files.iter().try_for_each(|file| output::prepare(file))?;
    let mut unwritten = FailedWrites::default();
    let judged = match &args.report {
        _ if only_binaries => document_of_binaries(&budgets, binaries),
        report => {
            let mut judged = match report {
                Some(path) => {
                    let report = read::report(path)?;
                    let of_history = args.history.as_deref().map(|folder| history::baseline(folder, path, &report));
                    let baseline = of_history.transpose()?.flatten().or(baseline);
                    judge_report(args, &budgets, &report, baseline.as_ref())?
                }
                None => measure_and_judge(args, suite, &budgets, baseline.as_ref(), &mut unwritten)?,
            };
            if !binaries.is_empty() {
                let failed = judged.exit_code == Exit::Failed as u8;
                judged.verdicts.extend(binaries);
                settle(&mut judged, !failed);
            }
            judged
        }
    };
    if let Some(path) = &args.markdown {
        let text = markdown::summary(&judged).into_bytes();
        unwritten.note(if is_job_summary(path) { output::append(path, &text) } else { output::file(path, &text) });
    }
    if let Some(path) = &args.junit {
        unwritten.note(output::file(path, junit::xml(&judged).as_bytes()));
    }
    if let Some(path) = &args.json
        && let Some(mut text) = unwritten.note(serde_json::to_vec_pretty(&judged))
    {
        text.push(b'\n');
        unwritten.note(output::file(path, &text));
    }
    if !files.iter().any(|file| output::is_stdout(file)) {
        print_verdicts(&judged, args.all)?;
    }
    Ok(unwritten.ended(match judged.exit_code {
        0 => Exit::Fine,
        1 => Exit::Exceeded,
        3 => Exit::Inconclusive,
        _ => Exit::Failed,
    }))
}

/// Judges an existing report.
fn judge_report(
    args: &GateArgs,
    budgets: &Budgets,
    report: &Report,
    baseline: Option<&Report>,
) -> Result<Judged, CliError> {
    let rules = resolve(budgets, &Names::of(report))?;
    let decisions = decide(&rules, report);
    decisions.check(budgets)?;
    warn_of_idle(budgets, &decisions);
    warn_of_build(report);
    let here = Machine::read(&Root::default());
    let mut differences = comparable::from_here(report, &here);
    if let Some(baseline) = baseline {
        let between = comparable::between(report, baseline);
        differences.extend(between.into_iter().map(|difference| format!("baseline: {difference}")));
    }
    let judgements = timed(&rules, &decisions, baseline.is_some());
    let input = GateInput {
        budgets,
        rules: &rules,
        decisions: &decisions,
        report,
        baseline,
        differences,
        across_machines: args.across_machines,
        unoptimised: args.unoptimised,
        judgements,
    };
    Ok(judge(&input))
}

/// Measures what the rules bind and judges it; failed and inconclusive verdicts are measured again.
fn measure_and_judge(
    args: &GateArgs,
    suite: &Suite,
    budgets: &Budgets,
    baseline: Option<&Report>,
    unwritten: &mut FailedWrites,
) -> Result<Judged, CliError> {
    let stop = stop_on_signals()?;
    let measurable = Measurable::new(suite);
    let names = measurable.names();
    let rules = resolve(budgets, &names)?;
    let here = args.conditions.host_context();
    let seed = args.conditions.seed();
    let time = args.time.map(|seconds| Duration::from_secs(seconds.into()));
    let run = |again: Option<&HashSet<String>>, seed: u64| {
        measure_once((suite, &measurable), &rules, again, (&here, seed, time), &stop)
    };
    if let Some(out) = &args.out {
        write::prepare(out)?;
    }
    let (document, report) = run(None, seed)?;
    for absence in report.absent.iter().filter(|absence| absence.is_of_baseline()) {
        error::warn(&format!("no {}: {}", absence.what, absence.reason));
    }
    warn_of_build(&report);
    if let Some(out) = &args.out {
        unwritten.report(out, &report, document);
    }
    // All rules matched what the suite can measure. A rule that matches nothing in the report is a rule on cells that
    // an incomplete run did not reach.
    let unjudged = |error: BudgetError| match report.run.complete {
        true => CliError::from(error),
        false => CliError::Unjudged { reason: describe_end(&report, &stop) },
    };
    let found = resolve(budgets, &Names::of(&report)).map_err(unjudged)?;
    let decisions = decide(&found, &report);
    decisions.check(budgets).map_err(unjudged)?;
    warn_of_idle(budgets, &decisions);
    let confirm = usize::from(args.confirm.unwrap_or(1));
    // Every repeated measurement adds verdicts that may be wrong by chance.
    let judgements = timed(&found, &decisions, baseline.is_some()) * (1 + confirm);
    let differences: Vec<String> = baseline.map(|baseline| comparable::between(&report, baseline)).unwrap_or_default();
    let verdicts = |rules: &[ResolvedRule], decisions: &Decisions, report: &Report| {
        judge(&GateInput {
            budgets,
            rules,
            decisions,
            report,
            baseline,
            differences: differences.clone(),
            across_machines: args.across_machines,
            unoptimised: args.unoptimised,
            judgements,
        })
    };
    let mut judged = verdicts(&found, &decisions, &report);
    for round in 1..=confirm {
        let again = collect_unsettled(&judged);
        // Verdicts on unoptimised code stay inconclusive, however often it is measured.
        let in_vain = report.unoptimised().is_some() && !args.unoptimised;
        if again.is_empty() || in_vain || !report.run.complete {
            break;
        }
        let (_, second) = run(Some(&again), seed.wrapping_add(round as u64))?;
        // All rules matched the first report; this one has only the cells that were measured again.
        let later = verdicts(&found, &decide(&found, &second), &second);
        replace_verdicts(&mut judged, later, &again);
        let complete = second.run.complete;
        settle(&mut judged, complete);
        if !complete {
            break;
        }
    }
    Ok(judged)
}

/// Describes why a run ended before it was complete.
fn describe_end(report: &Report, stop: &AtomicBool) -> String {
    match report.failures.first() {
        _ if stop.load(Ordering::Relaxed) => "it was interrupted".to_owned(),
        Some(failure) => failure.message.clone(),
        None => "its time was too short".to_owned(),
    }
}

/// Measures what the rules bind, or only the subjects of `again`. Returns the document as written, and parsed.
fn measure_once(
    (suite, measurable): (&Suite, &Measurable),
    rules: &[ResolvedRule],
    again: Option<&HashSet<String>>,
    (here, seed, time): (&HostContext, u64, Option<Duration>),
    stop: &AtomicBool,
) -> Result<(Vec<u8>, Report), CliError> {
    let mut plan = measurable.plan(rules, again, (here, seed, time))?;
    plan.second_cpu = here.second_cpu(suite, &plan.work.workloads);
    let document = measure(&plan, Extras::default(), suite, here, stop)?;
    let report = serde_json::from_slice(&document)?;
    Ok((document, report))
}

/// Returns the subjects of failed and inconclusive verdicts on times.
fn collect_unsettled(judged: &Judged) -> HashSet<String> {
    let open = |verdict: &&Verdict| {
        verdict.quantity.is_time() && matches!(verdict.outcome, Outcome::Fail | Outcome::Inconclusive)
    };
    judged.verdicts.iter().filter(open).map(|verdict| verdict.subject.clone()).collect()
}

/// Replaces verdicts on the subjects of `again` by later ones with the same rule and quantity. Other subjects of the
/// later run keep their first verdict: they were measured again only because they share a comparison.
fn replace_verdicts(judged: &mut Judged, later: Judged, again: &HashSet<String>) {
    let key = |verdict: &Verdict| (verdict.rule.line, verdict.subject.clone(), verdict.quantity);
    let Judged { verdicts, faults, .. } = later;
    let repeated = verdicts.into_iter().filter(|verdict| again.contains(&verdict.subject));
    let mut later: HashMap<_, Verdict> = repeated.map(|verdict| (key(&verdict), verdict)).collect();
    for verdict in judged.verdicts.iter_mut().filter(|verdict| verdict.quantity.is_time()) {
        if let Some(mut new) = later.remove(&key(verdict)) {
            new.before = std::mem::take(&mut verdict.before);
            new.before.push(verdict.outcome);
            *verdict = new;
        }
    }
    for fault in faults {
        if !judged.faults.contains(&fault) {
            judged.faults.push(fault);
        }
    }
}

/// Warns of rules that decide nothing because earlier ones decide all that they match.
fn warn_of_idle(budgets: &Budgets, decisions: &Decisions) {
    for idle in &decisions.idle {
        let rule = &budgets.rules[*idle];
        let (path, line) = (budgets.path.display(), rule.position.line);
        error::warn(&format!(
            "{path}:{line}: earlier rules decide all that this one matches ({}); move it before them",
            rule.selects()
        ));
    }
}

/// Warns if the code that a report measured is unoptimised or instrumented.
pub(super) fn warn_of_build(report: &Report) {
    if let Some(check) = report.unoptimised() {
        error::warn(&format!("{}; {}", check.detail, check.advice.as_deref().unwrap_or_default()));
    }
}

fn print_verdicts(judged: &Judged, all: bool) -> Result<(), CliError> {
    let text = terminal::verdicts(judged, all);
    let color = match judged.exit_code {
        0 => AnsiColor::Green,
        3 => AnsiColor::Yellow,
        _ => AnsiColor::Red,
    };
    let style = Style::new().fg_color(Some(color.into()));
    let mut out = stdout();
    // The last line is the result.
    let (body, last) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
    if !body.is_empty() {
        writeln!(out, "{body}")?;
    }
    writeln!(out, "{style}{last}{style:#}")?;
    Ok(())
}

/// Whether a path is the summary of a job on GitHub, to which other commands of the step write too.
fn is_job_summary(path: &Path) -> bool {
    std::env::var_os("GITHUB_STEP_SUMMARY").is_some_and(|summary| !summary.is_empty() && path == Path::new(&summary))
}
