//! The areas of an address space, by where they begin.
//!
//! Linux 6.1 keeps them in a maple tree, nodes of sixteen entries that are searched and shifted in place; this is one such
//! node of any size. It is made once and kept: where the system's allocator puts the nodes of a tree moved `mmap_perf` by
//! two percent from run to run.

use std::ops::{Bound, RangeBounds};

use super::Area;

/// Room for as many areas as workloads have.
const ROOM: usize = 192;

/// An ordered map from addresses to areas.
#[derive(Debug)]
pub struct AreaMap(Vec<(u64, Area)>);

impl Default for AreaMap {
    fn default() -> Self {
        AreaMap(Vec::with_capacity(ROOM))
    }
}

impl AreaMap {
    fn place(&self, start: u64) -> Result<usize, usize> {
        self.0.binary_search_by_key(&start, |(start, _)| *start)
    }

    /// Places from the first area inside of the bounds to after the last.
    fn places(&self, range: &impl RangeBounds<u64>) -> std::ops::Range<usize> {
        let below = |at: u64| self.place(at).unwrap_or_else(|at| at);
        let up_to = |at: u64| self.place(at).map_or_else(|at| at, |at| at + 1);
        let first = match range.start_bound() {
            Bound::Included(at) => below(*at),
            Bound::Excluded(at) => up_to(*at),
            Bound::Unbounded => 0,
        };
        let last = match range.end_bound() {
            Bound::Included(at) => up_to(*at),
            Bound::Excluded(at) => below(*at),
            Bound::Unbounded => self.0.len(),
        };
        first..last.max(first)
    }

    /// The area that begins there.
    #[inline(always)]
    #[must_use]
    pub fn get(&self, start: u64) -> Option<&Area> {
        self.place(start).ok().and_then(|place| self.0.get(place)).map(|(_, area)| area)
    }

    /// The same, to change.
    #[inline(always)]
    pub fn get_mut(&mut self, start: u64) -> Option<&mut Area> {
        let place = self.place(start).ok()?;
        self.0.get_mut(place).map(|(_, area)| area)
    }

    /// Puts an area there, in place of the one that began there.
    pub fn insert(&mut self, start: u64, area: Area) {
        match self.place(start) {
            Ok(place) => self.0[place].1 = area,
            Err(place) => self.0.insert(place, (start, area)),
        }
    }

    /// Takes the area that begins there.
    pub fn remove(&mut self, start: u64) -> Option<Area> {
        self.place(start).ok().map(|place| self.0.remove(place).1)
    }

    /// Those that begin within the bounds.
    #[inline(always)]
    pub fn range(&self, range: impl RangeBounds<u64>) -> impl DoubleEndedIterator<Item = (u64, Area)> + '_ {
        self.0[self.places(&range)].iter().copied()
    }

    /// The same, to change.
    #[inline(always)]
    pub fn range_mut(&mut self, range: impl RangeBounds<u64>) -> impl Iterator<Item = &mut Area> + '_ {
        let places = self.places(&range);
        self.0[places].iter_mut().map(|(_, area)| area)
    }

    /// The area at a place in the order.
    #[must_use]
    pub fn nth(&self, place: usize) -> Option<(u64, Area)> {
        self.0.get(place).copied()
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Area)> + '_ {
        self.0.iter().copied()
    }

    /// None any more.
    pub fn clear(&mut self) {
        self.0.clear();
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
