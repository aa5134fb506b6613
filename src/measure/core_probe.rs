//! A probe of the core, for benches whose windows have a fixed length: how many ticks a core cycle takes, and how many
//! an independent add.

use super::window::Window;
use crate::clock::Clock;
use crate::clock::calibration::{ADDS, chain, independent};
use crate::stats::location::median;

/// Dependent adds per sample of the core's cycle.
const CHAIN_ADDS: u64 = 100_000;
/// Independent adds per sample of the core throughput, some microseconds.
const INDEPENDENT_ADDS: u64 = 16_000;
/// Samples per measurement of the core throughput. The median counts, since an interrupt is no neighbour.
const THROUGHPUT_SAMPLES: usize = 3;

/// The two loops of a probe, timed by one clock.
pub(crate) struct CoreProbe {
    clock: Clock,
    chain: Window,
    adds: Window,
}

impl CoreProbe {
    /// Prepares the loops.
    pub(crate) fn new(clock: Clock) -> Self {
        let chain = Window { run: chain, copied: None, args: [0; 4], passes: CHAIN_ADDS / ADDS, ops_per_pass: ADDS };
        let adds = Window { run: independent, passes: INDEPENDENT_ADDS / ADDS, ..chain.clone() };
        CoreProbe { clock, chain, adds }
    }

    /// Times a core cycle, in ticks.
    pub(crate) fn ticks_per_cycle(&self) -> f64 {
        self.chain.ticks_per_op(self.clock)
    }

    /// Times a core cycle, in ticks: the median of several samples.
    pub(crate) fn median_ticks_per_cycle(&self, samples: usize) -> f64 {
        self.median(&self.chain, samples)
    }

    /// Times an independent add, in ticks.
    pub(crate) fn ticks_per_add(&self) -> f64 {
        self.median(&self.adds, THROUGHPUT_SAMPLES).max(f64::MIN_POSITIVE)
    }

    /// The median of several windows, in ticks per op. An interrupt lengthens one sample, or shortens it where it falls
    /// into the short window that is subtracted.
    fn median(&self, window: &Window, samples: usize) -> f64 {
        let ticks: Vec<f64> = (0..samples).map(|_| window.ticks_per_op(self.clock)).collect();
        median(&ticks).unwrap_or(0.0)
    }
}
