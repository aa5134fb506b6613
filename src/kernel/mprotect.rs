//! `mprotect` (`mm/mprotect.c`).

use super::entry::Call;
use super::guard::guard;
use super::memory::PAGE;
use super::mm::{Prot, pages_up};
use super::security::SecurityRequest;
use super::table::{PMD_SIZE, PRESENT, WRITE};
use super::{Config, Kernel, KernelError};
use crate::dispatch::Dispatch;

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// `mprotect`
    ///
    /// # Errors
    /// `-EINVAL` if no area is mapped at the start; `-ENOMEM` if an area cannot be split.
    #[inline(never)]
    pub fn mprotect(&mut self, start: u64, len: u64, prot: Prot) -> Result<(), KernelError> {
        self.enter(Call::Mprotect, [start, len, prot as u64, 0]);
        self.rwsem(1);
        let done = self.do_mprotect(start, pages_up(len), prot);
        self.rwsem(-1);
        self.leave(0);
        done
    }

    /// `do_mprotect_pkey` with `mprotect_fixup`
    #[inline(never)]
    fn do_mprotect(&mut self, start: u64, len: u64, prot: Prot) -> Result<(), KernelError> {
        let guard = guard::<C>();
        let end = start.saturating_add(len);
        let first = self.machine.mm().areas.range(..=start).next_back();
        if !start.is_multiple_of(PAGE as u64) || len == 0 || first.is_none_or(|(_, area)| area.end < end) {
            return Err(KernelError::Invalid(start));
        }
        self.security(SecurityRequest::Mprotect, start)?;
        self.split(start)?;
        self.split(end)?;
        let mut changed = false;
        self.machine.mm_mut().areas.change(start..end, |area| {
            changed |= area.prot != prot;
            area.prot = prot;
        });
        if changed && self.change_protection(start, end, prot) {
            self.flush_tlb_range(start, end);
        }
        self.merge(start, end);
        guard.end();
        Ok(())
    }

    /// `vma_merge`, after the permissions of `start..end` became those of a neighbour.
    fn merge(&mut self, start: u64, end: u64) {
        for at in [end, start] {
            let areas = &self.machine.mm().areas;
            let before = areas.range(..at).next_back();
            let after = areas.get(at).copied();
            let (Some((first, before)), Some(after)) = (before, after) else { continue };
            if before.end == at && before.prot == after.prot {
                let areas = &mut self.machine.mm_mut().areas;
                areas.remove(at);
                // The merged area needs one `anon_vma`; the other is freed.
                let keep = if before.anon_vma == 0 { after.anon_vma } else { before.anon_vma };
                let drop = if before.anon_vma == 0 { 0 } else { after.anon_vma };
                areas.insert(first, super::Area { end: after.end, anon_vma: keep, ..before });
                self.set_object_word(before.object, 16, after.end);
                self.vm_area_free(super::Area { anon_vma: drop, ..after });
            }
        }
    }

    /// `change_pte_range`, table by table. Returns whether an entry changed.
    #[inline(never)]
    fn change_protection(&mut self, start: u64, end: u64, prot: Prot) -> bool {
        let mut changed = false;
        let mut at = start;
        while at < end {
            let next = ((at & !(PMD_SIZE - 1)) + PMD_SIZE).min(end);
            let pmd = self.find_pmd(at);
            if let Some(pmd) = pmd.filter(|pmd| self.machine.memory.read(*pmd) != 0) {
                let (_, lock) = self.pte_offset_map_lock(pmd, at);
                self.lazy_enter();
                for address in (at..next).step_by(PAGE) {
                    let entry = self.table_entry(pmd, address);
                    if self.machine.memory.read(entry) & PRESENT == 0 {
                        continue;
                    }
                    let old = self.ptep_modify_prot_start(address, entry);
                    // `pte_modify`; the next fault restores write permission. `can_change_pte_writable` is left out.
                    let value = self.pte_val(old);
                    let new = self.make_pte(if prot == Prot::Read { value & !WRITE } else { value });
                    self.ptep_modify_prot_commit(address, entry, new);
                    changed = true;
                }
                self.lazy_leave();
                self.pte_unmap_unlock(lock);
            }
            at = next;
        }
        changed
    }
}
