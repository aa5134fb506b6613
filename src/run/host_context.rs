//! Facts about machine and clock before anything is measured: what a plan depends on.

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::clock::Clock;
use crate::host::{PinError, Probes, Root, pin};
use crate::measure::loops::code_memory;
use crate::measure::separate_cores::have_separate_cores;
use crate::relocate::CodeError;
use crate::suite::Suite;
use crate::workload;

/// Number of other CPUs that are tested as second CPU: a core has two hyperthreads, or four.
const MAX_TESTED_CPUS: usize = 4;
/// Number of tests of each CPU. Another guest that comes and goes can make two CPUs seem to share a core, but nothing
/// makes hyperthreads of one core seem to have separate cores.
const MAX_TESTS_PER_CPU: usize = 3;

/// Facts about machine and clock before anything is measured.
pub struct HostContext {
    /// The answers of the running system.
    pub(crate) probes: Probes,
    /// The clock that times windows.
    pub(crate) clock: Clock,
    /// Why it is not the time stamp counter, if it is not.
    pub(crate) clock_reason: Option<String>,
    /// Why loops cannot be copied, if they cannot.
    pub(crate) immovable: Option<CodeError>,
    /// The CPU that was asked for.
    asked_cpu: Option<usize>,
}

impl HostContext {
    /// Asks the running system, and chooses CPU and clock, where none was asked for.
    #[must_use]
    pub(crate) fn ask(cpu: Option<usize>, clock: Option<Clock>) -> Self {
        let mut probes = Probes::ask(&Root::default());
        let (clock, clock_reason) = Clock::choose(clock);
        if let Some(cpu) = cpu {
            probes.measuring_cpu = u32::try_from(cpu).ok();
        }
        HostContext { probes, clock, clock_reason, immovable: code_memory().err(), asked_cpu: cpu }
    }

    /// Whether loops can be copied to chosen addresses.
    #[must_use]
    pub(crate) fn movable(&self) -> bool {
        self.immovable.is_none()
    }

    /// Returns the CPU to measure on.
    #[must_use]
    pub(crate) fn cpu(&self) -> Option<usize> {
        self.asked_cpu.or(self.probes.measuring_cpu.map(|cpu| cpu as usize))
    }

    /// Returns a second CPU that has a separate core, to measure these workloads on at the same time.
    ///
    /// It is `None` in three cases: a CPU was asked for, which reserves that one only; a workload runs on several CPUs
    /// itself; no CPU with a separate core is found.
    #[must_use]
    pub(crate) fn second_cpu(&self, suite: &Suite, workloads: &[String]) -> Option<usize> {
        let chosen = |entry: &&workload::WorkloadEntry| workloads.iter().any(|name| *name == entry.meta.name);
        let alone = suite.workloads().iter().filter(chosen).all(|entry| entry.cpus == 1);
        if self.asked_cpu.is_some() || !alone || workloads.is_empty() {
            return None;
        }
        let cpu = self.cpu()?;
        let mut others: Vec<usize> =
            self.probes.cpus_allowed.as_deref().unwrap_or_default().iter().map(|cpu| *cpu as usize).collect();
        others.retain(|other| *other != cpu);
        // Most interrupts go to the first CPUs, so the last ones are tested first.
        others.sort_unstable_by(|a, b| b.cmp(a));
        let is_separate = |other: &usize| (0..MAX_TESTS_PER_CPU).any(|_| have_separate_cores(cpu, *other, self.clock));
        others.into_iter().take(MAX_TESTED_CPUS).find(is_separate)
    }
}

/// Checks that the workers' CPU can be pinned to, then moves this process to the other allowed CPUs, if any. Returns
/// whether this process has left the workers' CPU, or has no other.
///
/// # Errors
/// [`PinError`] where the CPU does not exist or is not allowed.
pub(crate) fn keep_off(cpu: usize, probes: &Probes) -> Result<bool, PinError> {
    pin(cpu)?;
    let allowed = probes.cpus_allowed.as_deref().unwrap_or_default();
    let mut others = CpuSet::new();
    for &other in allowed.iter().filter(|&&other| other as usize != cpu) {
        others.set(other as usize);
    }
    Ok(others.count() == 0 || sched_setaffinity(None, &others).is_ok())
}

/// The warning where [`keep_off`] returns false.
pub(crate) const STAYS: &str =
    "the parent process stays on the workers' CPU, as it could not be moved; it hardly runs while they measure";
