//! The time of the real kernel's workloads on the running kernel, for `run` and `linux native`.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::counted::read_json;
use super::error::CliError;
use super::measured::RunningKernelPlan;
use crate::clock::Clock;
use crate::estimate::native::{UnitSamples, denominator};
use crate::host::{Machine, Probes, Root};
use crate::linux::error::LinuxError;
use crate::linux::native::{NativePlan, NativeSamples, Program, describe_kernel};
use crate::linux::record::{self, calls};
use crate::linux::workload::WORKLOADS;
use crate::report::claim::CLAIM;
use crate::report::native::{Denominator, Native};
use crate::report::recorded::Recorded;
use crate::report::schema::Unavailable;
use crate::run::report::RunningKernel;

/// Nine processes run each workload. Processes differ by percents, because each has pages of its own. From six on, the
/// outermost do not widen the interval (`src/stats/worker_median.rs`).
const PROCESSES: usize = 9;
/// Share of the time that goes to starting processes and to windows that are not timed.
const OVERHEAD_SHARE: f64 = 0.4;

/// What to measure.
pub(crate) struct Wanted {
    /// Indexes of the workloads.
    pub workloads: Vec<usize>,
    /// Time for all of them.
    pub time: Duration,
    /// The CPU; `None` for the one that `run` measures on.
    pub cpu: Option<usize>,
}

impl Wanted {
    /// Number of processes.
    pub(crate) fn processes(&self) -> usize {
        self.workloads.len() * PROCESSES
    }
}

/// The hooks of a kernel: those in the recordings of a folder, or those that ship with the program. A `linux.json` of
/// `pvbench linux ab` in the folder adds exact instructions.
///
/// # Errors
/// If a recording or the `linux.json` cannot be read.
pub(super) fn read_recorded(folder: Option<&Path>) -> Result<Recorded, CliError> {
    let Some(folder) = folder else { return Ok(calls::shipped().clone()) };
    let recordings = record::read_all(&[folder.to_owned()]).map_err(LinuxError::from)?;
    let mut recorded = calls::from_recordings(&recordings);
    let counted = folder.join("linux.json");
    if counted.is_file() {
        calls::add_instructions(&mut recorded, &read_json(&counted, "pvbench linux ab")?);
    }
    Ok(recorded)
}

/// Measures what a report needs of the running kernel. An error is a reason why the report lacks it.
pub(super) fn measure_for_report(
    plan: RunningKernelPlan,
    cpu: Option<usize>,
    stop: &AtomicBool,
    step: &(dyn Fn(&str) + Sync),
) -> Result<RunningKernel, String> {
    let all = 0..WORKLOADS.len();
    let RunningKernelPlan { wanted, recorded } = plan;
    let is_wanted = |index: &usize| !wanted.claim_only || WORKLOADS[*index].name == CLAIM;
    let wanted = Wanted { workloads: all.filter(is_wanted).collect(), time: wanted.time, cpu };
    let native = measure(&wanted, stop, step).map_err(|error| error.to_string())?;
    match (native.workloads.is_empty(), native.absent.first()) {
        (true, Some(first)) => Err(format!("{}: {}", first.what, first.reason)),
        _ => Ok(RunningKernel { recorded, native }),
    }
}

/// Builds the program, and measures the workloads.
pub(crate) fn measure(wanted: &Wanted, stop: &AtomicBool, step: &(dyn Fn(&str) + Sync)) -> Result<Native, CliError> {
    let root = Root::default();
    let probes = Probes::ask(&root);
    let program = Program::build(stop).map_err(LinuxError::from)?;
    let plan = NativePlan {
        workloads: wanted.workloads.clone(),
        processes: PROCESSES,
        time: wanted.time.mul_f64(1.0 - OVERHEAD_SHARE) / wanted.processes().max(1) as u32,
        cpu: wanted.cpu.or_else(|| probes.measuring_cpu.and_then(|cpu| usize::try_from(cpu).ok())),
    };
    let samples = program.measure(&plan, stop, step).map_err(LinuxError::from)?;
    let ticks_per_second = Clock::Tsc.ticks_per_second(Duration::from_millis(50));
    let mut native = Native {
        kernel: describe_kernel(&root, &Machine::read_probed(&root, &probes)),
        workloads: Vec::new(),
        absent: Vec::new(),
    };
    for samples in &samples {
        let name = samples.workload.name;
        match estimate(samples, ticks_per_second) {
            Ok(found) => native.workloads.push(found),
            Err(reason) => native.absent.push(Unavailable { what: name.to_owned(), reason }),
        }
    }
    Ok(native)
}

fn estimate(samples: &NativeSamples, ticks_per_second: f64) -> Result<Denominator, String> {
    if let Some(failure) = &samples.failure {
        return Err(failure.to_string());
    }
    let NativeSamples { workload, processes, .. } = samples;
    let unit = UnitSamples {
        workload: workload.name,
        unit: workload.unit,
        units: processes.first().map_or(0, |process| process.units),
        processes: processes.iter().map(|process| process.blocks.as_slice()).collect(),
        kernel_shares: processes.iter().filter_map(|process| process.kernel_share).collect(),
        instructions: calls::shipped().workload(workload.name).map(|it| it.instructions),
    };
    denominator(&unit, ticks_per_second).ok_or_else(|| "its windows have no steady time".to_owned())
}
