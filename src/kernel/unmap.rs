//! `munmap` and the unmapping at exit (`mm/mmap.c`, `mm/memory.c`, `mm/mmu_gather.c`).

use super::entry::Call;
use super::guard::guard;
use super::memory::PAGE;
use super::mm::{Area, pages_up};
use super::sync::get_and_clear;
use super::table::{FRAME, PMD_SIZE, PRESENT};
use super::{Config, Kernel, KernelError};
use crate::dispatch::Dispatch;
use crate::op::mmu::Gather;

/// Pages per batch. In Linux on x86-64, `MAX_GATHER_BATCH` is 506, and the batch on the stack (`MMU_GATHER_BUNDLE`) has
/// 8.
const BATCH_PAGES: usize = 64;

/// `TASK_SIZE`
const TASK_SIZE: u64 = 1 << 47;

/// Pages that are unmapped but not yet freed.
struct UnmappedPages {
    frames: [u64; BATCH_PAGES],
    len: usize,
    /// The range of addresses to flush.
    range: [u64; 2],
}

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// `munmap`
    ///
    /// # Errors
    /// `-EINVAL`; `-ENOMEM` if an area cannot be split.
    #[inline(never)]
    pub fn munmap(&mut self, start: u64, len: u64) -> Result<(), KernelError> {
        self.enter(Call::Munmap, [start, len, 0, 0]);
        self.rwsem(1);
        let done = self.do_munmap(start, pages_up(len));
        self.rwsem(-1);
        self.leave(0);
        done
    }

    /// `do_mas_munmap`
    #[inline(never)]
    pub(super) fn do_munmap(&mut self, start: u64, len: u64) -> Result<(), KernelError> {
        let guard = guard::<C>();
        if !start.is_multiple_of(PAGE as u64) || len == 0 || start > TASK_SIZE - len.min(TASK_SIZE) {
            return Err(KernelError::Invalid(start));
        }
        let end = start + len;
        self.split(start)?;
        self.split(end)?;
        // `detach_vmas_to_be_unmapped`
        let mut detached: [Option<(u64, Area)>; 8] = [None; 8];
        loop {
            let mut count = 0;
            while count < detached.len() {
                let areas = &mut self.machine.mm_mut().areas;
                let Some(at) = areas.range(start..end).next().map(|(at, _)| at) else { break };
                detached[count] = areas.remove(at).map(|area| (at, area));
                count += 1;
            }
            if count == 0 {
                break;
            }
            self.unmap_region(&detached[..count]);
        }
        let mm = self.machine.mm_mut();
        mm.hint = mm.hint.max(end);
        guard.end();
        Ok(())
    }

    /// Unmaps all areas, as `exit_mmap` does.
    pub(super) fn unmap_all(&mut self) {
        let mut detached = std::mem::take(&mut self.machine.detached);
        detached.extend(self.machine.mm().areas.iter().map(Some));
        self.machine.mm_mut().areas.clear();
        if !detached.is_empty() {
            self.unmap_region(&detached);
        }
        detached.clear();
        self.machine.detached = detached;
    }

    /// `unmap_region`: frees pages, then tables, then the areas' structures.
    #[inline(never)]
    fn unmap_region(&mut self, detached: &[Option<(u64, Area)>]) {
        let guard = guard::<C>();
        if !detached.is_empty() {
            // `lru_add_drain`
            self.lru_drain_if_any();
        }
        let mut pages = UnmappedPages { frames: [0; BATCH_PAGES], len: 0, range: [u64::MAX, 0] };
        for (start, area) in detached.iter().flatten() {
            self.zap(&mut pages, *start, area.end);
        }
        // `free_pgtables`
        let mut gather = Gather::new();
        for (index, (start, area)) in detached.iter().flatten().enumerate() {
            let areas = &self.machine.mm().areas;
            let floor = areas.range(..*start).next_back().map_or(0, |(_, area)| area.end);
            // The ceiling is the next area, even a detached one, because its tables are still needed.
            let next = detached.get(index + 1).and_then(Option::as_ref).map(|(next, _)| *next);
            let next = next.or_else(|| areas.range(area.end..).next().map(|(next, _)| next));
            let ceiling = next.unwrap_or(TASK_SIZE);
            self.free_tables(&mut gather, [*start, area.end], [floor, ceiling]);
        }
        self.tlb_finish(&mut pages);
        if gather.len > 0 {
            self.free_gathered_tables(&mut gather);
        }
        for (_, area) in detached.iter().flatten() {
            self.vm_area_free(*area);
        }
        guard.end();
    }

    #[inline(always)]
    fn lru_drain_if_any(&mut self) {
        if !self.machine.lru_batch.is_empty() {
            self.lru_add_drain();
        }
    }

    /// `unmap_page_range` with `zap_pte_range`
    #[inline(never)]
    fn zap(&mut self, pages: &mut UnmappedPages, start: u64, end: u64) {
        let mut at = start;
        while at < end {
            let next = ((at & !(PMD_SIZE - 1)) + PMD_SIZE).min(end);
            let pmd = self.find_pmd(at);
            if let Some(pmd) = pmd.filter(|pmd| self.machine.memory.read(*pmd) != 0) {
                let (_, lock) = self.pte_offset_map_lock(pmd, at);
                self.lazy_enter();
                for address in (at..next).step_by(PAGE) {
                    self.zap_one(pages, pmd, address);
                }
                self.lazy_leave();
                self.pte_unmap_unlock(lock);
                if pages.len > BATCH_PAGES / 2 {
                    self.tlb_finish(pages);
                }
            }
            at = next;
        }
    }

    #[inline(always)]
    fn zap_one(&mut self, pages: &mut UnmappedPages, pmd: super::memory::PageTableEntry, address: u64) {
        let entry = self.table_entry(pmd, address);
        let seen = self.machine.memory.read(entry);
        if seen & PRESENT == 0 {
            return;
        }
        // `vm_normal_page` needs the frame: `pte_pfn`.
        let frame = (self.pte_val(seen) & FRAME) >> 12;
        get_and_clear::<C>(self.machine, entry);
        pages.range = [pages.range[0].min(address), pages.range[1].max(address + PAGE as u64)];
        if frame == 0 {
            // The zero page is not counted.
            return;
        }
        self.machine.mm_mut().rss -= 1;
        let page = self.machine.memory.page(frame);
        page.mapped = page.mapped.wrapping_sub(1);
        if pages.len == BATCH_PAGES {
            self.tlb_finish(pages);
        }
        pages.frames[pages.len] = frame;
        pages.len += 1;
    }

    /// `tlb_flush_mmu`: flushes the pages from the TLB, then frees them.
    #[inline(never)]
    fn tlb_finish(&mut self, pages: &mut UnmappedPages) {
        let [start, end] = pages.range;
        if start < end {
            self.flush_tlb_range(start, end);
        }
        self.release_pages(&pages.frames[..pages.len]);
        pages.len = 0;
        pages.range = [u64::MAX, 0];
    }
}
