//! A lock that two CPUs take, each with a kernel of its own, and the data that it guards.

use std::cell::UnsafeCell;

use super::{Config, Kernel};
use crate::dispatch::Dispatch;
use crate::op::lock::RawSpinlock;

/// Number of entries of both lists together.
const ENTRIES: u32 = 64;
/// The index that ends a list.
const END_OF_LIST: u32 = ENTRIES;

/// Two lists that entries move between, with a count and a sum of the moves.
#[derive(Debug)]
struct Lists {
    first: [u32; 2],
    next: [u32; ENTRIES as usize],
    /// The list that entries are taken from.
    from: usize,
    moved: u64,
    sum: u64,
}

/// A spinlock and the two lists that it guards, in cache lines of their own.
#[repr(align(128))]
#[derive(Debug)]
pub struct Shared {
    lock: UnsafeCell<RawSpinlock>,
    lists: UnsafeCell<Lists>,
}

// SAFETY: only the holder of the lock accesses the lists, and the lock works between CPUs.
unsafe impl Sync for Shared {}

impl Shared {
    /// Makes the lists with all entries in the first, and a free lock.
    #[must_use]
    pub(crate) fn new() -> Self {
        let next = std::array::from_fn(|entry| entry as u32 + 1);
        let lists = Lists { first: [0, END_OF_LIST], next, from: 0, moved: 0, sum: 0 };
        Shared { lock: UnsafeCell::new(RawSpinlock::new()), lists: UnsafeCell::new(lists) }
    }

    /// The checksum of all moves so far. It does not depend on their order; a lost move changes it.
    ///
    /// # Safety
    /// No CPU is in a section, and this CPU has synchronised with all CPUs that left one.
    #[must_use]
    pub(crate) unsafe fn outcome(&self) -> u64 {
        // SAFETY: the reference needs lists that no CPU changes: the caller vouches for it.
        let lists = unsafe { &*self.lists.get() };
        let mut sum = lists.moved.rotate_left(32) ^ lists.sum;
        for (list, first) in lists.first.into_iter().enumerate() {
            let mut entry = first;
            // Bounded, because a list that two CPUs changed at once may be circular.
            for position in 0..u64::from(ENTRIES) {
                let Some(next) = lists.next.get(entry as usize) else { break };
                sum = sum.rotate_left(7) ^ u64::from(entry) ^ position << (8 + list);
                entry = *next;
            }
        }
        sum
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new()
    }
}

impl Lists {
    /// Moves the first entry of one list to the front of the other. An empty list reverses the direction.
    #[inline(always)]
    fn move_entry(&mut self, number: u64) {
        if self.first[self.from & 1] == END_OF_LIST {
            self.from ^= 1;
        }
        let [from, to] = [self.from & 1, !self.from & 1];
        let entry = self.first[from];
        if let Some(next) = self.next.get_mut(entry as usize) {
            self.first[from] = std::mem::replace(next, self.first[to]);
            self.first[to] = entry;
        }
        self.moved += 1;
        self.sum = self.sum.wrapping_add(number);
    }
}

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// Moves an entry from one list to the other, under a lock that another CPU may contend for.
    #[inline(never)]
    pub fn shared_section(&mut self, shared: &Shared, number: u64) {
        let flags = self.spin_lock_irqsave(shared.lock.get());
        // SAFETY: the lock is held.
        unsafe { &mut *shared.lists.get() }.move_entry(number);
        self.spin_unlock_irqrestore(shared.lock.get(), flags);
    }
}
