//! `pvbench ab`

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use clap::Args;

use super::Done;
use super::compare::show;
use super::conditions::worker_command;
use super::error::{self, CliError};
use super::exit::Exit;
use super::gate::warn_of_build;
use super::handshake;
use super::inherited::stop_on_signals;
use super::measured::{Here, Measured, Refusal};
use super::output::{self, Unwritten};
use super::progress::Progress;
use super::run::{Selection, plan, work_plan};
use crate::gate::compare::compare;
use crate::measure::plan::{Plan, Workers};
use crate::measure::work_parent::{self, WorkPlan};
use crate::report::{Report, write};
use crate::suite::Suite;

pub const EXAMPLES: &str = "Examples:
  pvbench ab --baseline ./pvbench-before --quick
  pvbench ab --baseline ./pvbench-before --op 'pte_*' --mechanism table --time 20
  scripts/ab.sh HEAD~1 --quick                   builds the baseline from a revision

Workers of the two builds take turns, so that what drifts meets both. Overheads of the two are compared, and of
workloads what `inline` takes, too. What could not be compared is listed with the reason. Exit code 1: something
regressed; 3: it cannot be told; 4: one of the builds did not measure all of it.";

/// Options of `ab`.
#[derive(Args)]
pub struct AbArgs {
    /// The other build: of pvbench, or of the suite whose program this is
    #[arg(long, value_name = "BINARY")]
    baseline: PathBuf,
    #[command(flatten)]
    selection: Selection,
    /// As JSON, into a file; - for standard output, instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the two reports into DIR/before and DIR/after
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Show what did not change, too
    #[arg(long)]
    all: bool,
}

/// Measures two builds of a suite in turn, and says what differs and what could not be compared.
pub fn ab(args: &AbArgs, suite: &Suite) -> Done {
    let stop = stop_on_signals()?;
    let here = Here::ask(&args.selection.conditions);
    let plan = plan(&args.selection, suite, &here)?;
    let work = work_plan(&args.selection, suite, plan.preset)?;
    handshake::check(&args.baseline, suite)?;
    if let Some(out) = &args.out {
        write::prepare(out)?;
    }
    args.json.as_deref().map(output::prepare).transpose()?;
    let workers = match (plan.workers, work.plan.workers) {
        (Workers::Within(cells), Workers::Within(work)) => Workers::Within(cells + work),
        (workers, _) => workers,
    };
    let workers = match (plan.groups.is_empty(), work.plan.workloads.is_empty()) {
        (true, _) => work.plan.workers,
        (_, true) => plan.workers,
        _ => workers,
    };
    let steps = plan.groups.len() + work.plan.workloads.len();
    let progress = match workers {
        Workers::Exactly(workers) => Progress::of_steps(steps * workers),
        Workers::Within(time) => Progress::of_time(time),
    };
    let begin = |progress| Measured::begin(&plan, &here, progress, None);
    let mut sides = [begin(Progress::hidden())?, begin(progress)?];
    let whole = in_turn(args, (&plan, &work.plan, workers), &stop, &mut sides)?;
    let [before, after] = sides.map(|side| side.document(&work, suite, &here, whole));
    let (before, after) = (before?, after?);
    let reports: [Report; 2] = [serde_json::from_slice(&before)?, serde_json::from_slice(&after)?];
    let mut unwritten = Unwritten::default();
    if let Some(out) = &args.out {
        unwritten
            .note(write::files(out, &[("before/report.json".into(), before), ("after/report.json".into(), after)]));
    }
    let [before, after] = &reports;
    warn_of_build(after);
    let mut comparison = compare(before, after, Vec::new());
    comparison.name_reports([("the baseline's report", before), ("the report of this build", after)]);
    comparison.add_inline(before, after);
    let exit = show(&comparison, args.json.as_deref(), args.all)?;
    // Of a measurement that failed the comparison is shown, and decides nothing.
    let complete = before.run.complete && after.run.complete;
    Ok(unwritten.ended(if complete { exit } else { Exit::Failed }))
}

/// Workers of the two builds, a pair at a time; which of a pair goes first alternates.
fn in_turn(
    args: &AbArgs,
    (plan, work, workers): (&Plan, &WorkPlan, Workers),
    stop: &AtomicBool,
    sides: &mut [Measured<'_>; 2],
) -> Result<bool, CliError> {
    let baseline = || {
        let mut command = Command::new(&args.baseline);
        command.arg("worker");
        command
    };
    let began = Instant::now();
    let (mut number, mut units) = (0, work_parent::Units::new());
    while workers.go_on_to_the_end(number, began.elapsed()) {
        for turn in [number % 2, 1 - number % 2] {
            let command: &dyn Fn() -> Command = if turn == 0 { &baseline } else { &worker_command };
            if !work_parent::one(plan, work, number, &mut units, command, stop, &mut sides[turn].collector)? {
                return Ok(false);
            }
            let build = if turn == 0 { args.baseline.display().to_string() } else { "this build".to_owned() };
            match sides[turn].collector.refusal() {
                Some(Refusal { message, is_death: false }) => {
                    return Err(CliError::Usage(format!("{build} cannot measure this: {message}")));
                }
                // Whatever it is to measure, its workers die of it: more of them say no more.
                Some(Refusal { message, is_death: true }) => {
                    error::warn(&format!("{build} measured nothing: {message}"));
                    return Ok(false);
                }
                None => {}
            }
        }
        number += 1;
    }
    Ok(true)
}
