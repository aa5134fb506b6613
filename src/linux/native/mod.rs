//! The denominator: how long the workloads of the guest take as ordinary processes of the running kernel.
//!
//! A freestanding program of the guest's own sources runs one workload. It is measured in
//! [blocks](crate::measure::block) like everything else, in several processes, because a process has its own pages.

mod kernel;
mod process;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::compile::{CompileError, Embedded, cache_folder, find_rustc};
use super::workload::{GuestWorkload, WORKLOADS};
use crate::clock::Clock;
use crate::host::{PinError, pin};
use crate::measure::block::{Bench, palindrome};
use crate::measure::core_probe::CoreProbe;
use crate::measure::samples::{Block, Probe};
use crate::report::write::temporary::TemporaryFolder;
pub use kernel::describe as describe_kernel;
pub use process::ProcessError;
use process::{PROGRAM, Process};

/// The sources: those of the init process, with windows in place of its records.
const SOURCES: [(&str, &str); 6] = [
    ("main.rs", include_str!("../guest/native.rs")),
    ("linux.rs", include_str!("../guest/linux.rs")),
    ("records.rs", include_str!("../guest/windows.rs")),
    ("workloads.rs", include_str!("../guest/workloads.rs")),
    ("sequence.rs", include_str!("../../workload/sequence.rs")),
    ("random.rs", include_str!("../../workload/random.rs")),
];

/// Length of a window. The process wakes up for each, which takes microseconds.
const WINDOW: Duration = Duration::from_millis(2);
/// Windows that are not timed: the first ones fill the caches of the kernel.
const WARM_UP: Duration = Duration::from_millis(8);

/// What to measure.
#[derive(Clone, Debug)]
pub struct NativePlan {
    /// Indexes of the workloads.
    pub workloads: Vec<usize>,
    /// Processes for each workload.
    pub processes: usize,
    /// Time for all windows of a process.
    pub time: Duration,
    /// The CPU that the processes run on.
    pub cpu: Option<usize>,
}

/// The samples of a workload.
#[derive(Debug)]
pub struct NativeSamples {
    /// The workload.
    pub workload: &'static GuestWorkload,
    /// The blocks of each process, in ticks per unit.
    pub processes: Vec<ProcessSamples>,
    /// Why the workload, or the rest of it, was not measured.
    pub failure: Option<ProcessError>,
}

/// The samples of a process.
#[derive(Debug)]
pub struct ProcessSamples {
    /// The blocks, in ticks per unit.
    pub blocks: Vec<Block<f64>>,
    /// Units per window.
    pub units: u64,
    /// Share of the cycles that the kernel took.
    pub kernel_share: Option<f64>,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    /// The program cannot be built.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The folder of the program cannot be made.
    #[error("{} cannot be written: {source}; set XDG_CACHE_HOME to another folder", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The CPU cannot be used.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The clock is not the time stamp counter.
    #[error("the workloads are timed by the time stamp counter, which is not used here: {0}")]
    Clock(String),
    /// The thread that measures could not be started, or ended early.
    #[error("the thread that measures the workloads failed: {0}; `pvbench doctor` shows what is exhausted")]
    Thread(String),
    /// The run was interrupted.
    #[error("interrupted")]
    Interrupted,
}

/// The program, in a folder of its own.
pub struct Program {
    folder: TemporaryFolder,
}

impl Program {
    /// Builds the program, or takes a cached one of the same sources and compiler.
    ///
    /// # Errors
    /// If the compiler is missing, fails or is stopped, or the folder cannot be made.
    pub fn build(stop: &AtomicBool) -> Result<Self, NativeError> {
        let embedded = Embedded { name: "native", sources: &SOURCES, options: &super::guest::OPTIONS };
        let cache = cache_folder();
        let (built, _) = embedded.build(&find_rustc(), &cache, stop)?;
        let folder_error = |source| NativeError::Folder { path: cache.clone(), source };
        let folder = TemporaryFolder::new(&cache, "native").map_err(folder_error)?;
        fs::copy(built, folder.path().join(PROGRAM)).map_err(folder_error)?;
        Ok(Program { folder })
    }

    /// Measures the workloads of a plan, in turn, one process of each after another. `step` is called with the name of
    /// each.
    ///
    /// # Errors
    /// If no process can be measured. The failure of a single workload is in its samples.
    pub fn measure(
        &self,
        plan: &NativePlan,
        stop: &AtomicBool,
        step: &(dyn Fn(&str) + Sync),
    ) -> Result<Vec<NativeSamples>, NativeError> {
        if let (Clock::Os, reason) = Clock::choose(None) {
            return Err(NativeError::Clock(reason.unwrap_or_else(|| "the OS clock is used".to_owned())));
        }
        // The affinity belongs to a thread, and its processes inherit it.
        thread::scope(|scope| {
            let work = || {
                if let Some(cpu) = plan.cpu {
                    pin(cpu)?;
                }
                measure_all(self.folder.path(), plan, stop, step)
            };
            let spawned = thread::Builder::new().spawn_scoped(scope, work);
            let thread = spawned.map_err(|error| NativeError::Thread(error.to_string()))?;
            thread.join().map_err(|_| NativeError::Thread("it panicked".to_owned()))?
        })
    }
}

fn measure_all(
    folder: &Path,
    plan: &NativePlan,
    stop: &AtomicBool,
    step: &(dyn Fn(&str) + Sync),
) -> Result<Vec<NativeSamples>, NativeError> {
    let ticks = Clock::Tsc.ticks_per_second(Duration::from_millis(20));
    let chosen = plan.workloads.iter().filter_map(|index| Some((*index, WORKLOADS.get(*index)?)));
    let mut all: Vec<(usize, NativeSamples)> = chosen
        .map(|(index, workload)| (index, NativeSamples { workload, processes: Vec::new(), failure: None }))
        .collect();
    for _ in 0..plan.processes {
        for (index, samples) in all.iter_mut().filter(|(_, samples)| samples.failure.is_none()) {
            if stop.load(Ordering::Relaxed) {
                return Err(NativeError::Interrupted);
            }
            step(samples.workload.name);
            match measure_process(folder, *index, plan.time, ticks) {
                Ok(process) => samples.processes.push(process),
                Err(failure) => samples.failure = Some(failure),
            }
        }
    }
    Ok(all.into_iter().map(|(_, samples)| samples).collect())
}

/// Measures a workload in a process of its own.
fn measure_process(
    folder: &Path,
    workload: usize,
    time: Duration,
    ticks_per_second: f64,
) -> Result<ProcessSamples, ProcessError> {
    let mut process = Process::start(folder, workload)?;
    let units = find_units(&mut process, ticks_per_second)?;
    let mut bench = ProcessBench { process, core: CoreProbe::new(Clock::Tsc), units };
    let mut blocks = Vec::new();
    let began = Instant::now();
    while blocks.is_empty() || began.elapsed() < time {
        blocks.extend(palindrome(&mut bench, &[0], 1)?);
    }
    Ok(ProcessSamples { blocks, units, kernel_share: bench.process.kernel_share() })
}

/// Finds the units of a window, and warms up.
fn find_units(process: &mut Process, ticks_per_second: f64) -> Result<u64, ProcessError> {
    let wanted = WINDOW.as_secs_f64() * ticks_per_second;
    let mut units = 1u64;
    let took = loop {
        let took = process.window(units)?.max(1) as f64;
        if took >= wanted / 4.0 || units >= 1 << 30 {
            break took;
        }
        units *= 2;
    };
    units = ((units as f64 * wanted / took).ceil() as u64).max(1);
    let began = Instant::now();
    let mut fastest = f64::INFINITY;
    while began.elapsed() < WARM_UP {
        fastest = fastest.min(process.window(units)?.max(1) as f64);
    }
    // The first windows may have been slower than all that follow.
    Ok(if fastest.is_finite() { ((units as f64 * wanted / fastest).ceil() as u64).max(1) } else { units })
}

/// A process as a bench with one variant.
struct ProcessBench {
    process: Process,
    core: CoreProbe,
    units: u64,
}

impl Bench for ProcessBench {
    type Ticks = f64;
    type Error = ProcessError;

    const PROBE_BETWEEN_HALVES: bool = false;

    fn begin_half(&mut self) -> Result<(), ProcessError> {
        Ok(())
    }

    fn probe(&mut self) -> Result<Probe<f64>, ProcessError> {
        let [ticks_per_cycle, ticks_per_add] = [self.core.ticks_per_cycle(), self.core.ticks_per_add()];
        Ok(Probe { ticks_per_cycle, ticks_per_add, reference_run: None })
    }

    fn goes_on(&self, _: &Probe<f64>) -> bool {
        true
    }

    fn time(&mut self, _: usize) -> Result<f64, ProcessError> {
        Ok(self.process.window(self.units)? as f64 / self.units as f64)
    }
}
