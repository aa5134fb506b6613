//! Four levels of page tables: walks, allocation and free (`mm/memory.c`, `arch/x86/mm/pgtable.c`).
//!
//! The fifth level is folded: an entry of the root is a `p4d`, with the hooks of `p4d_t`.

use super::memory::{PAGE, PageTableEntry};
use super::{Config, Kernel, OutOfMemory};
use crate::dispatch::Dispatch;
use crate::op::mmu::Gather;

/// `_PAGE_PRESENT`
pub(super) const PRESENT: u64 = 1;
/// `_PAGE_RW`
pub(super) const WRITE: u64 = 1 << 1;
/// `_PAGE_USER`
pub(super) const USER: u64 = 1 << 2;
/// `_PAGE_ACCESSED`
pub(super) const ACCESSED: u64 = 1 << 5;
/// `_PAGE_DIRTY`
pub(super) const DIRTY: u64 = 1 << 6;
/// `_PAGE_TABLE`
pub(super) const TABLE: u64 = PRESENT | WRITE | USER | ACCESSED | DIRTY;
/// The bits of an entry that hold the frame.
pub(super) const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// Bytes that an entry of the third level covers.
pub(super) const PMD_SIZE: u64 = 1 << 21;
/// Bytes that an entry of the second level covers.
pub(super) const PUD_SIZE: u64 = 1 << 30;
/// Bytes that an entry of the first level covers.
pub(super) const PGDIR_SIZE: u64 = 1 << 39;

/// The index of an address in the table of a level; level 0 is the last.
#[inline(always)]
fn index(address: u64, level: u32) -> u64 {
    (address >> (12 + 9 * level)) & 511
}

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// `pgd_offset`, folded `p4d_offset`
    #[inline(always)]
    fn p4d_offset(&self, address: u64) -> PageTableEntry {
        self.machine.memory.entry(self.machine.mm().root, index(address, 3))
    }

    /// `pud_offset`: `p4d_pgtable` reads the value through a hook.
    #[inline(always)]
    fn pud_offset(&mut self, p4d: PageTableEntry, address: u64) -> PageTableEntry {
        let value = self.machine.memory.read(p4d);
        let table = self.p4d_val(value) >> 12;
        self.machine.memory.entry(table, index(address, 2))
    }

    /// `pmd_offset`
    #[inline(always)]
    fn pmd_offset(&mut self, pud: PageTableEntry, address: u64) -> PageTableEntry {
        let value = self.machine.memory.read(pud);
        let table = self.pud_val(value) >> 12;
        self.machine.memory.entry(table, index(address, 1))
    }

    /// `pte_offset_map`
    #[inline(always)]
    pub(super) fn pte_offset_map(&mut self, pmd: PageTableEntry, address: u64) -> PageTableEntry {
        let value = self.machine.memory.read(pmd);
        let table = self.pmd_val(value) >> 12;
        if C::HIGHPTE {
            self.kmap_atomic(table);
        }
        self.machine.memory.entry(table, index(address, 0))
    }

    /// `pte_unmap`
    #[inline(always)]
    pub(super) fn pte_unmap(&mut self) {
        if C::HIGHPTE {
            self.kunmap_atomic();
        }
    }

    /// `kmap_atomic` (`arch/x86/mm/highmem_32.c` of 2.6.30): sets an entry of the fixed mappings.
    #[inline(never)]
    fn kmap_atomic(&mut self, frame: u64) {
        self.machine.preempt_count += 1;
        let at = self.machine.kmap;
        let pte = self.make_pte((frame << 12) | PRESENT | WRITE);
        self.set_pte(at, pte);
    }

    /// `kunmap_atomic`: clears the entry and flushes its address.
    #[inline(never)]
    fn kunmap_atomic(&mut self) {
        let at = self.machine.kmap;
        self.set_pte(at, 0);
        self.flush_tlb_one_user(0xffff_ffff_ff60_0000);
        self.machine.preempt_count -= 1;
    }

    /// `pte_lockptr`: the lock of the page that holds the table; `pmd_page` reads the value through a hook.
    #[inline(always)]
    pub(super) fn pte_lockptr(&mut self, pmd: PageTableEntry) -> *mut crate::op::lock::RawSpinlock {
        let value = self.machine.memory.read(pmd);
        let table = self.pmd_val(value) >> 12;
        self.table_lock(table)
    }

    /// `pte_offset_map_lock`. Returns the entry and its lock, which is held.
    #[inline(always)]
    pub(super) fn pte_offset_map_lock(
        &mut self,
        pmd: PageTableEntry,
        address: u64,
    ) -> (PageTableEntry, *mut crate::op::lock::RawSpinlock) {
        let lock = self.pte_lockptr(pmd);
        let pte = self.pte_offset_map(pmd, address);
        self.spin_lock(lock);
        (pte, lock)
    }

    /// `pte_unmap_unlock`
    #[inline(always)]
    pub(super) fn pte_unmap_unlock(&mut self, lock: *mut crate::op::lock::RawSpinlock) {
        self.spin_unlock(lock);
        self.pte_unmap();
    }

    /// Finds the third-level entry of an address, which may be empty. Returns `None` if an upper table is missing.
    #[inline(always)]
    pub(super) fn find_pmd(&mut self, address: u64) -> Option<PageTableEntry> {
        let p4d = self.p4d_offset(address);
        if self.machine.memory.read(p4d) == 0 {
            return None;
        }
        let pud = self.pud_offset(p4d, address);
        if self.machine.memory.read(pud) == 0 {
            return None;
        }
        Some(self.pmd_offset(pud, address))
    }

    /// Finds the third-level entry of an address and makes missing upper tables: `p4d_alloc`, `pud_alloc`, `pmd_alloc`.
    ///
    /// # Errors
    /// Fails when no frame is free for a table.
    #[inline(always)]
    pub(super) fn pmd_alloc(&mut self, address: u64) -> Result<PageTableEntry, OutOfMemory> {
        let p4d = self.p4d_offset(address);
        if self.machine.memory.read(p4d) == 0 {
            self.new_pud(p4d)?;
        }
        let pud = self.pud_offset(p4d, address);
        if self.machine.memory.read(pud) == 0 {
            self.new_pmd(pud)?;
        }
        Ok(self.pmd_offset(pud, address))
    }

    /// `__pud_alloc`
    #[inline(never)]
    fn new_pud(&mut self, p4d: PageTableEntry) -> Result<(), OutOfMemory> {
        let frame = self.alloc_page(true)?;
        let lock = &raw mut self.machine.mm_mut().page_table_lock;
        self.spin_lock(lock);
        let hook = &raw mut self.machine.mm_mut().hook;
        self.alloc_pud(hook, frame);
        let value = self.make_p4d((frame << 12) | TABLE);
        self.set_p4d(p4d, value);
        self.spin_unlock(lock);
        Ok(())
    }

    /// `__pmd_alloc`
    #[inline(never)]
    fn new_pmd(&mut self, pud: PageTableEntry) -> Result<(), OutOfMemory> {
        let frame = self.alloc_page(true)?;
        let table = self.machine.memory.frame(pud.0 as u64);
        let lock = self.table_lock(table);
        self.spin_lock(lock);
        let hook = &raw mut self.machine.mm_mut().hook;
        self.alloc_pmd(hook, frame);
        let value = self.make_pud((frame << 12) | TABLE);
        self.set_pud(pud, value);
        self.spin_unlock(lock);
        Ok(())
    }

    /// `__pte_alloc`
    #[inline(never)]
    pub(super) fn new_pte(&mut self, pmd: PageTableEntry) -> Result<(), OutOfMemory> {
        let frame = self.alloc_page(true)?;
        // `pmd_lock`: the lock of the page that holds the third-level table.
        let table = self.machine.memory.frame(pmd.0 as u64);
        let lock = self.table_lock(table);
        self.spin_lock(lock);
        let hook = &raw mut self.machine.mm_mut().hook;
        self.alloc_pte(hook, frame);
        let value = self.make_pmd((frame << 12) | TABLE);
        self.set_pmd(pmd, value);
        self.spin_unlock(lock);
        Ok(())
    }

    /// `free_pgd_range`: frees the tables of `start..end` that cover only addresses from `floor` to `ceiling`.
    #[inline(never)]
    pub(super) fn free_tables(&mut self, gather: &mut Gather, [start, end]: [u64; 2], [floor, ceiling]: [u64; 2]) {
        let whole = |at: u64, size: u64| {
            let begin = at & !(size - 1);
            begin >= floor && begin + size <= ceiling
        };
        let mut at = start & !(PMD_SIZE - 1);
        while at < end {
            let next = at + PMD_SIZE;
            if let Some(pmd) = self.find_pmd(at).filter(|_| whole(at, PMD_SIZE)) {
                self.free_pte_table(gather, pmd);
            }
            let last = |size: u64| next & (size - 1) == 0 || next >= end;
            if last(PUD_SIZE) && whole(at, PUD_SIZE) {
                self.free_pmd_table(gather, at);
            }
            if last(PGDIR_SIZE) && whole(at, PGDIR_SIZE) {
                self.free_pud_table(gather, at);
            }
            at = next;
        }
    }

    /// `free_pte_range`
    #[inline(always)]
    fn free_pte_table(&mut self, gather: &mut Gather, pmd: PageTableEntry) {
        let value = self.machine.memory.read(pmd);
        if value == 0 {
            return;
        }
        // `pmd_pgtable` is `pmd_page`.
        let table = self.pmd_val(value) >> 12 & (FRAME >> 12);
        self.set_pmd(pmd, 0);
        self.release_pte(table);
        self.gather_table(gather, table);
    }

    /// `free_pmd_range`
    #[inline(always)]
    fn free_pmd_table(&mut self, gather: &mut Gather, address: u64) {
        let p4d = self.p4d_offset(address);
        if self.machine.memory.read(p4d) == 0 {
            return;
        }
        let pud = self.pud_offset(p4d, address);
        let value = self.machine.memory.read(pud);
        if value == 0 {
            return;
        }
        let table = self.pud_val(value) >> 12 & (FRAME >> 12);
        self.set_pud(pud, 0);
        self.release_pmd(table);
        self.gather_table(gather, table);
    }

    /// `free_pud_range`
    #[inline(always)]
    fn free_pud_table(&mut self, gather: &mut Gather, address: u64) {
        let p4d = self.p4d_offset(address);
        let value = self.machine.memory.read(p4d);
        if value == 0 {
            return;
        }
        let table = self.p4d_val(value) >> 12 & (FRAME >> 12);
        self.set_p4d(p4d, 0);
        self.release_pud(table);
        self.gather_table(gather, table);
    }

    /// `paravirt_tlb_remove_table`; frees a full batch first.
    #[inline(always)]
    fn gather_table(&mut self, gather: &mut Gather, table: u64) {
        if gather.len == gather.max {
            self.free_gathered_tables(gather);
        }
        self.tlb_remove_table(gather, table * PAGE as u64);
    }

    /// `tlb_table_flush`: frees tables that no CPU walks any more.
    #[inline(never)]
    pub(super) fn free_gathered_tables(&mut self, gather: &mut Gather) {
        let gathered = gather.pages;
        for &table in gathered.iter().take(gather.len as usize) {
            self.free_page(table / PAGE as u64);
        }
        gather.len = 0;
    }

    /// `flush_tlb_mm_range` on the CPU that runs the address space: flushes up to 33 pages one by one, more at once.
    #[inline(never)]
    pub(super) fn flush_tlb_range(&mut self, start: u64, end: u64) {
        super::sync::xadd::<C>(&mut self.machine.mm_mut().tlb_gen, 1);
        self.irq_disable();
        // `tlb_single_page_flush_ceiling`
        if end.saturating_sub(start) <= 33 * PAGE as u64 {
            let mut at = start;
            while at < end {
                self.flush_tlb_one_user(at);
                at += PAGE as u64;
            }
        } else {
            self.flush_tlb_user();
        }
        self.irq_enable();
    }
}
