//! The page allocator: a free list per CPU, refilled from the zone in batches (`mm/page_alloc.c`).

use super::config::{BadPage, Sanitize};
use super::guard::guard;
use super::memory::{CLEAN, FRAMES, HWPOISON, NODE_SHIFT, PAGE, Page, RESERVED, WRITEBACK};
use super::sync::xadd;
use super::{Config, Kernel, Machine, OutOfMemory};
use crate::dispatch::Dispatch;
use crate::op::lock::RawSpinlock;

/// `pcp->batch`, in pages.
const BATCH_PAGES: usize = 31;
/// `pcp->high`: the length in pages at which the list of the CPU returns a batch to the zone.
const MAX_CPU_LIST_PAGES: usize = 6 * BATCH_PAGES;
/// `PAGE_POISON`, `include/linux/poison.h`
const PAGE_POISON: u64 = 0xaaaa_aaaa_aaaa_aaaa;
/// Shift from a frame number to its section. Linux's sections (`SECTION_SIZE_BITS` is 27 on x86-64) are larger than
/// this machine.
const SECTION_SHIFT: u32 = 7;

/// A list of free pages, linked through [`Page::next`](super::memory::Page::next).
#[derive(Debug, Default)]
pub(crate) struct FreeList {
    /// Its lock.
    pub(crate) lock: RawSpinlock,
    first: u32,
    /// Number of pages in the list.
    pub(crate) len: usize,
}

impl FreeList {
    #[inline(always)]
    fn push(&mut self, pages: &mut [Page; FRAMES], frame: u32) {
        pages[frame as usize & (FRAMES - 1)].next = self.first;
        self.first = frame;
        self.len += 1;
    }

    #[inline(always)]
    fn pop(&mut self, pages: &[Page; FRAMES]) -> Option<u32> {
        let frame = self.first;
        self.first = pages[frame as usize & (FRAMES - 1)].next;
        // Frame 0 ends the list; its `next` is 0.
        self.len -= usize::from(frame != 0);
        (frame != 0).then_some(frame)
    }
}

impl Machine {
    /// Frees all frames but the first `reserved`, in the order of their numbers.
    pub(super) fn free_all(&mut self, reserved: usize) {
        (self.zone, self.pcp) = (FreeList::default(), FreeList::default());
        (self.zone.lock, self.pcp.lock) = (RawSpinlock::new(), RawSpinlock::new());
        let first = reserved.max(1);
        // The lowest frames are written last, because they are allocated first.
        for (frame, page) in self.memory.pages.iter_mut().enumerate().rev() {
            let listed = frame >= first && frame + 1 < FRAMES;
            *page = Page {
                flags: u64::from(frame >= FRAMES / 2) << NODE_SHIFT,
                next: if listed { frame as u32 + 1 } else { 0 },
                lock: RawSpinlock::new(),
                ..Page::default()
            };
        }
        (self.zone.first, self.zone.len) = (first as u32, FRAMES - first);
        self.sections = std::array::from_fn(|section| (section >= 32).into());
    }

    /// The number of free frames.
    #[must_use]
    pub fn free_frames(&self) -> usize {
        self.zone.len + self.pcp.len
    }
}

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// `__alloc_pages` of one page; `zero` is `__GFP_ZERO`.
    ///
    /// # Errors
    /// Fails when no frame is free.
    #[inline(never)]
    pub(super) fn alloc_page(&mut self, zero: bool) -> Result<u64, OutOfMemory> {
        let lock = &raw mut self.machine.pcp.lock;
        // `pcp_spin_trylock_irqsave`
        let flags = self.spin_lock_irqsave(lock);
        if self.machine.pcp.len == 0 {
            self.rmqueue_bulk();
        }
        let found = self.machine.pcp.pop(&self.machine.memory.pages);
        self.spin_unlock_irqrestore(lock, flags);
        let frame = u64::from(found.ok_or(OutOfMemory)?);
        self.prep_new_page(frame, zero);
        Ok(frame)
    }

    /// `rmqueue_bulk`: moves a batch from the zone to the CPU's list.
    #[inline(never)]
    fn rmqueue_bulk(&mut self) {
        let lock = &raw mut self.machine.zone.lock;
        self.spin_lock(lock);
        let machine = &mut *self.machine;
        for _ in 0..BATCH_PAGES {
            let Some(frame) = machine.zone.pop(&machine.memory.pages) else { break };
            machine.pcp.push(&mut machine.memory.pages, frame);
        }
        self.spin_unlock(lock);
    }

    /// `prep_new_page` with `post_alloc_hook`
    #[inline(always)]
    fn prep_new_page(&mut self, frame: u64, zero: bool) {
        self.check_page(frame);
        let page = self.machine.memory.page(frame);
        let was_clean = page.flags & CLEAN != 0;
        page.count = 1;
        page.mapped = 0;
        page.flags &= !(CLEAN | ((1 << 22) - 1));
        self.count_by_node(frame, 1);
        if C::POISON {
            self.check_poison(frame);
        }
        let clean = match C::SANITIZE {
            Sanitize::Absent => false,
            // The free has zeroed the page.
            Sanitize::Off | Sanitize::On => self.machine.sanitize() && was_clean,
        };
        if (zero || C::INIT_ON_ALLOC) && !clean {
            // `sanitize_mem` alone skips a second zeroing; with `init_on_free`, `want_init_on_alloc` still asks for it.
            self.machine.memory.fill(frame, 0);
        }
    }

    /// `get_zeroed_page`
    ///
    /// # Errors
    /// Fails when no frame is free.
    pub fn get_zeroed_page(&mut self) -> Result<u64, OutOfMemory> {
        self.alloc_page(true)
    }

    /// Reads and writes every cache line of a page, as its first use. Returns the sum of the words read.
    #[inline(never)]
    pub fn use_page(&mut self, frame: u64, value: u64) -> u64 {
        let mut sum = 0;
        for offset in (0..PAGE as u64).step_by(64) {
            sum += self.machine.memory.word(frame, offset);
            self.machine.memory.store(frame, offset, value + offset);
        }
        sum
    }

    /// `put_page`: drops a reference; the last one frees the page.
    #[inline(always)]
    pub(super) fn put_page(&mut self, frame: u64) {
        if xadd::<C>(&mut self.machine.memory.page(frame).count, -1) == 1 {
            self.free_page(frame);
        }
    }

    /// `free_unref_page`
    #[inline(never)]
    pub fn free_page(&mut self, frame: u64) {
        self.check_page(frame);
        self.count_by_node(frame, -1);
        if C::INIT_ON_FREE {
            self.machine.memory.fill(frame, 0);
        }
        if C::SANITIZE != Sanitize::Absent && self.machine.sanitize() {
            self.machine.memory.fill(frame, 0);
            self.machine.memory.page(frame).flags |= CLEAN;
        }
        if C::POISON {
            self.machine.memory.fill(frame, PAGE_POISON);
        }
        let lock = &raw mut self.machine.pcp.lock;
        let flags = self.spin_lock_irqsave(lock);
        let machine = &mut *self.machine;
        machine.pcp.push(&mut machine.memory.pages, frame as u32);
        if machine.pcp.len >= MAX_CPU_LIST_PAGES {
            self.free_pcppages_bulk();
        }
        self.spin_unlock_irqrestore(lock, flags);
    }

    /// `free_pcppages_bulk`: moves a batch from the CPU's list to the zone.
    #[inline(never)]
    fn free_pcppages_bulk(&mut self) {
        let lock = &raw mut self.machine.zone.lock;
        self.spin_lock(lock);
        let machine = &mut *self.machine;
        for _ in 0..BATCH_PAGES {
            let Some(frame) = machine.pcp.pop(&machine.memory.pages) else { break };
            machine.zone.push(&mut machine.memory.pages, frame);
        }
        self.spin_unlock(lock);
    }

    /// `check_new_page`, `free_page_is_bad`: checks a page if a kernel option asks for it.
    #[inline(always)]
    fn check_page(&mut self, frame: u64) {
        let flags = self.machine.memory.page(frame).flags;
        let bad = match C::BAD_PAGE {
            BadPage::Unchecked => false,
            BadPage::OwnFlag => flags & HWPOISON != 0,
            BadPage::TwoFlags => flags & (RESERVED | WRITEBACK) == RESERVED | WRITEBACK,
        };
        if bad {
            self.machine.bad_pages += 1;
        }
    }

    /// Counts allocated pages by node, as `mod_zone_page_state` and `page_zone` do. If page flags have no room for the
    /// node, it comes from a table of sections (`page_to_nid` in `mm/sparse.c`, out of line).
    #[inline(always)]
    fn count_by_node(&mut self, frame: u64, by: i64) {
        let node = if C::NODE_TABLE {
            section_to_node(&self.machine.sections, frame)
        } else {
            (self.machine.memory.page(frame).flags >> NODE_SHIFT) as usize & 1
        };
        self.machine.in_use[node & 1] += by;
    }

    /// `check_poison_mem` after `kernel_unpoison_pages`
    #[inline(never)]
    fn check_poison(&mut self, frame: u64) {
        let guard = guard::<C>();
        // A page that was never freed still has its contents from boot and no pattern.
        let first = self.machine.memory.word(frame, 0);
        if first == PAGE_POISON {
            let intact = (0..512).all(|index| self.machine.memory.word(frame, index * 8) == PAGE_POISON);
            self.machine.bad_pages += u64::from(!intact);
        }
        guard.end();
    }
}

#[inline(never)]
fn section_to_node(table: &[u8; 64], frame: u64) -> usize {
    table[(frame >> SECTION_SHIFT) as usize & 63].into()
}
