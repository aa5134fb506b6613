//! The kernel's own counters, if it has some: what the guest reads, by the recorder's count at that moment.
//!
//! The guest reads all counters in a row, before the first mark of a repetition and after the second. A tick may come
//! in between. So the recorder takes its own count of a counter when the guest reads it, and both must be equal.

/// Offset of the first counter in its page; `src/linux/count.rs` has the same.
const FIRST_OFFSET: u64 = 0x808;
/// The page lies among the mappings of a process: far above the guest's own data, and below the 16 MB of its stack.
const PAGES: core::ops::Range<u64> = 0x7f00_0000_0000..0x7fff_ff00_0000;
/// Bound on the counters; `src/linux/count.rs` has the same.
pub const MAX_COUNTERS: usize = 160;

pub struct OwnCounters {
    /// Number of the kernel's counters. The first counts something else.
    length: usize,
    totals: [u64; MAX_COUNTERS],
    /// The totals at the reads before a repetition.
    before: [u64; MAX_COUNTERS],
    /// The growth from then to the reads after it.
    growth: [u64; MAX_COUNTERS],
    /// Address of the next read, and its index.
    next: u64,
    index: usize,
    is_after: bool,
}

impl OwnCounters {
    pub const NONE: OwnCounters = OwnCounters {
        length: 0,
        totals: [0; MAX_COUNTERS],
        before: [0; MAX_COUNTERS],
        growth: [0; MAX_COUNTERS],
        next: 0,
        index: 0,
        is_after: false,
    };

    pub fn set_length(&mut self, length: usize) {
        self.length = length.min(MAX_COUNTERS);
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    #[inline(always)]
    pub fn count(&mut self, counter: u32) {
        if let Some(total) = self.totals.get_mut(counter as usize) {
            *total += 1;
        }
    }

    /// A process reads an address outside of a repetition. Returns the growth of all counters when the last one is read
    /// after a repetition.
    #[cold]
    pub fn read(&mut self, address: u64) -> Option<&[u64]> {
        if PAGES.contains(&address) && address & 0xfff == FIRST_OFFSET {
            (self.next, self.index) = (address, 0);
        }
        if address != self.next || self.index >= self.length {
            return None;
        }
        let (index, now) = (self.index, self.totals[self.index]);
        if self.is_after {
            self.growth[index] = now - self.before[index];
        } else {
            self.before[index] = now;
        }
        self.next += 8;
        self.index += 1;
        if self.index < self.length {
            return None;
        }
        self.is_after = !self.is_after;
        (!self.is_after).then_some(&self.growth[..self.length])
    }
}
