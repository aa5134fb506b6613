//! Counters of a pass over a recording: uses of lines by distance, targets of indirect calls, quantiles.

use std::collections::HashMap;

use crate::stats::reuse::{Distance, Reuse};

use super::statistics::{FIRST_LEVEL_LINES, Lines, SECOND_LEVEL_LINES, Spread, Targets, share};

/// Uses of lines by distance.
#[derive(Default)]
pub(super) struct LineCounter {
    reuse: Option<Reuse>,
    uses: u64,
    first: u64,
    distances: Vec<u64>,
}

impl LineCounter {
    pub(super) fn new(uses: usize) -> LineCounter {
        LineCounter { reuse: Some(Reuse::new(uses)), ..LineCounter::default() }
    }

    pub(super) fn touch(&mut self, line: u64) -> Distance {
        let distance = self.reuse.as_mut().map_or(Distance::First, |reuse| reuse.touch(line));
        self.note(distance);
        distance
    }

    pub(super) fn note(&mut self, distance: Distance) {
        self.uses += 1;
        match distance {
            Distance::First => self.first += 1,
            Distance::Lines(lines) => self.distances.push(lines),
        }
    }

    pub(super) fn finish_all(self) -> Lines {
        let lines = self.reuse.as_ref().map_or(0, Reuse::lines);
        self.finish(lines)
    }

    pub(super) fn finish(self, lines: u64) -> Lines {
        let below = |bound: u64| self.distances.iter().filter(|distance| **distance < bound).count() as u64;
        let (near, far) = (below(FIRST_LEVEL_LINES), below(SECOND_LEVEL_LINES));
        let all = self.distances.len() as u64;
        Lines {
            uses: self.uses,
            lines,
            within_first_level: share(near, self.uses),
            within_second_level: share(far - near, self.uses),
            beyond: share(all - far, self.uses),
            first: share(self.first, self.uses),
            distance: Spread::of(self.distances),
        }
    }
}

/// Targets of instructions.
#[derive(Default)]
pub(super) struct TargetCounter {
    /// The last target of each, and whether it ever changed.
    last: HashMap<u64, (u64, bool)>,
    calls: u64,
    changes: u64,
}

impl TargetCounter {
    pub(super) fn note(&mut self, site: u64, target: u64) {
        self.calls += 1;
        let (last, has_changed) = self.last.entry(site).or_insert((target, false));
        if *last != target {
            (*last, *has_changed) = (target, true);
            self.changes += 1;
        }
    }

    pub(super) fn finish(self, units: f64) -> Targets {
        Targets {
            per_unit: self.calls as f64 / units,
            sites: self.last.len() as u64,
            changing_sites: self.last.values().filter(|(_, has_changed)| *has_changed).count() as u64,
            changes: share(self.changes, self.calls),
        }
    }
}

impl Spread {
    pub(super) fn of(mut values: Vec<u64>) -> Spread {
        values.sort_unstable();
        let Some(max) = values.last().copied() else { return Spread::default() };
        let quantile = |tenths_of_percent: usize| {
            let at = (values.len() - 1) * tenths_of_percent / 1000;
            values.get(at).copied().unwrap_or(max)
        };
        let mut below_powers_of_two = Vec::new();
        for value in &values {
            let index = (u64::BITS - value.leading_zeros()) as usize;
            if below_powers_of_two.len() <= index {
                below_powers_of_two.resize(index + 1, 0);
            }
            if let Some(count) = below_powers_of_two.get_mut(index) {
                *count += 1;
            }
        }
        Spread {
            p10: quantile(100),
            p25: quantile(250),
            median: quantile(500),
            p75: quantile(750),
            p90: quantile(900),
            max,
            below_powers_of_two,
        }
    }
}
