//! Regimes: the loops that are measured.
//!
//! Each is one function per (mechanism, op), with [`SITES`] call sites per pass so that the loop's own decrement and
//! branch are not what is measured, and with values kept alive in registers ([`launder`](crate::op::regs::launder))
//! instead of memory. All are called as [`Loop`]: pointer to the argument words, number of passes.

mod latency;
mod pressure;
mod throughput;

pub use latency::latency;
pub use pressure::pressure;
pub use throughput::throughput;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Call sites per pass of every loop.
pub const SITES: u64 = 8;

/// A measured loop: the four argument words, passes (at least 1). The result only keeps the loop alive.
pub type Loop = unsafe extern "C" fn(args: *const [u64; 4], passes: u64) -> u64;

/// The circumstances of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Regime {
    /// Independent calls, one after the other.
    Throughput,
    /// Each call waits for the result of the one before.
    Latency,
    /// Eight values live in registers across every call.
    Pressure,
}

impl Regime {
    /// All of them, in the order of the tables.
    pub const ALL: [Regime; 3] = [Regime::Throughput, Regime::Latency, Regime::Pressure];

    /// Its name in commands and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Regime::Throughput => "throughput",
            Regime::Latency => "latency",
            Regime::Pressure => "pressure",
        }
    }

    /// What it is, in a line.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            Regime::Throughput => "independent calls, eight sites per pass",
            Regime::Latency => "each call's first argument depends on the result of the one before",
            Regime::Pressure => "eight values live in registers across every call",
        }
    }
}
