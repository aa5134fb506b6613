//! A lock that two CPUs take, each with a kernel of its own, and what it guards.

use std::cell::UnsafeCell;

use super::{Config, Kernel};
use crate::dispatch::Dispatch;
use crate::op::lock::RawSpinlock;

/// Entries of the lists, altogether.
const ENTRIES: u32 = 64;
/// Ends a list.
const NONE: u32 = ENTRIES;

/// Two lists that entries move between, and what was done to them.
#[derive(Debug)]
struct Lists {
    first: [u32; 2],
    next: [u32; ENTRIES as usize],
    /// The list that entries are taken from.
    from: usize,
    moved: u64,
    sum: u64,
}

/// A spinlock and two lists under it, apart from everything else.
#[repr(align(128))]
#[derive(Debug)]
pub struct Shared {
    lock: UnsafeCell<RawSpinlock>,
    lists: UnsafeCell<Lists>,
}

// SAFETY: the lists are reached by whoever has the lock, which is made for several CPUs.
unsafe impl Sync for Shared {}

impl Shared {
    /// All entries in the first list, the lock free.
    #[must_use]
    pub fn new() -> Self {
        let next = std::array::from_fn(|entry| entry as u32 + 1);
        let lists = Lists { first: [0, NONE], next, from: 0, moved: 0, sum: 0 };
        Shared { lock: UnsafeCell::new(RawSpinlock::new()), lists: UnsafeCell::new(lists) }
    }

    /// What was done so far, as one number. It is the same in whatever order, as long as nothing was lost.
    ///
    /// # Safety
    /// No CPU is in a section, and all that were are known to have left it.
    #[must_use]
    pub unsafe fn outcome(&self) -> u64 {
        // SAFETY: the caller's contract.
        let lists = unsafe { &*self.lists.get() };
        let mut sum = lists.moved.rotate_left(32) ^ lists.sum;
        for (list, first) in lists.first.into_iter().enumerate() {
            let mut entry = first;
            // Bounded, for lists that two CPUs have worked on at once may have no end.
            for place in 0..u64::from(ENTRIES) {
                let Some(next) = lists.next.get(entry as usize) else { break };
                sum = sum.rotate_left(7) ^ u64::from(entry) ^ place << (8 + list);
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
    /// The first entry of a list goes to the front of the other; once there is none left, the other way.
    #[inline(always)]
    fn turn(&mut self, number: u64) {
        if self.first[self.from & 1] == NONE {
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
    /// A section under a lock that another CPU may want: an entry moves from one list to the other.
    #[inline(never)]
    pub fn shared_section(&mut self, shared: &Shared, number: u64) {
        let flags = self.spin_lock_irqsave(shared.lock.get());
        // SAFETY: the lock is held.
        unsafe { &mut *shared.lists.get() }.turn(number);
        self.spin_unlock_irqrestore(shared.lock.get(), flags);
    }
}
