//! `pvbench run`: measures and writes a report.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clap::Args;

use super::error::CliError;
use super::exit::Exit;
use super::inherited::stop_on_signals;
use super::measured::{Extras, RunningKernelPlan, measure};
use super::output::{FailedWrites, stdout};
use super::selection::{Planned, Selection};
use super::{Done, error, open, pager, words};
use crate::report::{Report, terminal, write};
use crate::run::plan::Plan;
use crate::run::samples::{FORMAT, Header, SamplesWriter};
use crate::run::worker::serve;
use crate::selftest;
use crate::suite::Suite;

pub(crate) const EXAMPLES: &str = "Examples:
  pvbench run                                    all ops, in three minutes
  pvbench run --quick                            a few ops, throughput only, in under 20 s
  pvbench run --op 'pte_val,set_*' --mechanism 'table,direct' --regime throughput --time 20
  pvbench run --quick --open                     the same, and the page in a browser
  pvbench run --seed 7 --cpu 1 --out /tmp/report

A run ends with its answer, in at most 25 lines. `pvbench show` prints its tables.";

/// Options of `run`.
#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    selection: Selection,
    /// Also keep the samples in FILE; `pvbench report --samples FILE` makes the report from them again
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// Folder for report.json, index.html and plots/
    #[arg(long, value_name = "DIR", default_value = "reports/latest")]
    out: PathBuf,
    /// Recordings of a kernel of your own (`linux record`), whose hooks are priced (default: Debian's 6.1)
    #[cfg(feature = "linux")]
    #[arg(long, value_name = "DIR")]
    recordings: Option<PathBuf>,
    /// Open the page in $BROWSER, or with xdg-open
    #[arg(long)]
    open: bool,
}

impl RunArgs {
    /// Plans the time of the running kernel; `None` where a run leaves it out.
    #[cfg(feature = "linux")]
    fn running_kernel(&self, suite: &Suite, plan: &Plan) -> Result<Option<RunningKernelPlan>, CliError> {
        let Some(wanted) = self.selection.running_kernel(suite, plan) else {
            return match self.recordings {
                None => Ok(None),
                Some(_) => Err(CliError::Usage(
                    "--recordings prices the hooks of a whole run of Linux's ops; leave out --op, --mechanism, \
                     --regime, --workload and --body, and a --time below 10 s"
                        .to_owned(),
                )),
            };
        };
        let recorded = super::native::read_recorded(self.recordings.as_deref())?;
        Ok(Some(RunningKernelPlan { wanted, recorded }))
    }

    /// A build without real kernels has no workloads to time.
    #[cfg(not(feature = "linux"))]
    fn running_kernel(&self, _: &Suite, _: &Plan) -> Result<Option<RunningKernelPlan>, CliError> {
        Ok(None)
    }
}

/// Runs this process as a worker.
pub fn worker(suite: Suite) -> Done {
    let (mut ops, workloads) = suite.into_parts();
    ops.extend(selftest::entries());
    serve(ops, workloads, &mut std::io::stdin().lock(), &mut std::io::stdout().lock())?;
    Ok(Exit::Fine)
}

/// Plans, measures, and writes the report with its page.
pub fn run(args: &RunArgs, suite: &Suite) -> Done {
    let stop = stop_on_signals()?;
    let here = args.selection.conditions.host_context();
    let Planned { mut plan, absent } = args.selection.plan(suite, &here)?;
    plan.second_cpu = here.second_cpu(suite, &plan.work.workloads);
    let running_kernel = args.running_kernel(suite, &plan)?;
    // A folder that cannot be written ends the command before it measures.
    write::prepare(&args.out)?;
    let writer = match &args.samples {
        Some(path) => {
            let header = Header { format: FORMAT.to_owned(), suite: suite.name().to_owned(), plan: plan.clone() };
            Some(SamplesWriter::begin(path, &header)?)
        }
        None => None,
    };
    let extras = Extras { absent, writer, running_kernel };
    let document = measure(&plan, extras, suite, &here, &stop)?;
    // Page and summary are made from the numbers as written, so that `pvbench report` makes the same page.
    let report: Report = serde_json::from_slice(&document)?;
    let mut unwritten = FailedWrites::default();
    unwritten.report(&args.out, &report, document);
    let mut out = stdout();
    write!(out, "{}", terminal::answer(&report, pager::width()))?;
    if unwritten.is_empty() {
        let page = args.out.join("index.html");
        writeln!(out, "Page: {}", page.display())?;
        writeln!(out, "Tables: {} show {}", suite.name(), words::quote(&args.out))?;
        if args.open {
            open::page(&page);
        }
    }
    if stop.load(Ordering::Relaxed) && unwritten.is_empty() {
        error::warn("interrupted: the report is incomplete and has only what was measured before");
    }
    let measured = report.cells.iter().any(|cell| cell.overhead.is_some())
        || report.workloads.iter().any(|workload| workload.inline_cycles.is_some());
    Ok(unwritten.ended(if report.run.complete && measured { Exit::Fine } else { Exit::Failed }))
}
