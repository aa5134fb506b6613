//! `mmap` and `mremap` (`mm/mmap.c`, `mm/mremap.c`).

use super::entry::Call;
use super::guard::guard;
use super::memory::PAGE;
use super::mm::{Area, LOWEST, MMAP_BASE, Prot, pages_up};
use super::security::SecurityRequest;
use super::sync::get_and_clear;
use super::table::PMD_SIZE;
use super::{Config, Kernel, KernelError, OutOfMemory};
use crate::dispatch::Dispatch;

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// `mmap` of anonymous memory at any free address. Returns the address.
    ///
    /// # Errors
    /// `-EINVAL` for length 0; `-ENOMEM` if memory or addresses run out.
    #[inline(never)]
    pub fn mmap(&mut self, len: u64, prot: Prot) -> Result<u64, KernelError> {
        self.enter(Call::Mmap, [0, len, prot as u64, 0]);
        self.rwsem(1);
        let done = self.do_mmap(len, prot);
        self.rwsem(-1);
        self.leave(done.unwrap_or(0));
        done
    }

    /// `do_mmap` with `mmap_region`
    #[inline(never)]
    pub(super) fn do_mmap(&mut self, len: u64, prot: Prot) -> Result<u64, KernelError> {
        let guard = guard::<C>();
        let len = pages_up(len);
        if len == 0 || len > MMAP_BASE / 2 {
            return Err(KernelError::Invalid(len));
        }
        let start = self.get_unmapped_area(len)?;
        self.security(SecurityRequest::MmapAddr, start)?;
        self.security(SecurityRequest::EnoughMemory, len)?;
        let end = start + len;
        let (before, after) = self.find_neighbours(start, end, prot);
        match (before, after) {
            (Some(before), _) => {
                // `vma_merge`: the area before grows; if it reaches the area after, it absorbs that one.
                let end = match after {
                    Some(area) => {
                        self.machine.mm_mut().areas.remove(end);
                        self.vm_area_free(area);
                        area.end
                    }
                    None => end,
                };
                self.resize(before, end);
            }
            (None, Some(area)) => {
                self.machine.mm_mut().areas.remove(end);
                self.set_object_word(area.object, 8, start);
                self.machine.mm_mut().areas.insert(start, area);
            }
            (None, None) => {
                let object = self.vm_area_alloc(start, end)?;
                self.machine.mm_mut().areas.insert(start, Area { end, prot, object, anon_vma: 0 });
            }
        }
        guard.end();
        Ok(start)
    }

    /// Finds the areas that can merge with `start..end`: the start of the area before, and the area after.
    #[inline(always)]
    fn find_neighbours(&self, start: u64, end: u64, prot: Prot) -> (Option<u64>, Option<Area>) {
        let areas = &self.machine.mm().areas;
        let before = areas.range(..start).next_back().filter(|(_, area)| area.end == start && area.prot == prot);
        let after = areas.get(end).filter(|area| area.prot == prot);
        (before.map(|(start, _)| start), after.copied())
    }

    /// `get_unmapped_area`: searches downwards from the last address found, then from the top.
    #[inline(never)]
    fn get_unmapped_area(&mut self, len: u64) -> Result<u64, KernelError> {
        let mm = self.machine.mm_mut();
        for from in [mm.hint, MMAP_BASE] {
            let mut end = from;
            for (start, area) in mm.areas.range(..from).rev() {
                let room = end.saturating_sub(area.end.min(end));
                if room >= len {
                    break;
                }
                end = start;
            }
            if end >= LOWEST + len {
                mm.hint = end - len;
                return Ok(end - len);
            }
        }
        Err(OutOfMemory.into())
    }

    /// Moves the end of the area at `start`.
    #[inline(always)]
    fn resize(&mut self, start: u64, end: u64) {
        let Some(area) = self.machine.mm_mut().areas.get_mut(start) else { return };
        area.end = end;
        let object = area.object;
        self.set_object_word(object, 16, end);
    }

    /// `mremap` with `MREMAP_MAYMOVE`. Returns the new address.
    ///
    /// # Errors
    /// `-EINVAL` if no single area holds the old range; `-ENOMEM`.
    #[inline(never)]
    pub fn mremap(&mut self, start: u64, old: u64, new: u64) -> Result<u64, KernelError> {
        self.enter(Call::Mremap, [start, old, new, 1]);
        self.rwsem(1);
        let done = self.do_mremap(start, pages_up(old), pages_up(new));
        self.rwsem(-1);
        self.leave(done.unwrap_or(0));
        done
    }

    #[inline(never)]
    fn do_mremap(&mut self, start: u64, old: u64, new: u64) -> Result<u64, KernelError> {
        let guard = guard::<C>();
        if !start.is_multiple_of(PAGE as u64) || new == 0 || old == 0 {
            return Err(KernelError::Invalid(start));
        }
        if new <= old {
            if new < old {
                self.do_munmap(start + new, old - new)?;
            }
            return Ok(start);
        }
        // `vma_to_resize`
        let found = self.machine.mm().areas.range(..=start).next_back();
        let (at, area) = found.filter(|(_, area)| area.end >= start + old).ok_or(KernelError::Invalid(start))?;
        self.security(SecurityRequest::EnoughMemory, new - old)?;
        let next = self.machine.mm().areas.range(start + old..).next().map_or(MMAP_BASE, |(next, _)| next);
        if area.end == start + old && start + new <= next {
            self.resize(at, start + new);
            return Ok(start);
        }
        // `move_vma`
        let to = self.do_mmap(new, area.prot)?;
        if let Err(short) = self.move_page_tables(start, to, old) {
            // Unmaps the new range with the pages that were moved; no page is mapped twice.
            self.do_munmap(to, new)?;
            return Err(short.into());
        }
        self.do_munmap(start, old)?;
        guard.end();
        Ok(to)
    }

    /// `move_page_tables` with `move_ptes`: moves entry by entry, in lazy mode, with both tables locked.
    #[inline(never)]
    fn move_page_tables(&mut self, from: u64, to: u64, len: u64) -> Result<(), OutOfMemory> {
        let mut done = 0;
        while done < len {
            let (source, target) = (from + done, to + done);
            let step = (PMD_SIZE - source % PMD_SIZE).min(PMD_SIZE - target % PMD_SIZE).min(len - done);
            done += step;
            let Some(old) = self.find_pmd(source) else { continue };
            if self.machine.memory.read(old) == 0 {
                continue;
            }
            let new = self.pmd_alloc(target)?;
            if self.machine.memory.read(new) == 0 {
                self.new_pte(new)?;
            }
            self.move_ptes([old, new], [source, target], step);
        }
        self.flush_tlb_range(from, from + len);
        Ok(())
    }

    #[inline(always)]
    fn move_ptes(&mut self, [old, new]: [super::memory::PageTableEntry; 2], [source, target]: [u64; 2], len: u64) {
        let (_, lock) = self.pte_offset_map_lock(old, source);
        let other = self.pte_lockptr(new);
        if other != lock {
            self.spin_lock(other);
        }
        self.lazy_enter();
        for offset in (0..len).step_by(PAGE) {
            let from = self.table_entry(old, source + offset);
            if self.machine.memory.read(from) == 0 {
                continue;
            }
            let pte = get_and_clear::<C>(self.machine, from);
            let to = self.table_entry(new, target + offset);
            self.set_pte(to, pte);
        }
        self.lazy_leave();
        if other != lock {
            self.spin_unlock(other);
        }
        self.pte_unmap_unlock(lock);
    }

    /// The entry of an address in a table that is already mapped: `pte++` in Linux's loops.
    #[inline(always)]
    pub(super) fn table_entry(
        &self,
        pmd: super::memory::PageTableEntry,
        address: u64,
    ) -> super::memory::PageTableEntry {
        let entry = self.machine.memory.read(pmd);
        let table = if C::XEN { self.machine.frame_in::<C>(entry) } else { entry >> 12 };
        self.machine.memory.entry(table, address >> 12)
    }
}
