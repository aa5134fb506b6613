//! Regimes: the measured loops.
//!
//! A loop is one function per mechanism and op. It has [`SITES`] call sites per pass, so that its own decrement and
//! branch weigh little. Values stay alive in registers ([`launder`](crate::op::regs::launder)) instead of memory. All
//! loops are called as a [`Loop`]: pointer to the argument words, number of passes.

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

/// Call sites in an unrolled chain, which has [`SITES`] of them in each copy of the loop.
pub const COLD_SITES: u64 = 4096;

/// A measured loop, called with the four argument words and the number of passes (at least 1). The result only keeps
/// the loop alive.
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
    /// Calls from sites that were evicted from the predictors, each executed once.
    Cold,
    /// Like `Cold`, with the code also flushed from the caches.
    Flushed,
    /// The target of every call is drawn from two.
    Random2,
    /// The target of every call is drawn from four.
    Random4,
    /// The target of every call is drawn from eight.
    Random8,
}

impl Regime {
    /// All regimes, in the order of the tables.
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

    /// The number of targets that a call's target is drawn from; `None` if the target does not change.
    #[must_use]
    pub fn targets(self) -> Option<usize> {
        match self {
            Regime::Random2 => Some(2),
            Regime::Random4 => Some(4),
            Regime::Random8 => Some(8),
            _ => None,
        }
    }

    /// Whether every site is executed once, after it was evicted.
    #[must_use]
    pub fn is_cold(self) -> bool {
        matches!(self, Regime::Cold | Regime::Flushed)
    }

    /// The pair tolerance: the factor within which the two windows of a loop in a round must agree.
    #[must_use]
    pub fn tolerance(self) -> f64 {
        if self.is_cold() { LOOSE } else { CLOSE }
    }

    /// Standard deviation between runs that their workers do not show, as a share of the op's cycles. Runs with other
    /// seeds differ by that much where every call is cold, and by nothing elsewhere. It is known from five runs of one
    /// machine: at half of it runs differ by more than their intervals, at twice of it intervals are half as wide again.
    #[must_use]
    pub fn between_runs(self) -> f64 {
        if self.is_cold() { 0.008 } else { 0.0 }
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

    /// Its description, in one line.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            Regime::Throughput => "independent calls, eight sites per pass",
            Regime::Latency => "each call's first argument depends on the result of the one before",
            Regime::Pressure => "eight values live in registers across every call",
            Regime::Cold => "4,096 sites, each called once after the branch predictors were overrun",
            Regime::Flushed => "as cold, with the code also flushed from the caches",
            Regime::Random2 => "the target drawn from two before every call, in no order that can be learnt",
            Regime::Random4 => "the target drawn from four before every call",
            Regime::Random8 => "the target drawn from eight before every call",
        }
    }
}
