//! The course of a run on the command line.

use std::sync::atomic::AtomicBool;

use super::error::CliError;
use super::progress::ProgressLine;
use crate::report::schema::Unavailable;
use crate::report::write;
use crate::run::host_context::HostContext;
use crate::run::plan::Plan;
use crate::run::process::{Processes, worker_command};
use crate::run::samples::SamplesWriter;
use crate::run::scheduler;
use crate::run::session::Session;
use crate::suite::Suite;

/// Measures a plan and returns its document. `writer` also keeps the samples in a file.
pub fn measure(
    plan: &Plan,
    absent: Vec<Unavailable>,
    suite: &Suite,
    here: &HostContext,
    writer: Option<SamplesWriter>,
    stop: &AtomicBool,
) -> Result<Vec<u8>, CliError> {
    let mut session = Session::begin(plan, here, ProgressLine::of(plan), writer)?;
    let count = session.counts_events();
    let processes = Processes { command: &worker_command, stop };
    let whole = scheduler::run(plan, processes, count, &mut session.collector)?;
    Ok(write::json(&session.finish(absent, suite, here, whole))?)
}
