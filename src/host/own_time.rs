//! Time in which this process ran: what a limit on somebody else's silence may count.

use std::time::{Duration, Instant};

/// A longer time between two looks counts as this one: this process was stopped, suspended or frozen meanwhile, and
/// what it waits for may have been, too. Looks come every 50 ms; half of this would not count all of a busy machine's
/// delays, twice of it would count more of each stop.
const MAX_STEP: Duration = Duration::from_millis(200);

/// How long this process ran since it began to wait, as far as it looked.
#[derive(Debug)]
pub struct OwnTime {
    last: Instant,
    passed: Duration,
}

impl OwnTime {
    /// Begins to count.
    #[must_use]
    pub fn start() -> Self {
        OwnTime { last: Instant::now(), passed: Duration::ZERO }
    }

    /// As if nobody had looked for so long.
    #[cfg(test)]
    pub(crate) fn from_before(time: Duration) -> Self {
        let mut own = OwnTime::start();
        own.last = own.last.checked_sub(time).unwrap_or(own.last);
        own
    }

    /// Counts from now on.
    pub fn restart(&mut self) {
        *self = OwnTime::start();
    }

    /// Looks at the clock; to be called every 50 ms or so. Returns the time in which this process ran.
    pub fn look(&mut self) -> Duration {
        self.look_at(Instant::now())
    }

    fn look_at(&mut self, now: Instant) -> Duration {
        self.passed += now.saturating_duration_since(self.last).min(MAX_STEP);
        self.last = now;
        self.passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_looks_is_no_time_in_which_the_process_ran() {
        let mut time = OwnTime::start();
        let mut now = time.last;
        for _ in 0..20 {
            now += Duration::from_millis(50);
            time.look_at(now);
        }
        assert_eq!(time.look_at(now), Duration::from_secs(1));
        now += Duration::from_secs(3600);
        assert_eq!(time.look_at(now), Duration::from_secs(1) + MAX_STEP);
    }
}
