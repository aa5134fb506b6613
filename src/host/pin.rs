//! Pinning of a thread to a CPU.

use rustix::thread::{CpuSet, sched_setaffinity};

use super::remember_allowed_cpus;

/// Why this thread cannot be pinned to a CPU: the CPU does not exist or is not allowed.
#[derive(Debug, thiserror::Error)]
#[error("cannot pin to CPU {cpu}: {source}; `pvbench doctor` shows the allowed CPUs")]
pub struct PinError {
    /// The CPU.
    pub(crate) cpu: usize,
    /// The error of the kernel.
    pub(crate) source: rustix::io::Errno,
}

/// Pins this thread to a CPU.
///
/// # Errors
/// [`PinError`] if the CPU does not exist or is not allowed.
pub fn pin(cpu: usize) -> Result<(), PinError> {
    remember_allowed_cpus();
    let mut set = CpuSet::new();
    if cpu < CpuSet::MAX_CPU {
        set.set(cpu);
    }
    sched_setaffinity(None, &set).map_err(|source| PinError { cpu, source })
}
