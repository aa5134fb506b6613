//! Boots of kernels: several at a time, each kernel at several phases of the timer's tick.
//!
//! Counts are independent of the load of the machine, so one boot runs per CPU. They depend on the position of the
//! timer's ticks: from phase to phase, the init process first spends a third of a tick more. The difference between the
//! phases is part of the result.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::output::Record;
use super::qemu::{Boot, Qemu, QemuError};

/// A kernel that is ready to be started.
#[derive(Clone, Debug)]
pub struct PreparedBoots {
    /// Name in messages and tables.
    pub name: String,
    /// The file: a bzImage or vmlinux.
    pub path: PathBuf,
    /// Whether its emulated machine has ACPI.
    pub acpi: bool,
    /// Further boot parameters.
    pub append: String,
    /// Number of its counters; 0 for a kernel without.
    pub counters: usize,
}

/// The plan of a run, the same for every kernel.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Repetitions of every workload. The first has a quarter of the units and is dropped.
    pub reps: u64,
    /// Units, in percent of the default.
    pub scale: u64,
    /// Boots per kernel.
    pub phases: usize,
    /// Bit mask of the workloads.
    pub only: u64,
    /// Time limit of a boot.
    pub timeout: Duration,
    /// Number of parallel boots.
    pub jobs: NonZeroUsize,
}

/// Instructions from phase to phase, at 10^9 instructions per second of guest time: a third of a tick at 100 Hz. At
/// 250 Hz the second and third phase start 0.83 and 0.67 of a tick after the first.
const INSTRUCTIONS_PER_PHASE: u64 = 3_333_334;

/// The result of a boot.
type Outcome = Result<Vec<Record>, QemuError>;

/// Records of all phases of a kernel.
pub type Phases = Vec<Vec<Record>>;

/// The common input of all boots.
pub struct BootContext<'a> {
    /// The emulator.
    pub qemu: &'a Qemu,
    /// The archive with the init process.
    pub archive: &'a Path,
    /// Folder for consoles and results.
    pub folder: &'a Path,
    /// Called with the number of finished boots, and of all boots.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
    /// Set to stop: running boots end at once.
    pub stop: &'a AtomicBool,
}

/// Boots every kernel once per phase, and a kernel with counters once. The result has the order of `kernels`.
///
/// # Errors
/// The first failed boot, in that order. After a failure no further boot starts.
pub fn boot_all(kernels: &[PreparedBoots], plan: &Plan, context: &BootContext) -> Result<Vec<Phases>, QemuError> {
    let phases = |kernel: &PreparedBoots| if kernel.counters > 0 { 1 } else { plan.phases };
    let boots: Vec<(usize, usize)> = kernels
        .iter()
        .enumerate()
        .flat_map(|(index, kernel)| (0..phases(kernel)).map(move |phase| (index, phase)))
        .collect();
    let (next, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failed = AtomicBool::new(false);
    let results: Mutex<Vec<Option<Outcome>>> = Mutex::new(boots.iter().map(|_| None).collect());
    let work = || {
        while !failed.load(Ordering::Relaxed) && !context.stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((index, phase)) = boots.get(at) else { return };
            let Some(kernel) = kernels.get(*index) else { return };
            let result = boot_kernel(kernel, *index, *phase, plan, context);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            if let Some(slot) = results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_mut(at) {
                *slot = Some(result);
            }
            (context.progress)(ended.fetch_add(1, Ordering::Relaxed) + 1, boots.len());
        }
    };
    thread::scope(|scope| {
        // This thread boots, too: if the system refuses further threads, the run only takes longer.
        for _ in 1..plan.jobs.get().min(boots.len()) {
            if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    let mut found: Vec<Phases> = kernels.iter().map(|_| Vec::new()).collect();
    let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    for ((index, _), result) in boots.iter().zip(results) {
        // Boots that never started follow a failed boot, or the run was stopped.
        if let (Some(result), Some(phases)) = (result, found.get_mut(*index)) {
            phases.push(result?);
        }
    }
    Ok(found)
}

fn boot_kernel(kernel: &PreparedBoots, index: usize, phase: usize, plan: &Plan, context: &BootContext) -> Outcome {
    let arguments = list_arguments(plan, phase, kernel.counters);
    let boot = Boot {
        name: &kernel.name,
        kernel: &kernel.path,
        archive: context.archive,
        acpi: kernel.acpi,
        append: &kernel.append,
        arguments: &arguments,
        counters: kernel.counters,
        timeout: plan.timeout,
        plugin: None,
    };
    context.qemu.run_until(&boot, context.folder, &format!("{index}-{phase}"), context.stop)
}

/// The arguments of the guest's init process.
pub(super) fn list_arguments(plan: &Plan, phase: usize, counters: usize) -> String {
    let spin = INSTRUCTIONS_PER_PHASE * phase as u64;
    format!("reps={} scale={} spin={spin} only={} counters={counters}", plan.reps, plan.scale, plan.only)
}
