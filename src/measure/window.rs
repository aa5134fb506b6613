//! A window: one call of a loop,
//!
//! ```text
//! start = clock; loop(args, passes); stop = clock           ticks per op = (long - short) / ((passes - passes / 32) * 8)
//! ```
//!
//! where `short` is the same with a thirty-second of the passes, at once afterwards: what it costs to read the clock
//! and to get in and out of the loop is in both and cancels. A single pass would not do: its last branch is foreseen,
//! that of many passes is not, and the ten cycles in 100,000 were seen as 0.001 cycles in an add. Before both the short
//! one runs untimed, so that neither has to fetch the loop.

use super::loops::Copied;
use crate::clock::Clock;
use crate::regime::Loop;

/// What windows are made longer by, so that the least length is kept where the rate was known to a percent or two.
pub const SPARE: f64 = 1.03;

/// A loop is run with one in so many of its passes before a window, and again after it.
pub const SHORT: u64 = 32;

/// A window of another layout serves where it is not longer than it need be by more than this.
const MAX_SURPLUS: f64 = 1.3;

/// A loop, ready to be timed.
#[derive(Clone)]
pub(super) struct Window {
    pub run: Loop,
    /// The state it is to be in; nothing for loops that are not copies.
    pub copied: Option<Copied>,
    pub args: [u64; 4],
    pub passes: u64,
    pub ops_per_pass: u64,
}

impl Window {
    /// Makes the window `window_ticks` long at least, by doubling. That also warms caches and predictors up.
    pub fn size(&mut self, clock: Clock, window_ticks: u64) {
        loop {
            let mut ticks = self.ticks(clock, self.passes);
            if ticks >= window_ticks / 8 {
                // An interruption must not pass for a long loop: the window would be too short.
                ticks = ticks.min(self.ticks(clock, self.passes));
            }
            // By less, and reading the clock would be a part of it.
            if ticks >= window_ticks / 16 || self.passes >= 1 << 40 {
                let scaled = (self.passes as f64 * window_ticks as f64 / ticks.max(1) as f64).ceil();
                self.passes = (scaled as u64).max(2);
                break;
            }
            self.passes *= if ticks < window_ticks / 64 { 8 } else { 2 };
        }
    }

    /// Takes over the passes that filled a window elsewhere, if an eighth of them takes about an eighth of it here.
    pub fn suits(&mut self, clock: Clock, window_ticks: u64, passes: u64) -> bool {
        let part = (passes / 8).max(1);
        self.call((passes / SHORT).max(1));
        let share = self.ticks(clock, part) as f64 / part as f64 * passes as f64 / window_ticks as f64;
        let suits = (1.0 / SPARE..MAX_SURPLUS).contains(&share);
        if suits {
            self.passes = passes;
        }
        suits
    }

    /// What one call takes.
    #[inline(never)]
    pub fn ticks(&self, clock: Clock, passes: u64) -> u64 {
        let start = clock.start();
        self.call(passes);
        clock.stop().saturating_sub(start)
    }

    /// Runs the loop.
    pub fn call(&self, passes: u64) {
        // SAFETY: `args` was made for this thread's installed CPU model by the op whose loop this is; passes >= 1.
        std::hint::black_box(unsafe { (self.run)(&raw const self.args, passes) });
    }

    /// What an op takes, without what it costs to get in and out; see the head of this file.
    pub fn ticks_per_op(&self, clock: Clock) -> f64 {
        let short = (self.passes / SHORT).max(1);
        self.call(short);
        let (long, ends) = (self.ticks(clock, self.passes) as f64, self.ticks(clock, short) as f64);
        (long - ends) / ((self.passes - short).max(1) * self.ops_per_pass) as f64
    }
}
