//! Page faults (`arch/x86/mm/fault.c`, `mm/memory.c`) and the accesses that cause them.

use super::guard::guard;
use super::memory::{PAGE, PageTableEntry};
use super::mm::Prot;
use super::slab::Slab;
use super::sync::{get_and_clear, xadd};
use super::table::{ACCESSED, DIRTY, FRAME, PRESENT, USER, WRITE};
use super::{Config, Kernel, KernelError, OutOfMemory};
use crate::dispatch::Dispatch;

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// Reads the word at an address of the process.
    ///
    /// # Errors
    /// `SIGSEGV`, or `-ENOMEM` for the page.
    #[inline(always)]
    pub fn load(&mut self, address: u64) -> Result<u64, KernelError> {
        let frame = self.access(address, false)?;
        Ok(self.machine.memory.word(frame, address % PAGE as u64))
    }

    /// Writes the word at an address of the process.
    ///
    /// # Errors
    /// `SIGSEGV`, or `-ENOMEM` for the page.
    #[inline(always)]
    pub fn store(&mut self, address: u64, value: u64) -> Result<(), KernelError> {
        let frame = self.access(address, true)?;
        self.machine.memory.store(frame, address % PAGE as u64, value);
        Ok(())
    }

    /// Repeats the hardware's walk, with a page fault after each failure, until it succeeds.
    #[inline(never)]
    fn access(&mut self, address: u64, write: bool) -> Result<u64, KernelError> {
        loop {
            if let Some(frame) = self.hardware_walk(address, write) {
                return Ok(frame);
            }
            self.page_fault(address, write)?;
        }
    }

    /// The walk of the memory-management unit: four loads, and the accessed and dirty bits. It calls no hook.
    #[inline(always)]
    fn hardware_walk(&mut self, address: u64, write: bool) -> Option<u64> {
        let mut table = self.machine.user_root::<C>();
        for level in (0..4).rev() {
            let at = self.machine.memory.entry(table, (address >> (12 + 9 * level)) & 511);
            let entry = self.machine.memory.read(at);
            if entry & PRESENT == 0 || (level == 0 && write && entry & WRITE == 0) {
                return None;
            }
            let bits = if level == 0 && write { ACCESSED | DIRTY } else { ACCESSED };
            if entry & bits != bits {
                self.machine.memory.write(at, entry | bits);
            }
            table = self.machine.frame_in::<C>(entry);
        }
        Some(table)
    }

    /// `exc_page_fault`
    #[inline(never)]
    fn page_fault(&mut self, address: u64, write: bool) -> Result<(), KernelError> {
        self.machine.cpu.mmu.cr2 = address;
        if C::XEN {
            self.machine.cpu.xen.info.cr2 = address;
        }
        let address = self.read_cr2();
        // `do_user_addr_fault`
        self.irq_enable();
        self.rwsem(1);
        let done = self.user_fault(address, write);
        self.rwsem(-1);
        // `irqentry_exit`
        self.irq_disable();
        done
    }

    /// `find_vma`, `access_error`, `handle_mm_fault`
    #[inline(never)]
    fn user_fault(&mut self, address: u64, write: bool) -> Result<(), KernelError> {
        let guard = guard::<C>();
        let found = self.machine.mm().areas.range(..=address).next_back();
        let (start, area) = found.filter(|(_, area)| area.end > address).ok_or(KernelError::Fault(address))?;
        if write && area.prot == Prot::Read {
            return Err(KernelError::Fault(address));
        }
        let pmd = self.pmd_alloc(address)?;
        let old = if self.machine.memory.read(pmd) == 0 {
            0
        } else {
            let pte = self.pte_offset_map(pmd, address);
            let old = self.machine.memory.read(pte);
            self.pte_unmap();
            old
        };
        if old == 0 {
            if write && area.anon_vma == 0 {
                // `anon_vma_prepare`
                let anon_vma = self.kmem_cache_alloc(Slab::AnonVma, true)?;
                if let Some(area) = self.machine.mm_mut().areas.get_mut(start) {
                    area.anon_vma = anon_vma;
                }
            }
            self.anonymous_page(pmd, address, write, area.prot)?;
        } else if write && old & WRITE == 0 {
            self.write_protected_page(pmd, address)?;
        }
        guard.end();
        Ok(())
    }

    /// `do_anonymous_page`
    #[inline(never)]
    fn anonymous_page(
        &mut self,
        pmd: PageTableEntry,
        address: u64,
        write: bool,
        prot: Prot,
    ) -> Result<(), OutOfMemory> {
        if self.machine.memory.read(pmd) == 0 {
            self.new_pte(pmd)?;
        }
        if !write {
            // The zero page serves until the first write.
            let pte = self.make_pte(PRESENT | USER | ACCESSED);
            let (at, lock) = self.pte_offset_map_lock(pmd, address);
            self.set_pte(at, pte);
            self.pte_unmap_unlock(lock);
            return Ok(());
        }
        let frame = self.alloc_page(true)?;
        let writable = if prot == Prot::Write { WRITE | DIRTY } else { 0 };
        // `mk_pte`
        let pte = self.make_pte((frame << 12) | PRESENT | USER | ACCESSED) | writable;
        let (at, lock) = self.pte_offset_map_lock(pmd, address);
        self.machine.mm_mut().rss += 1;
        self.machine.memory.page(frame).mapped = 1;
        self.lru_add(frame);
        self.set_pte(at, pte);
        self.pte_unmap_unlock(lock);
        Ok(())
    }

    /// `do_wp_page`: makes a private page writable and copies a shared one.
    #[inline(never)]
    fn write_protected_page(&mut self, pmd: PageTableEntry, address: u64) -> Result<(), OutOfMemory> {
        let (at, lock) = self.pte_offset_map_lock(pmd, address);
        let seen = self.machine.memory.read(at);
        // `vm_normal_page`
        let frame = (self.pte_val(seen) & FRAME) >> 12;
        if frame != 0 && self.machine.memory.page(frame).count == 1 {
            // `wp_page_reuse`: `ptep_set_access_flags`
            self.set_pte(at, seen | WRITE | DIRTY | ACCESSED);
            self.pte_unmap_unlock(lock);
            self.flush_tlb_range(address & !(PAGE as u64 - 1), (address | (PAGE as u64 - 1)) + 1);
            return Ok(());
        }
        if frame != 0 {
            // `get_page`
            xadd::<C>(&mut self.machine.memory.page(frame).count, 1);
        }
        self.pte_unmap_unlock(lock);
        self.copy_page(pmd, address, frame)
    }

    /// `wp_page_copy`
    #[inline(never)]
    fn copy_page(&mut self, pmd: PageTableEntry, address: u64, old: u64) -> Result<(), OutOfMemory> {
        let new = match self.alloc_page(old == 0) {
            Ok(new) => new,
            Err(short) => {
                if old != 0 {
                    self.put_page(old);
                }
                return Err(short);
            }
        };
        if old != 0 {
            self.machine.memory.copy(old, new);
        }
        let (at, lock) = self.pte_offset_map_lock(pmd, address);
        let pte = self.make_pte((new << 12) | PRESENT | USER | ACCESSED) | WRITE | DIRTY;
        // `ptep_clear_flush`
        get_and_clear::<C>(self.machine, at);
        let page = address & !(PAGE as u64 - 1);
        self.flush_tlb_range(page, page + PAGE as u64);
        self.machine.memory.page(new).mapped = 1;
        self.lru_add(new);
        // `set_pte_at_notify`
        self.set_pte(at, pte);
        if old == 0 {
            self.machine.mm_mut().rss += 1;
        } else {
            let page = self.machine.memory.page(old);
            page.mapped = page.mapped.wrapping_sub(1);
        }
        self.pte_unmap_unlock(lock);
        if old != 0 {
            // Drops the reference taken above and that of the mapping.
            self.put_page(old);
            self.release_pages(&[old]);
        }
        Ok(())
    }
}
