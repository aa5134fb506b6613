//! The areas of an address space, by where they begin.
//!
//! Linux 6.1 keeps them in a maple tree: nodes of sixteen keys, which stand apart from what they lead to, are searched
//! and shifted in place. This is one such node of any size. It is made once and kept: where the system's allocator puts
//! the nodes of a tree moved `mmap_perf` by two percent from run to run.

use std::ops::{Bound, RangeBounds};

use super::Area;

/// Room for as many areas as workloads have.
const ROOM: usize = 192;

/// An ordered map from addresses to areas.
#[derive(Debug)]
pub struct AreaMap {
    /// Where areas begin, in order.
    starts: Vec<u64>,
    /// Where in `areas` each of them is, in the same order.
    slots: Vec<usize>,
    /// The areas, and what they were in slots that are free.
    areas: Vec<Area>,
    free: Vec<usize>,
}

impl Default for AreaMap {
    fn default() -> Self {
        AreaMap {
            starts: Vec::with_capacity(ROOM),
            slots: Vec::with_capacity(ROOM),
            areas: Vec::with_capacity(ROOM),
            free: Vec::with_capacity(ROOM),
        }
    }
}

impl AreaMap {
    /// How many begin below `at`: the place of the first that does not.
    #[inline(always)]
    fn below(&self, at: u64) -> usize {
        self.starts.partition_point(|start| *start < at)
    }

    /// The place of the area that begins there.
    #[inline(always)]
    fn place(&self, start: u64) -> Result<usize, usize> {
        let place = self.below(start);
        if self.starts.get(place) == Some(&start) { Ok(place) } else { Err(place) }
    }

    /// Places from the first area inside of the bounds to after the last.
    #[inline(always)]
    fn places(&self, range: &impl RangeBounds<u64>) -> std::ops::Range<usize> {
        let up_to = |at: u64| at.checked_add(1).map_or(self.starts.len(), |after| self.below(after));
        let first = match range.start_bound() {
            Bound::Included(at) => self.below(*at),
            Bound::Excluded(at) => up_to(*at),
            Bound::Unbounded => 0,
        };
        let last = match range.end_bound() {
            Bound::Included(at) => up_to(*at),
            Bound::Excluded(at) => self.below(*at),
            Bound::Unbounded => self.starts.len(),
        };
        first..last.max(first)
    }

    /// The area that begins there.
    #[inline(always)]
    #[must_use]
    pub fn get(&self, start: u64) -> Option<&Area> {
        let place = self.place(start).ok()?;
        self.areas.get(*self.slots.get(place)?)
    }

    /// The same, to change.
    #[inline(always)]
    pub fn get_mut(&mut self, start: u64) -> Option<&mut Area> {
        let place = self.place(start).ok()?;
        self.areas.get_mut(*self.slots.get(place)?)
    }

    /// Puts an area there, in place of the one that began there.
    pub fn insert(&mut self, start: u64, area: Area) {
        let place = match self.place(start) {
            Ok(place) => {
                self.areas[self.slots[place]] = area;
                return;
            }
            Err(place) => place,
        };
        let slot = if let Some(slot) = self.free.pop() {
            self.areas[slot] = area;
            slot
        } else {
            self.areas.push(area);
            self.areas.len() - 1
        };
        self.starts.insert(place, start);
        self.slots.insert(place, slot);
    }

    /// Takes the area that begins there.
    pub fn remove(&mut self, start: u64) -> Option<Area> {
        let place = self.place(start).ok()?;
        self.starts.remove(place);
        let slot = self.slots.remove(place);
        self.free.push(slot);
        self.areas.get(slot).copied()
    }

    /// Those that begin within the bounds.
    #[inline(always)]
    pub fn range(&self, range: impl RangeBounds<u64>) -> impl DoubleEndedIterator<Item = (u64, Area)> + '_ {
        let places = self.places(&range);
        let slots = &self.slots[places.clone()];
        self.starts[places].iter().zip(slots).map(|(start, slot)| (*start, self.areas[*slot]))
    }

    /// Changes each of those that begin within the bounds.
    #[inline(always)]
    pub fn change(&mut self, range: impl RangeBounds<u64>, mut change: impl FnMut(&mut Area)) {
        for place in self.places(&range) {
            change(&mut self.areas[self.slots[place]]);
        }
    }

    /// The area at a place in the order.
    #[must_use]
    pub fn nth(&self, place: usize) -> Option<(u64, Area)> {
        Some((*self.starts.get(place)?, self.areas[self.slots[place]]))
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Area)> + '_ {
        self.range(..)
    }

    /// None any more.
    pub fn clear(&mut self) {
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
        // One that ends before it begins, as of an address that wrapped.
        #[allow(clippy::reversed_empty_ranges)]
        let wrapped = 25..12;
        assert!(ends(&mut map.range(wrapped)).is_empty());
        assert_eq!(map.remove(20).map(|area| area.end), Some(25));
        assert!(map.get(20).is_none() && map.remove(20).is_none());
    }
}
