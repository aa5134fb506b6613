//! Regimes: the loops that are measured.
//!
//! Each is one function per (mechanism, op), with [`SITES`] call sites per pass so that the loop's own decrement and
//! branch are not what is measured, and with values kept alive in registers ([`launder`](crate::op::regs::launder))
//! instead of memory. All are called as [`Loop`]: pointer to the argument words, number of passes.

mod latency;
mod pressure;
pub mod random;
mod throughput;

pub use latency::latency;
pub use pressure::pressure;
pub use random::random;
pub use throughput::throughput;

use serde::{Deserialize, Serialize};

use crate::stats::effect::{CLOSE, LOOSE};

/// Call sites per pass of every loop.
pub const SITES: u64 = 8;

/// Call sites that a cold traversal visits: so many passes, each in a copy of the loop.
pub const COLD_SITES: u64 = 4096;

/// A measured loop: the four argument words, passes (at least 1). The result only keeps the loop alive.
pub type Loop = unsafe extern "C" fn(args: *const [u64; 4], passes: u64) -> u64;

/// The circumstances of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Regime {
    /// Independent calls, one after the other.
    Throughput,
    /// Each call waits for the result of the one before.
    Latency,
    /// Eight values live in registers across every call.
    Pressure,
    /// Calls from sites that the predictors have forgotten, each executed once.
    Cold,
    /// The same, with the code flushed from the caches, too.
    Flushed,
    /// The target is drawn from two before every call.
    Random2,
    /// From four.
    Random4,
    /// From eight.
    Random8,
}

impl Regime {
    /// All of them, in the order of the tables.
    pub const ALL: [Regime; 8] = [
        Regime::Throughput,
        Regime::Latency,
        Regime::Pressure,
        Regime::Cold,
        Regime::Flushed,
        Regime::Random2,
        Regime::Random4,
        Regime::Random8,
    ];

    /// How many targets a call's is drawn from; `None` where it does not change.
    #[must_use]
    pub fn targets(self) -> Option<usize> {
        match self {
            Regime::Random2 => Some(2),
            Regime::Random4 => Some(4),
            Regime::Random8 => Some(8),
            _ => None,
        }
    }

    /// Whether every site is executed once, after the machine was made to forget it.
    #[must_use]
    pub fn is_cold(self) -> bool {
        matches!(self, Regime::Cold | Regime::Flushed)
    }

    /// Within which factor the two windows of a loop in a round agree.
    #[must_use]
    pub fn tolerance(self) -> f64 {
        if self.is_cold() { LOOSE } else { CLOSE }
    }

    /// Its name in commands and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Regime::Throughput => "throughput",
            Regime::Latency => "latency",
            Regime::Pressure => "pressure",
            Regime::Cold => "cold",
            Regime::Flushed => "flushed",
            Regime::Random2 => "random2",
            Regime::Random4 => "random4",
            Regime::Random8 => "random8",
        }
    }

    /// What it is, in a line.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            Regime::Throughput => "independent calls, eight sites per pass",
            Regime::Latency => "each call's first argument depends on the result of the one before",
            Regime::Pressure => "eight values live in registers across every call",
            Regime::Cold => "4,096 sites, each called once after the branch predictors were overrun",
            Regime::Flushed => "the same, the code flushed from the caches, too",
            Regime::Random2 => "the target drawn from two before every call, in no order that can be learnt",
            Regime::Random4 => "the target drawn from four",
            Regime::Random8 => "the target drawn from eight",
        }
    }
}
