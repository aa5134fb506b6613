//! Options that all measuring commands share: seed, CPU and clock.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use crate::clock::Clock;
use crate::run::host_context::HostContext;

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
    #[arg(long, value_enum, ignore_case = true)]
    pub clock: Option<Clock>,
}

impl Conditions {
    /// Asks the running system for facts, with the CPU and clock of the options.
    pub(crate) fn host_context(&self) -> HostContext {
        HostContext::ask(self.cpu, self.clock)
    }

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
