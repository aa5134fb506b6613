//! The LRU list of pages (`mm/swap.c`). Pages are added and removed in batches, under a lock.

use super::memory::LRU;
use super::{Config, Kernel};
use crate::dispatch::Dispatch;
use crate::op::lock::RawSpinlock;

/// `PAGEVEC_SIZE`
pub(super) const LRU_BATCH: usize = 15;

/// `struct lruvec`
#[derive(Debug)]
pub(super) struct Lru {
    lock: RawSpinlock,
    /// Number of pages in the list.
    pub(crate) len: u64,
}

impl Default for Lru {
    fn default() -> Self {
        Lru { lock: RawSpinlock::new(), len: 0 }
    }
}

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// `folio_add_lru`
    #[inline(never)]
    pub(super) fn lru_add(&mut self, frame: u64) {
        self.machine.lru_batch.push(frame);
        if self.machine.lru_batch.len() == LRU_BATCH {
            self.lru_add_drain();
        }
    }

    /// `folio_batch_move_lru`
    #[inline(never)]
    pub(super) fn lru_add_drain(&mut self) {
        let lock = &raw mut self.machine.lru.lock;
        let flags = self.spin_lock_irqsave(lock);
        let machine = &mut *self.machine;
        for frame in machine.lru_batch.drain(..) {
            machine.memory.page(frame).flags |= LRU;
            machine.lru.len += 1;
        }
        self.spin_unlock_irqrestore(lock, flags);
    }

    /// `free_pages_and_swap_cache` over `release_pages`: takes pages off the list under one hold of its lock, and frees
    /// those that have no other reference.
    #[inline(never)]
    pub(super) fn release_pages(&mut self, frames: &[u64]) {
        if !self.machine.lru_batch.is_empty() {
            self.lru_add_drain();
        }
        let lock = &raw mut self.machine.lru.lock;
        let mut locked = None;
        for &frame in frames {
            let page = self.machine.memory.page(frame);
            if super::sync::xadd::<C>(&mut page.count, -1) != 1 {
                continue;
            }
            if page.flags & LRU != 0 {
                page.flags &= !LRU;
                if locked.is_none() {
                    locked = Some(self.spin_lock_irqsave(lock));
                }
                self.machine.lru.len -= 1;
            }
        }
        if let Some(flags) = locked {
            self.spin_unlock_irqrestore(lock, flags);
        }
        for &frame in frames {
            if self.machine.memory.page(frame).count == 0 {
                self.free_page(frame);
            }
        }
    }

    /// Moves a page from one of two lists to the other, under the lock of one. Returns that list's sum of page numbers.
    #[inline(never)]
    pub fn move_page(&mut self, number: u64) -> u64 {
        let list = number as usize & 1;
        let lock = &raw mut self.machine.lists[list].0;
        let flags = self.spin_lock_irqsave(lock);
        let page = self.machine.memory.page(2 + (number & 63));
        page.flags ^= super::memory::LRU;
        page.next = number as u32;
        self.machine.lists[list].1 = self.machine.lists[list].1.wrapping_add(number);
        let len = self.machine.lists[list].1;
        self.spin_unlock_irqrestore(lock, flags);
        len
    }
}
