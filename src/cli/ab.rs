//! `pvbench ab`: measures two builds in turn and compares them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use clap::Args;

use super::Done;
use super::compare::show;
use super::error::{self, CliError};
use super::exit::Exit;
use super::gate::warn_of_build;
use super::handshake;
use super::inherited::stop_on_signals;
use super::output::{self, FailedWrites};
use super::progress::ProgressLine;
use super::selection::{Planned, Selection};
use crate::gate::compare::compare;
use crate::report::{Report, write};
use crate::run::plan::Plan;
use crate::run::process::{Processes, worker_command};
use crate::run::scheduler::{Units, run_one};
use crate::run::session::{Refusal, Session};
use crate::suite::Suite;

pub(crate) const EXAMPLES: &str = "Examples:
  pvbench ab --baseline ./pvbench-before --quick
  pvbench ab --baseline ./pvbench-before --op 'pte_*' --mechanism table --time 20
  scripts/ab.sh HEAD~1 --quick                   builds the baseline from a revision

Workers of the two builds take turns, so that drift of the machine affects both alike. The table compares overheads,
and for workloads also the time with `inline`. Everything that was not compared is listed with the reason.
Exit code 1: something regressed; 3: inconclusive; 4: one of the builds did not measure everything.";

/// Options of `ab`.
#[derive(Args)]
pub struct AbArgs {
    /// The program of the other build: of pvbench, or of the same suite
    #[arg(long, value_name = "BINARY")]
    baseline: PathBuf,
    #[command(flatten)]
    selection: Selection,
    /// Write the comparison as JSON to FILE; - writes it to standard output instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the two reports to DIR/before and DIR/after
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Also show unchanged cells and workloads
    #[arg(long)]
    all: bool,
}

/// Measures two builds of a suite in turn, and prints the differences and everything that was not compared.
pub fn ab(args: &AbArgs, suite: &Suite) -> Done {
    let stop = stop_on_signals()?;
    let here = args.selection.conditions.host_context();
    let Planned { plan, absent } = args.selection.plan(suite, &here)?;
    handshake::check(&args.baseline, suite)?;
    if let Some(out) = &args.out {
        write::prepare(out)?;
    }
    args.json.as_deref().map(output::prepare).transpose()?;
    let progress = ProgressLine::of(&plan);
    let begin = |progress| Session::begin(&plan, &here, progress, None);
    let mut sides = [begin(ProgressLine::hidden())?, begin(progress)?];
    let whole = measure_in_turn(args, &plan, &stop, &mut sides)?;
    let [before, after] = sides.map(|side| write::json(&side.finish(absent.clone(), suite, &here, whole)));
    let (before, after) = (before?, after?);
    let reports: [Report; 2] = [serde_json::from_slice(&before)?, serde_json::from_slice(&after)?];
    let mut unwritten = FailedWrites::default();
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
    // The comparison of a failed measurement is printed, but does not decide the exit code.
    let complete = before.run.complete && after.run.complete;
    Ok(unwritten.ended(if complete { exit } else { Exit::Failed }))
}

/// Runs the workers of the two builds in pairs; the order within a pair alternates.
///
/// Returns whether nothing was cut short.
fn measure_in_turn(
    args: &AbArgs,
    plan: &Plan,
    stop: &AtomicBool,
    sides: &mut [Session<'_, ProgressLine>; 2],
) -> Result<bool, CliError> {
    let baseline = || {
        let mut command = Command::new(&args.baseline);
        command.arg("worker");
        command
    };
    let began = Instant::now();
    let (mut number, mut units) = (0, Units::new());
    while plan.workers().go_on_to_the_end(number, began.elapsed()) {
        for turn in [number % 2, 1 - number % 2] {
            let command: &(dyn Fn() -> Command + Sync) = if turn == 0 { &baseline } else { &worker_command };
            let processes = Processes { command, stop };
            if !run_one(plan, number, &mut units, processes, &mut sides[turn].collector)? {
                return Ok(false);
            }
            let build = if turn == 0 { args.baseline.display().to_string() } else { "this build".to_owned() };
            match sides[turn].collector.refusal() {
                Some(Refusal { message, is_death: false }) => {
                    return Err(CliError::Usage(format!("{build} cannot measure this: {message}")));
                }
                // Every worker dies in the same way, so further workers would add nothing.
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
