//! What surrounds the hooks in executed code: how dense they are, how far apart, and how warm their lines are.

use serde::{Deserialize, Serialize};

use super::location::quantile;
use super::reuse::{Distance, Reuse};

/// Bytes of a cache line, as a power of two.
pub const LINE_BITS: u32 = 6;
/// Lines of a usual first-level cache of 32 KiB.
pub const FIRST_LEVEL_LINES: u64 = 512;

/// The surroundings of hooks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Surroundings {
    /// Executed instructions that were looked at.
    pub instructions: u64,
    /// Calls of hooks per 1,000 instructions.
    pub hooks_per_1000: f64,
    /// Instructions from one hook to the next: a tenth of the distances is below.
    pub distance_p10: f64,
    /// Half of the distances are below.
    pub distance_median: f64,
    /// Nine tenths of the distances are below.
    pub distance_p90: f64,
    /// Share of the calls whose line of code is used for the first time, or after 512 other lines or more.
    pub cold_share: f64,
}

/// Collects executed instructions in their order.
#[derive(Debug)]
pub struct SurroundingsCounter {
    reuse: Reuse,
    line: Option<u64>,
    distance: Distance,
    instructions: u64,
    last_hook: Option<u64>,
    distances: Vec<f64>,
    hooks: u64,
    cold: u64,
    room: usize,
}

impl SurroundingsCounter {
    /// Prepares for at most `uses` changes of the line; what follows is left out.
    #[must_use]
    pub fn new(uses: usize) -> Self {
        SurroundingsCounter {
            reuse: Reuse::new(uses),
            line: None,
            distance: Distance::First,
            instructions: 0,
            last_hook: None,
            distances: Vec::new(),
            hooks: 0,
            cold: 0,
            room: uses,
        }
    }

    /// Adds an executed instruction.
    pub fn add(&mut self, address: u64, is_hook: bool) {
        let line = address >> LINE_BITS;
        if self.line != Some(line) {
            let Some(room) = self.room.checked_sub(1) else { return };
            self.room = room;
            self.distance = self.reuse.touch(line);
            self.line = Some(line);
        }
        self.instructions += 1;
        if is_hook {
            self.hooks += 1;
            self.cold += u64::from(!matches!(self.distance, Distance::Lines(lines) if lines < FIRST_LEVEL_LINES));
            self.distances
                .extend(self.last_hook.replace(self.instructions).map(|last| (self.instructions - last) as f64));
        }
    }

    /// The surroundings; `None` without two hooks.
    #[must_use]
    pub fn finish(&self) -> Option<Surroundings> {
        let at = |share| quantile(&self.distances, share);
        Some(Surroundings {
            instructions: self.instructions,
            hooks_per_1000: 1000.0 * self.hooks as f64 / self.instructions as f64,
            distance_p10: at(0.1)?,
            distance_median: at(0.5)?,
            distance_p90: at(0.9)?,
            cold_share: self.cold as f64 / self.hooks as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_over_few_lines_has_warm_hooks_after_its_first_pass() {
        let mut counter = SurroundingsCounter::new(10_000);
        for _ in 0..10 {
            for instruction in 0..100u64 {
                counter.add(0x1000 + 4 * instruction, instruction % 50 == 0);
            }
        }
        let found = counter.finish().unwrap();
        assert_eq!((found.instructions, found.hooks_per_1000, found.distance_median), (1000, 20.0, 50.0));
        assert_eq!(found.cold_share, 0.1, "two of twenty calls are the first of their lines");
    }

    #[test]
    fn a_pass_over_more_lines_than_the_cache_has_cold_hooks() {
        let mut counter = SurroundingsCounter::new(100_000);
        for _ in 0..4 {
            for line in 0..600u64 {
                counter.add(line << LINE_BITS, line % 100 == 0);
            }
        }
        assert_eq!(counter.finish().unwrap().cold_share, 1.0);
    }

    #[test]
    fn what_exceeds_the_room_is_left_out() {
        let mut counter = SurroundingsCounter::new(2);
        for line in 0..5u64 {
            counter.add(line << LINE_BITS, true);
        }
        assert_eq!(counter.finish().unwrap().instructions, 2);
        assert_eq!(SurroundingsCounter::new(0).finish(), None);
    }
}
