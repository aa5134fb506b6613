//! The clock of the windows: the time-stamp counter if it runs at a constant rate, otherwise the operating system's.

use std::arch::x86_64::{__rdtscp, _mm_lfence, _rdtsc};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

pub mod calibration;

use crate::host::{ClockChoice, CpuFacts, Root, clock_choice};

/// A clock that windows are timed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// `rdtsc`; a tick is one count.
    Tsc,
    /// `CLOCK_MONOTONIC_RAW`; a tick is a nanosecond.
    Os,
}

impl Clock {
    /// Chooses the clock for this machine. Returns it with the reason if it is not the TSC. `asked` can decline the
    /// TSC, but cannot force one that does not run at a constant rate.
    #[must_use]
    pub fn choose(asked: Option<Clock>) -> (Clock, Option<String>) {
        if asked == Some(Clock::Os) {
            return (Clock::Os, Some("the OS clock was asked for".to_owned()));
        }
        match clock_choice(&CpuFacts::read(&Root::default())) {
            ClockChoice::Tsc => (Clock::Tsc, None),
            ClockChoice::Os { reason } => (Clock::Os, Some(reason)),
        }
    }

    /// `tsc` or `os`.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Clock::Tsc => "tsc",
            Clock::Os => "os",
        }
    }

    /// Reads the clock before a window: no instruction of the window has started.
    #[inline(always)]
    #[must_use]
    pub(crate) fn start(self) -> u64 {
        match self {
            // lfence waits for all earlier instructions, and no later one starts early (Intel SDM volume 2, LFENCE; AMD
            // documents the same for the dispatch-serialising LFENCE that Linux turns on).
            // SAFETY: both instructions exist on every x86-64; CR4.TSD was tested by `choose`.
            Clock::Tsc => unsafe {
                _mm_lfence();
                let now = _rdtsc();
                _mm_lfence();
                now
            },
            Clock::Os => os_nanoseconds(),
        }
    }

    /// Reads the clock after a window: all instructions of the window have retired.
    #[inline(always)]
    #[must_use]
    pub(crate) fn stop(self) -> u64 {
        match self {
            // rdtscp waits for all earlier instructions; the lfence keeps later ones out (Intel SDM volume 2, RDTSCP).
            // SAFETY: the instructions must exist: lfence is part of x86-64, and rdtscp of every CPU with an invariant
            // TSC.
            Clock::Tsc => unsafe {
                let mut aux = 0;
                let now = __rdtscp(&raw mut aux);
                _mm_lfence();
                now
            },
            Clock::Os => os_nanoseconds(),
        }
    }

    /// Measures the smallest step of this clock, in ticks. It can exceed 1 (26 ticks, 10 ns, on some machines).
    #[must_use]
    pub(crate) fn step(self) -> u64 {
        let mut last = self.start();
        let mut step = u64::MAX;
        for _ in 0..2000 {
            let now = self.start();
            if now > last {
                step = step.min(now - last);
            }
            last = now;
        }
        // The difference includes the cost of two reads in a row, so it is an upper bound of the step.
        if step == u64::MAX { 1 } else { step }
    }

    /// Measures ticks per second against `CLOCK_MONOTONIC_RAW` over the given time. Exact for the OS clock.
    #[must_use]
    pub fn ticks_per_second(self, during: Duration) -> f64 {
        if self == Clock::Os {
            return 1e9;
        }
        let (ticks, nanoseconds) = self.read_both();
        let until = nanoseconds + during.as_nanos() as u64;
        loop {
            let (ticks_now, nanoseconds_now) = self.read_both();
            if nanoseconds_now >= until {
                return (ticks_now - ticks) as f64 * 1e9 / (nanoseconds_now - nanoseconds) as f64;
            }
        }
    }

    /// Reads both clocks at the same moment. Of eight tries, the one with the shortest read counts.
    fn read_both(self) -> (u64, u64) {
        (0..8)
            .map(|_| {
                let before = self.start();
                let nanoseconds = os_nanoseconds();
                let after = self.start();
                (after - before, (before + (after - before) / 2, nanoseconds))
            })
            .min_by_key(|(took, _)| *took)
            .map_or((0, 0), |(_, pair)| pair)
    }
}

fn os_nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::MonotonicRaw);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
