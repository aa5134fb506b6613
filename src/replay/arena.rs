//! Where the lines of data lie in the memory of the replay.
//!
//! Pages that are neighbours stay neighbours; groups of pages are shuffled by the placement. All memory holds zeros,
//! and the replay writes only zeros, so every register that it loads is a harmless index.

use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;

use super::ReplayError;
use super::address::MAX_DISTANCE;
use super::data::PAGE_LINE_BITS;
use crate::stats::surroundings::LINE_BITS;

/// Bytes of a page.
pub(super) const PAGE_BYTES: usize = 4096;
/// Bytes on either side that no line lies in: twice the largest distance from a streamed address.
const SLACK_BYTES: usize = (2 * MAX_DISTANCE as usize) << LINE_BITS;
/// Bound on the pages: 512 MB of addresses. A recording has some thousands.
const MAX_PAGES: u64 = 1 << 17;
/// Pages that lie apart by fewer than this keep their distance.
const MAX_GAP_PAGES: u64 = (MAX_DISTANCE as u64 >> PAGE_LINE_BITS) + 1;
/// Lines that a string instruction writes at most.
pub(super) const MAX_REPEATED_LINES: u32 = MAX_DISTANCE as u32;

/// Offset of the register that all data is addressed by, from the start of the memory.
pub(super) const ORIGIN: usize = SLACK_BYTES + PAGE_BYTES / 2;
/// Offsets of the words of the header, from the origin.
pub(super) const SAVED_STACK: i32 = 1024;
pub(super) const EXIT: i32 = 1032;
pub(super) const PASSES: i32 = 1040;
pub(super) const STREAM: i32 = 1048;
pub(super) const STREAM_END: i32 = 1056;
pub(super) const STACK: i32 = 1064;

/// The place of each line.
#[derive(Clone, Debug)]
pub(super) struct Arena {
    /// Distance of each line from the origin, in bytes.
    pub offsets: Vec<u32>,
    /// Bytes from the start of the memory to its end.
    pub bytes: usize,
}

impl Arena {
    /// Places lines.
    pub(super) fn of(workload: &str, lines: &[u64], rng: &mut Pcg64Mcg) -> Result<Arena, ReplayError> {
        let mut pages: Vec<u64> = lines.iter().map(|line| line >> PAGE_LINE_BITS).collect();
        pages.sort_unstable();
        pages.dedup();
        let mut groups: Vec<(u64, u64)> = Vec::new();
        for page in pages {
            match groups.last_mut() {
                Some((_, last)) if page - *last <= MAX_GAP_PAGES => *last = page,
                _ => groups.push((page, page)),
            }
        }
        let count = groups.iter().fold(0u64, |sum, (first, last)| sum.saturating_add(last - first + 1));
        if count > MAX_PAGES {
            let workload = workload.to_owned();
            return Err(ReplayError::TooLarge { workload, what: "pages of data", found: count, bound: MAX_PAGES });
        }
        groups.shuffle(rng);
        // The first page has the header.
        let mut next = 1u64;
        let mut placed: Vec<(u64, u64, u64)> = Vec::new();
        for (first, last) in groups {
            placed.push((first, last, next));
            next += last - first + 1;
        }
        placed.sort_unstable();
        let start = (SLACK_BYTES as u64).wrapping_sub(ORIGIN as u64);
        let offset = |line: &u64| {
            let page = line >> PAGE_LINE_BITS;
            let group = placed.partition_point(|(first, _, _)| *first <= page).checked_sub(1);
            let (first, _, at) = group.and_then(|group| placed.get(group)).copied().unwrap_or((page, page, 1));
            let lines = ((at + page - first) << PAGE_LINE_BITS) + (line & ((1 << PAGE_LINE_BITS) - 1));
            start.wrapping_add(lines << LINE_BITS) as u32
        };
        let offsets = lines.iter().map(offset).collect();
        Ok(Arena { offsets, bytes: 2 * SLACK_BYTES + next as usize * PAGE_BYTES })
    }

    /// Distance of a line from the origin.
    pub(super) fn offset(&self, line: u32) -> u32 {
        self.offsets.get(line as usize).copied().unwrap_or(PAGE_BYTES as u32)
    }
}
