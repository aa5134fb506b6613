//! Booting kernels, several at a time and each at several phases of the timer's tick.
//!
//! Counts do not depend on what else the machine does, so that as many boots run at once as there are CPUs. They do
//! depend on where the timer's ticks fall: the init process spends some instructions first, a third of a tick more from
//! boot to boot, and what the phases differ by is part of the result.

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
    /// What messages and tables call it.
    pub name: String,
    /// bzImage or vmlinux.
    pub path: PathBuf,
    /// Whether it is given a machine with ACPI.
    pub acpi: bool,
    /// Its own boot parameters.
    pub append: String,
    /// How many counters it has; 0 for one that is as it came.
    pub counters: usize,
}

/// What is run on every kernel.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Repetitions of every workload, of which the first, a quarter as long, is dropped.
    pub reps: u64,
    /// Percent of the usual number of units.
    pub scale: u64,
    /// Boots of a kernel.
    pub phases: usize,
    /// Which workloads: a bit for each.
    pub only: u64,
    /// How long a boot may take.
    pub timeout: Duration,
    /// Boots at a time.
    pub jobs: NonZeroUsize,
}

/// A third of a tick at 100 Hz; at 250 Hz 0.83 and 0.67 of one. The guest has 10^9 instructions per second.
const PHASE: u64 = 3_333_334;

/// What came of a boot.
type Outcome = Result<Vec<Record>, QemuError>;

/// Results of all phases of a kernel.
pub type Phases = Vec<Vec<Record>>;

/// What the boots need beside the kernels.
pub struct BootContext<'a> {
    /// The emulator.
    pub qemu: &'a Qemu,
    /// The archive with the init process.
    pub archive: &'a Path,
    /// Where consoles and results are left.
    pub folder: &'a Path,
    /// Called with the number of boots that ended, and of all.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
    /// Set to give up: boots under way end at once.
    pub stop: &'a AtomicBool,
}

/// Boots every kernel so often as the plan says; a kernel that counts is booted once. In the order of `kernels`.
///
/// # Errors
/// The first boot that failed, in that order. No further ones are begun after one failed.
pub fn all(kernels: &[PreparedBoots], plan: &Plan, means: &BootContext) -> Result<Vec<Phases>, QemuError> {
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
        while !failed.load(Ordering::Relaxed) && !means.stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((index, phase)) = boots.get(at) else { return };
            let Some(kernel) = kernels.get(*index) else { return };
            let result = one(kernel, *index, *phase, plan, means);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            if let Some(slot) = results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_mut(at) {
                *slot = Some(result);
            }
            (means.progress)(ended.fetch_add(1, Ordering::Relaxed) + 1, boots.len());
        }
    };
    thread::scope(|scope| {
        // This thread boots, too, so that a refused thread costs time only.
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
        // What was never begun stands behind something that failed, or was stopped.
        if let (Some(result), Some(phases)) = (result, found.get_mut(*index)) {
            phases.push(result?);
        }
    }
    Ok(found)
}

fn one(kernel: &PreparedBoots, index: usize, phase: usize, plan: &Plan, means: &BootContext) -> Outcome {
    let arguments = format!(
        "reps={} scale={} spin={} only={} counters={}",
        plan.reps,
        plan.scale,
        PHASE * phase as u64,
        plan.only,
        kernel.counters
    );
    let boot = Boot {
        name: &kernel.name,
        kernel: &kernel.path,
        archive: means.archive,
        acpi: kernel.acpi,
        append: &kernel.append,
        arguments: &arguments,
        counters: kernel.counters,
        timeout: plan.timeout,
    };
    means.qemu.run_until(&boot, means.folder, &format!("{index}-{phase}"), means.stop)
}
