//! What all commands that measure share: seed, CPU and clock, and how their workers are started.

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
    /// Where everything random comes from; drawn and printed without it
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The CPU to pin the workers to (default: the highest allowed)
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,
    /// The clock to time with (default: the TSC where it runs at a constant rate)
    #[arg(long, value_enum)]
    pub clock: Option<Clock>,
}

impl Conditions {
    /// The seed that was asked for, or another each time.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(drawn_seed)
    }
}

/// A seed that is short enough to be typed again.
fn drawn_seed() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since_1970.subsec_nanos()) % 1_000_000
}

/// Tries the workers' CPU, then moves this process to the others where there are any.
pub fn keep_off(cpu: usize, probes: &Probes) -> Result<(), CliError> {
    pin(cpu)?;
    let allowed = probes.cpus_allowed.as_deref().unwrap_or_default();
    let mut others = rustix::thread::CpuSet::new();
    for &other in allowed.iter().filter(|&&other| other as usize != cpu) {
        others.set(other as usize);
    }
    if others.count() > 0 && rustix::thread::sched_setaffinity(None, &others).is_err() {
        error::warn("the parent could not be moved off the workers' CPU; it hardly runs while they measure");
    }
    Ok(())
}

pub fn worker_command() -> Command {
    // The same binary even where its file was replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg("worker");
    command
}
