//! Time in which this process ran. A timeout on another process counts only this time.

use std::time::{Duration, Instant};

/// Longest time between two polls that is counted. A longer one counts as this: this process was stopped, suspended or
/// frozen, and the process that it waits for may have been, too. Polls come every 50 ms. Half of this value would not
/// count all delays of a busy machine; twice this value would count more of each stop.
const MAX_STEP: Duration = Duration::from_millis(200);

/// The time for which this process has run since it began to wait, up to the last poll.
#[derive(Debug)]
pub(crate) struct OwnTime {
    last: Instant,
    passed: Duration,
}

impl OwnTime {
    /// Begins to count at 0.
    #[must_use]
    pub(crate) fn start() -> Self {
        OwnTime { last: Instant::now(), passed: Duration::ZERO }
    }

    /// Begins to count as if the last poll were `time` ago.
    #[cfg(test)]
    pub(crate) fn from_before(time: Duration) -> Self {
        let mut own = OwnTime::start();
        own.last = own.last.checked_sub(time).unwrap_or(own.last);
        own
    }

    /// Begins to count at 0 again.
    pub(crate) fn restart(&mut self) {
        *self = OwnTime::start();
    }

    /// Polls the clock, which must happen about every 50 ms. Returns the time in which this process ran.
    pub(crate) fn look(&mut self) -> Duration {
        self.count_until(Instant::now())
    }

    fn count_until(&mut self, now: Instant) -> Duration {
        self.passed += now.saturating_duration_since(self.last).min(MAX_STEP);
        self.last = now;
        self.passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_time_between_two_polls_counts_as_one_step() {
        let mut time = OwnTime::start();
        let mut now = time.last;
        for _ in 0..20 {
            now += Duration::from_millis(50);
            time.count_until(now);
        }
        assert_eq!(time.count_until(now), Duration::from_secs(1));
        now += Duration::from_secs(3600);
        assert_eq!(time.count_until(now), Duration::from_secs(1) + MAX_STEP);
    }
}
