//! Stores of the guest that no hook announces, as of `ptep_get_and_clear` and `ptep_set_wrprotect`: to a page table,
//! which is read-only in the direct map, they trap, and the hypervisor does them for the guest.
//!
//! Source: Xen's `xen/arch/x86/pv/ro-page-fault.c` (`ptwr_emulated_update`), which knows tables of the last level
//! alone.

use super::XenVcpu;
use super::frames::{EPERM, FrameType, WRITABLE};
use super::memory::PAGE_SHIFT;

impl XenVcpu {
    /// Stores a word of the guest's own memory by its address in the direct map. Where that cannot be done for the
    /// guest, it would get the fault: it counts as refused, and nothing is written.
    pub fn store(&mut self, va: u64, value: u64) {
        let (pfn, index) = (self.memory.virt_to_pfn(va), (va as usize & 0xfff) / 8);
        let writable = self.hypervisor.frames.direct(pfn).is_some_and(|entry| entry & WRITABLE != 0);
        if writable {
            self.memory.write(pfn, index, value);
            return;
        }
        self.hypervisor.emulated += 1;
        let mfn = self.p2m.pfn_to_mfn(pfn);
        let done = match self.hypervisor.frames.get(mfn).map(|frame| frame.kind) {
            Some(FrameType::L1) => self.tables().update(mfn << PAGE_SHIFT | va & 0xff8, value, 0),
            _ => Err(EPERM),
        };
        self.hypervisor.refused += u64::from(done.is_err());
    }
}
