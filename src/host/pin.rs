//! Pinning a thread to a CPU.

use rustix::thread::{CpuSet, sched_setaffinity};

use super::remember_allowed_cpus;

/// A CPU that this thread cannot be pinned to: it does not exist, or it is not allowed.
#[derive(Debug, thiserror::Error)]
#[error("cannot pin to CPU {cpu}: {source}; `pvbench doctor` says which CPUs are allowed")]
pub struct PinError {
    /// Which.
    pub cpu: usize,
    /// What the kernel said.
    pub source: rustix::io::Errno,
}

/// Pins this thread.
///
/// # Errors
/// [`PinError`] where the CPU does not exist or is not allowed.
pub fn pin(cpu: usize) -> Result<(), PinError> {
    remember_allowed_cpus();
    let mut set = CpuSet::new();
    if cpu < CpuSet::MAX_CPU {
        set.set(cpu);
    }
    sched_setaffinity(None, &set).map_err(|source| PinError { cpu, source })
}
