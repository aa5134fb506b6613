//! The course of a run on the command line.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::error::CliError;
use super::progress::ProgressLine;
use crate::report::recorded::Recorded;
use crate::report::schema::Unavailable;
use crate::report::write;
use crate::run::host_context::HostContext;
use crate::run::plan::Plan;
use crate::run::process::{Processes, worker_command};
use crate::run::samples::SamplesWriter;
use crate::run::scheduler;
use crate::run::session::Session;
use crate::suite::Suite;

/// What a run does beside its plan.
#[derive(Default)]
pub struct Extras {
    /// The workloads that the plan lacks, with the reasons.
    pub absent: Vec<Unavailable>,
    /// Keeps the samples in a file.
    pub writer: Option<SamplesWriter>,
    /// The workloads to time on the running kernel.
    pub running_kernel: Option<RunningKernelPlan>,
}

/// The workloads to time on the running kernel, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct RunningKernelTime {
    /// Whether to time only the benchmark of the claim of 2009.
    pub claim_only: bool,
    /// Time for all of them.
    pub time: Duration,
}

/// The same, with the hooks that a real kernel calls in them.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "linux"), expect(dead_code, reason = "without real kernels there are no workloads to time"))]
pub struct RunningKernelPlan {
    /// The workloads, and the time.
    pub wanted: RunningKernelTime,
    /// The hooks.
    pub recorded: Recorded,
}

/// Measures a plan and returns its document.
pub fn measure(
    plan: &Plan,
    extras: Extras,
    suite: &Suite,
    here: &HostContext,
    stop: &AtomicBool,
) -> Result<Vec<u8>, CliError> {
    let Extras { absent, writer, running_kernel } = extras;
    let mut session = Session::begin(plan, here, ProgressLine::of(plan), writer)?;
    if let Some(wanted) = running_kernel {
        #[cfg(feature = "linux")]
        session.measure_running_kernel(|step| super::native::measure_for_report(wanted, plan.cpu, stop, step));
        #[cfg(not(feature = "linux"))]
        let _ = wanted;
    }
    let count = session.counts_events();
    let processes = Processes { command: &worker_command, stop };
    let whole = scheduler::run(plan, processes, count, &mut session.collector)?;
    Ok(write::json(&session.finish(absent, suite, here, whole))?)
}
