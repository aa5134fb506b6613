//! Options and steps that all measuring commands share: seed, CPU and clock, and the start of workers.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use super::error::{self, CliError};
use crate::clock::Clock;
use crate::host::Probes;
use crate::host::pin;

/// Options of every command that measures.
#[derive(Args)]
pub struct Conditions {
    /// Seed of everything random in the run (default: drawn, and printed)
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// CPU to pin the workers to (default: the highest that is allowed)
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,
    /// Clock that times the windows (default: the TSC if it has a constant rate, else the OS clock)
    #[arg(long, value_enum)]
    pub clock: Option<Clock>,
}

impl Conditions {
    /// Returns the seed of `--seed`, or draws one.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(draw_seed)
    }
}

/// Draws a seed of at most six digits, short enough to be typed again.
fn draw_seed() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since_1970.subsec_nanos()) % 1_000_000
}

/// Checks that the workers' CPU can be pinned to, then moves this process to the other allowed CPUs, if any.
///
/// # Errors
/// The CPU does not exist or is not allowed.
pub fn keep_off(cpu: usize, probes: &Probes) -> Result<(), CliError> {
    pin(cpu)?;
    let allowed = probes.cpus_allowed.as_deref().unwrap_or_default();
    let mut others = rustix::thread::CpuSet::new();
    for &other in allowed.iter().filter(|&&other| other as usize != cpu) {
        others.set(other as usize);
    }
    if others.count() > 0 && rustix::thread::sched_setaffinity(None, &others).is_err() {
        error::warn(
            "the parent process stays on the workers' CPU, as it could not be moved; it hardly runs while they measure",
        );
    }
    Ok(())
}

/// Returns the command that starts a worker process.
pub fn worker_command() -> Command {
    // This path starts the same binary even if its file was replaced since.
    let mut command = Command::new("/proc/self/exe");
    command.arg("worker");
    command
}
