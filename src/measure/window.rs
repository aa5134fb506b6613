//! A window: one call of a loop,
//!
//! ```text
//! start = clock; loop(args, passes); stop = clock
//!     ticks per op = (long - short) / ((passes - passes / 32) * 8)
//! ```
//!
//! where `short` is the same loop with 1/32 of the passes, directly afterwards. Both include the cost of reading the
//! clock and of entering and leaving the loop, so it cancels. A single pass would not do: predictors foresee its last
//! branch, but not that of many passes. The ten cycles in 100,000 appeared as 0.001 cycles in an add. Before both, an
//! untimed short run fetches the loop.

use super::loops::Copied;
use crate::clock::Clock;
use crate::regime::Loop;

/// Factor by which windows exceed their shortest length, so that they keep it with a rate known to a percent or two.
pub(crate) const SPARE: f64 = 1.03;

/// Ratio of the passes of a window to those of the short runs before and after it.
pub const SHORT: u64 = 32;

/// Longest window, as a multiple of the needed length, that is accepted with the passes of another layout.
const MAX_SURPLUS: f64 = 1.3;

/// A loop, ready to be timed.
#[derive(Clone)]
pub(super) struct Window {
    pub(crate) run: Loop,
    /// The copy with its state; `None` for loops that are not copies.
    pub(crate) copied: Option<Copied>,
    pub(crate) args: [u64; 4],
    pub(crate) passes: u64,
    pub(crate) ops_per_pass: u64,
}

impl Window {
    /// Doubles the passes until the window is at least `window_ticks` long. That also warms caches and predictors.
    pub(crate) fn size(&mut self, clock: Clock, window_ticks: u64) {
        loop {
            let mut ticks = self.ticks(clock, self.passes);
            if ticks >= window_ticks / 8 {
                // An interruption must not look like a long loop: the window would be too short.
                ticks = ticks.min(self.ticks(clock, self.passes));
            }
            // With fewer ticks, reading the clock would be part of the estimate.
            if ticks >= window_ticks / 16 || self.passes >= 1 << 40 {
                let scaled = (self.passes as f64 * window_ticks as f64 / ticks.max(1) as f64).ceil();
                self.passes = (scaled as u64).max(2);
                break;
            }
            self.passes *= if ticks < window_ticks / 64 { 8 } else { 2 };
        }
    }

    /// Takes over the passes of another layout, if an eighth of them takes about an eighth of the window here.
    pub(crate) fn adopt_passes(&mut self, clock: Clock, window_ticks: u64, passes: u64) -> bool {
        let part = (passes / 8).max(1);
        self.call((passes / SHORT).max(1));
        let length = self.ticks(clock, part) as f64 / part as f64 * passes as f64 / window_ticks as f64;
        let suits = (1.0 / SPARE..MAX_SURPLUS).contains(&length);
        if suits {
            self.passes = passes;
        }
        suits
    }

    /// Times one call.
    #[inline(never)]
    pub(crate) fn ticks(&self, clock: Clock, passes: u64) -> u64 {
        let start = clock.start();
        self.call(passes);
        clock.stop().saturating_sub(start)
    }

    /// Runs the loop.
    pub(crate) fn call(&self, passes: u64) {
        // SAFETY: `args` was made for this thread's installed CPU model by the op whose loop this is; passes >= 1.
        std::hint::black_box(unsafe { (self.run)(&raw const self.args, passes) });
    }

    /// Times an op, without the cost of entering and leaving the loop; see the head of this file.
    pub(crate) fn ticks_per_op(&self, clock: Clock) -> f64 {
        let short = (self.passes / SHORT).max(1);
        self.call(short);
        let (long, short_ticks) = (self.ticks(clock, self.passes) as f64, self.ticks(clock, short) as f64);
        (long - short_ticks) / ((self.passes - short).max(1) * self.ops_per_pass) as f64
    }
}
