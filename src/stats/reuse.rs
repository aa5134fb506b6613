//! Reuse distances: how many other lines were executed or touched since a line was last used.
//!
//! A cache of n lines that evicts the least recently used one has a line exactly if its reuse distance is below n. Real
//! caches come close.

use std::collections::HashMap;

/// The distance of a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// The line is used for the first time.
    First,
    /// The number of other lines that were used since the last use.
    Lines(u64),
}

/// Finds reuse distances, one use at a time. A tree of sums over time counts the lines whose last use is later.
#[derive(Debug)]
pub struct Reuse {
    /// The time of the last use of each line, from 1.
    last: HashMap<u64, usize>,
    /// A Fenwick tree: 1 at the time of each line's last use.
    tree: Vec<u32>,
    time: usize,
    line: Option<u64>,
}

impl Reuse {
    /// Prepares for at most `uses` uses.
    #[must_use]
    pub fn new(uses: usize) -> Reuse {
        Reuse { last: HashMap::new(), tree: vec![0; uses + 1], time: 0, line: None }
    }

    /// Uses a line. Its distance is 0 if it is the same as before.
    pub fn touch(&mut self, line: u64) -> Distance {
        if self.line == Some(line) {
            return Distance::Lines(0);
        }
        self.line = Some(line);
        self.time += 1;
        self.add(self.time, true);
        let Some(before) = self.last.insert(line, self.time) else { return Distance::First };
        self.add(before, false);
        // All lines but this one whose last use is later than `before`.
        Distance::Lines((self.last.len() as u64 - 1).saturating_sub(self.sum(before)))
    }

    /// Number of different lines.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.last.len() as u64
    }

    fn add(&mut self, mut time: usize, is_new: bool) {
        while let Some(sum) = self.tree.get_mut(time) {
            *sum = if is_new { sum.wrapping_add(1) } else { sum.wrapping_sub(1) };
            time += time & time.wrapping_neg();
        }
    }

    /// The number of lines whose last use is not later than `time`.
    fn sum(&self, mut time: usize) -> u64 {
        let mut sum = 0u64;
        while time > 0 {
            sum += u64::from(self.tree.get(time).copied().unwrap_or_default());
            time &= time - 1;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_is_the_number_of_other_lines_since_the_last_use() {
        let mut reuse = Reuse::new(100);
        let distances: Vec<Distance> = [1, 2, 2, 3, 1, 1, 2, 3, 4, 4, 1].map(|line| reuse.touch(line)).to_vec();
        use Distance::{First, Lines};
        let expected =
            [First, First, Lines(0), First, Lines(2), Lines(0), Lines(2), Lines(2), First, Lines(0), Lines(3)];
        assert_eq!(distances, expected);
        assert_eq!(reuse.lines(), 4);
    }

    #[test]
    fn distances_are_those_of_a_list_of_lines_by_last_use() {
        let mut state = 1u64;
        let (mut reuse, mut list) = (Reuse::new(20_000), Vec::<u64>::new());
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let line = (state >> 33) % 97;
            let place = list.iter().rev().position(|other| *other == line);
            let expected = place.map_or(Distance::First, |place| Distance::Lines(place as u64));
            list.retain(|other| *other != line);
            list.push(line);
            assert_eq!(reuse.touch(line), expected);
        }
    }
}
