//! Regimes: the measured loops.
//!
//! A regime is a file with its descriptor and its loop, and a line of the list below.
//!
//! A loop is one function per mechanism and op. It has [`SITES`] call sites per pass, so that its own decrement and
//! branch weigh little. Values stay alive in registers (`launder`) instead of memory. All
//! loops are called as a [`Loop`]: pointer to the argument words, number of passes.

mod cold;
mod descriptor;
mod latency;
mod pressure;
pub mod random;
mod throughput;

pub use latency::latency;
pub use pressure::pressure;
pub use random::random;
pub use throughput::throughput;

use self::descriptor::Descriptor;
use crate::dispatch::Dispatch;
use crate::op::{Args, Op, Ret};

/// Call sites per pass of every loop.
pub const SITES: u64 = 8;

/// Call sites in an unrolled chain, which has [`SITES`] of them in each copy of the loop.
pub const COLD_SITES: u64 = 4096;

/// A measured loop, called with the four argument words and the number of passes (at least 1). The result only keeps
/// the loop alive.
pub type Loop = unsafe extern "C" fn(args: *const [u64; 4], passes: u64) -> u64;

/// The loops of a pair, from which each regime selects its own.
#[derive(Clone, Copy)]
pub struct Loops {
    throughput: Loop,
    /// `None` for an op without an argument or a result.
    latency: Option<Loop>,
    pressure: Loop,
    /// `None` for an op that is not measured with changing targets.
    random: Option<Loop>,
}

impl Loops {
    /// The loops of an op with a mechanism.
    #[must_use]
    pub(crate) const fn new<D: Dispatch, O: Op>() -> Self {
        let chainable = O::Args::ARITY > 0 && O::Ret::HAS_VALUE;
        Loops {
            throughput: throughput::<D, O>,
            latency: if chainable { Some(latency::<D, O> as Loop) } else { None },
            pressure: pressure::<D, O>,
            random: if random::is_measured::<O>() { Some(random::<D, O> as Loop) } else { None },
        }
    }

    /// One loop for the regimes whose code does not depend on the op's arguments.
    #[must_use]
    pub(crate) const fn plain(throughput: Loop) -> Self {
        Loops { throughput, latency: None, pressure: throughput, random: None }
    }

    /// The loop of a regime; `None` if the op has no such loop.
    #[must_use]
    pub(crate) fn select(&self, regime: Regime) -> Option<Loop> {
        (regime.descriptor().select)(self)
    }
}

/// Declares the regimes, each with the descriptor in its file, in the order of the tables.
macro_rules! regimes {
    ($($(#[$doc:meta])* $name:ident: $descriptor:path,)*) => {
        /// The circumstances of a measurement.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize
        )]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[serde(rename_all = "lowercase")]
        pub enum Regime {
            $($(#[$doc])* $name,)*
        }

        impl Regime {
            /// All regimes, in the order of the tables.
            pub const ALL: [Regime; [$(Regime::$name),*].len()] = [$(Regime::$name),*];

            fn descriptor(self) -> &'static Descriptor {
                match self {
                    $(Regime::$name => const { &$descriptor },)*
                }
            }
        }
    };
}

regimes! {
    /// Independent calls, one after the other.
    Throughput: throughput::THROUGHPUT,
    /// Each call waits for the result of the one before.
    Latency: latency::LATENCY,
    /// Eight values live in registers across every call.
    Pressure: pressure::PRESSURE,
    /// Calls from sites that were evicted from the predictors, each executed once.
    Cold: cold::COLD,
    /// Like `Cold`, with the code also flushed from the caches.
    Flushed: cold::FLUSHED,
    /// The target of every call is drawn from two.
    Random2: random::RANDOM2,
    /// The target of every call is drawn from four.
    Random4: random::RANDOM4,
    /// The target of every call is drawn from eight.
    Random8: random::RANDOM8,
}

impl Regime {
    /// The number of targets that a call's target is drawn from; `None` if the target does not change.
    #[must_use]
    pub(crate) fn targets(self) -> Option<usize> {
        self.descriptor().targets
    }

    /// Whether every site is executed once, after it was evicted.
    #[must_use]
    pub(crate) fn is_cold(self) -> bool {
        self.descriptor().is_cold
    }

    /// Whether the code is flushed from the caches before each pass; otherwise it is touched, so that all code is at
    /// the same distance.
    #[must_use]
    pub(crate) fn flushes_code(self) -> bool {
        self.descriptor().flushes_code
    }

    /// The pair tolerance: the factor within which the two windows of a loop in a block must agree.
    #[must_use]
    pub(crate) fn tolerance(self) -> f64 {
        self.descriptor().tolerance
    }

    /// Standard deviation between runs that their workers do not show, as a share of the op's cycles. Runs with
    /// different seeds differ by this share in the cold regimes, and do not differ in the others. Five runs on one
    /// machine gave the value: at half of it runs differ by more than their intervals, at twice of it intervals are
    /// half as wide again.
    #[must_use]
    pub fn between_runs(self) -> f64 {
        if self.is_cold() { 0.008 } else { 0.0 }
    }

    /// Its name in commands and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.descriptor().name
    }

    /// Its description, in one line.
    #[must_use]
    pub(crate) fn summary(self) -> &'static str {
        self.descriptor().summary
    }
}
