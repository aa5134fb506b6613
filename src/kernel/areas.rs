//! The areas of an address space, ordered by their start addresses.
//!
//! Linux 6.1 keeps areas in a maple tree. Its nodes have sixteen keys, stored apart from the areas, and are searched
//! and shifted in place. This map is one such node of any size. It is allocated once and kept, because the addresses of
//! tree nodes changed `mmap_perf` by two percent from run to run.

use std::ops::{Bound, RangeBounds};

use super::Area;

/// Areas that a map has room for without a new allocation; workloads have no more.
const CAPACITY_AREAS: usize = 192;

/// An ordered map from addresses to areas.
#[derive(Debug)]
pub(crate) struct AreaMap {
    /// Start addresses, ascending.
    starts: Vec<u64>,
    /// Indices into `areas`, in the order of `starts`.
    slots: Vec<usize>,
    /// Areas by slot; a free slot holds a stale area.
    areas: Vec<Area>,
    /// Free slots.
    free: Vec<usize>,
}

impl Default for AreaMap {
    fn default() -> Self {
        AreaMap {
            starts: Vec::with_capacity(CAPACITY_AREAS),
            slots: Vec::with_capacity(CAPACITY_AREAS),
            areas: Vec::with_capacity(CAPACITY_AREAS),
            free: Vec::with_capacity(CAPACITY_AREAS),
        }
    }
}

impl AreaMap {
    /// Counts the areas that start below `at`, which is the index of the first one at or above it.
    #[inline(always)]
    fn count_below(&self, at: u64) -> usize {
        self.starts.partition_point(|start| *start < at)
    }

    /// Finds the index of the area that starts at `start`, or the index where it would be inserted.
    #[inline(always)]
    fn find_index(&self, start: u64) -> Result<usize, usize> {
        let index = self.count_below(start);
        if self.starts.get(index) == Some(&start) { Ok(index) } else { Err(index) }
    }

    /// Finds the indices of the areas that start within the bounds.
    #[inline(always)]
    fn find_indices(&self, range: &impl RangeBounds<u64>) -> std::ops::Range<usize> {
        let up_to = |at: u64| at.checked_add(1).map_or(self.starts.len(), |after| self.count_below(after));
        let first = match range.start_bound() {
            Bound::Included(at) => self.count_below(*at),
            Bound::Excluded(at) => up_to(*at),
            Bound::Unbounded => 0,
        };
        let last = match range.end_bound() {
            Bound::Included(at) => up_to(*at),
            Bound::Excluded(at) => self.count_below(*at),
            Bound::Unbounded => self.starts.len(),
        };
        first..last.max(first)
    }

    /// The area that starts at `start`.
    #[inline(always)]
    #[must_use]
    pub(crate) fn get(&self, start: u64) -> Option<&Area> {
        let index = self.find_index(start).ok()?;
        self.areas.get(*self.slots.get(index)?)
    }

    /// The area that starts at `start`, mutable.
    #[inline(always)]
    pub(crate) fn get_mut(&mut self, start: u64) -> Option<&mut Area> {
        let index = self.find_index(start).ok()?;
        self.areas.get_mut(*self.slots.get(index)?)
    }

    /// Inserts an area at `start` and replaces the one that started there.
    pub(crate) fn insert(&mut self, start: u64, area: Area) {
        let index = match self.find_index(start) {
            Ok(index) => {
                self.areas[self.slots[index]] = area;
                return;
            }
            Err(index) => index,
        };
        let slot = if let Some(slot) = self.free.pop() {
            self.areas[slot] = area;
            slot
        } else {
            self.areas.push(area);
            self.areas.len() - 1
        };
        self.starts.insert(index, start);
        self.slots.insert(index, slot);
    }

    /// Removes the area that starts at `start`.
    pub(crate) fn remove(&mut self, start: u64) -> Option<Area> {
        let index = self.find_index(start).ok()?;
        self.starts.remove(index);
        let slot = self.slots.remove(index);
        self.free.push(slot);
        self.areas.get(slot).copied()
    }

    /// The areas that start within the bounds, with their start addresses.
    #[inline(always)]
    pub(crate) fn range(&self, range: impl RangeBounds<u64>) -> impl DoubleEndedIterator<Item = (u64, Area)> + '_ {
        let indices = self.find_indices(&range);
        let slots = &self.slots[indices.clone()];
        self.starts[indices].iter().zip(slots).map(|(start, slot)| (*start, self.areas[*slot]))
    }

    /// Changes each area that starts within the bounds.
    #[inline(always)]
    pub(crate) fn change(&mut self, range: impl RangeBounds<u64>, mut change: impl FnMut(&mut Area)) {
        for index in self.find_indices(&range) {
            change(&mut self.areas[self.slots[index]]);
        }
    }

    /// The area at an index in the order of start addresses.
    #[must_use]
    pub(crate) fn nth(&self, index: usize) -> Option<(u64, Area)> {
        Some((*self.starts.get(index)?, self.areas[self.slots[index]]))
    }

    /// All areas, with their start addresses.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Area)> + '_ {
        self.range(..)
    }

    /// Removes all areas.
    pub(crate) fn clear(&mut self) {
        self.starts.clear();
        self.slots.clear();
        self.areas.clear();
        self.free.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Prot;

    #[test]
    fn areas_are_found_by_address_in_both_directions() {
        let mut map = AreaMap::default();
        let area = |end| Area { end, prot: Prot::Read, object: 0, anon_vma: 0 };
        for start in [30, 10, 20] {
            map.insert(start, area(start + 5));
        }
        let ends = |found: &mut dyn Iterator<Item = (u64, Area)>| found.map(|(_, area)| area.end).collect::<Vec<_>>();
        assert_eq!(ends(&mut map.iter()), [15, 25, 35]);
        assert_eq!(ends(&mut map.range(..20).rev()), [15]);
        assert_eq!(ends(&mut map.range(..=20).rev()), [25, 15]);
        assert_eq!(ends(&mut map.range(11..)), [25, 35]);
        // A range whose end lies before its start, as after an address wraps.
        #[allow(clippy::reversed_empty_ranges)]
        let wrapped = 25..12;
        assert!(ends(&mut map.range(wrapped)).is_empty());
        assert_eq!(map.remove(20).map(|area| area.end), Some(25));
        assert!(map.get(20).is_none() && map.remove(20).is_none());
    }
}
