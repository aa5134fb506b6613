//! Stores of the guest without a hook, such as those of `ptep_get_and_clear` and `ptep_set_wrprotect`. Page tables are
//! read-only in the direct map, so these stores trap, and the hypervisor emulates them.
//!
//! Source: Xen's `xen/arch/x86/pv/ro-page-fault.c` (`ptwr_emulated_update`), which emulates stores to tables of the
//! last level only.

use super::XenVcpu;
use super::frames::{EPERM, FrameType, WRITABLE};
use super::memory::PAGE_SHIFT;

impl XenVcpu {
    /// Stores a word of the guest's memory, at its address in the direct map. A store that the hypervisor does not
    /// emulate faults in the guest: it counts as refused, and writes nothing.
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
