//! Allocation and release of page tables: a nop on bare metal; in Xen the hypervisor is notified of each table.

use std::marker::PhantomData;

use super::level::{P4d, Pmd, Pte, Pud, Table};
use super::mm::Mm;
use super::{MMU_OP, reset_mmu};
use crate::native;
use crate::op::xen::{Call, LazyMode, MmuExtCmd, guest};
use crate::op::{Bytes, CpuModel, Kind, Op, OpMeta};

/// Notifies the hypervisor that a frame becomes a page table.
pub struct AllocTable<L>(PhantomData<L>);

/// `alloc_pte`
pub type AllocPte = AllocTable<Pte>;
/// `alloc_pmd`
pub type AllocPmd = AllocTable<Pmd>;
/// `alloc_pud`
pub type AllocPud = AllocTable<Pud>;
/// `alloc_p4d`
pub type AllocP4d = AllocTable<P4d>;

// SAFETY: the native body does nothing; in Xen a batch that checks the frame, after a read of the caller's mm.
unsafe impl<L: Table> Op for AllocTable<L> {
    const META: OpMeta = OpMeta {
        name: L::ALLOC.name,
        native_kind: Kind::Real,
        xen_kind: if L::IN_XEN { Kind::Modelled } else { Kind::Real },
        bytes: Bytes::Nop,
        prototype: L::ALLOC.prototype,
        purpose: "notify that a frame becomes a page table",
        source: L::ALLOC.source,
        ..MMU_OP
    };
    const SLOT: usize = L::ALLOC.slot as usize;
    type Args = (u64, u64);
    type Ret = ();

    native! { (mm: "rdi", pfn: "rsi"); }

    /// `arch/x86/xen/mmu_pv.c`, `xen_alloc_ptpage`: in a pinned address space, one batch makes the frame read-only in
    /// the direct map and, on the last level, pins it. In an unpinned address space nothing happens until the whole
    /// space is pinned.
    unsafe fn xen((mm, pfn): (u64, u64)) {
        if !L::IN_XEN {
            return;
        }
        // SAFETY: the caller's mm; no reference to the model is alive yet.
        let pgd = unsafe { (&raw const (*(mm as *const Mm)).pgd).read() };
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let xen = &mut unsafe { CpuModel::current() }.xen;
        if !xen.memory.pinned(pgd) {
            return;
        }
        let Some(page) = xen.memory.map.get_mut(pfn as usize) else { return };
        let pinned = std::mem::replace(&mut page.pinned, true);
        let mask = xen.mask_events();
        xen.append(xen.direct_mapping(pfn, false));
        if L::PINNED_ITSELF && !pinned {
            xen.append(Call::MmuExt { cmd: MmuExtCmd::PinL1Table, arg1: xen.p2m.pfn_to_mfn(pfn), arg2: 0 });
        }
        xen.issue(LazyMode::Mmu);
        xen.restore_events(mask);
        xen.recycle();
    }

    /// A zeroed frame in the pinned address space, put back after every call.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        reset_mmu(cpu);
        cpu.xen.recycle_frames(&[L::FRESH]);
        (&raw const cpu.mmu.mm as u64, L::FRESH)
    }
}

/// Notifies the hypervisor that a page table becomes a plain frame.
pub struct ReleaseTable<L>(PhantomData<L>);

/// `release_pte`
pub type ReleasePte = ReleaseTable<Pte>;
/// `release_pmd`
pub type ReleasePmd = ReleaseTable<Pmd>;
/// `release_pud`
pub type ReleasePud = ReleaseTable<Pud>;
/// `release_p4d`
pub type ReleaseP4d = ReleaseTable<P4d>;

// SAFETY: the native body does nothing; in Xen a batch that checks the frame.
unsafe impl<L: Table> Op for ReleaseTable<L> {
    const META: OpMeta = OpMeta {
        name: L::RELEASE.name,
        native_kind: Kind::Real,
        xen_kind: if L::IN_XEN { Kind::Modelled } else { Kind::Real },
        bytes: Bytes::Nop,
        prototype: L::RELEASE.prototype,
        purpose: "notify that a page table becomes a plain frame again",
        source: L::RELEASE.source,
        ..MMU_OP
    };
    const SLOT: usize = L::RELEASE.slot as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (pfn: "rdi"); }

    /// `arch/x86/xen/mmu_pv.c`, `xen_release_ptpage`: one batch unpins a pinned table (on the last level) and makes it
    /// writable in the direct map.
    unsafe fn xen((pfn,): (u64,)) {
        if !L::IN_XEN {
            return;
        }
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let xen = &mut unsafe { CpuModel::current() }.xen;
        if !xen.memory.map.get(pfn as usize).is_some_and(|page| page.pinned) {
            return;
        }
        let mask = xen.mask_events();
        if L::PINNED_ITSELF {
            xen.append(Call::MmuExt { cmd: MmuExtCmd::UnpinTable, arg1: xen.p2m.pfn_to_mfn(pfn), arg2: 0 });
        }
        xen.append(xen.direct_mapping(pfn, true));
        xen.issue(LazyMode::Mmu);
        xen.restore_events(mask);
        if let Some(page) = xen.memory.map.get_mut(pfn as usize) {
            page.pinned = false;
        }
        xen.recycle();
    }

    /// A table that was allocated in the pinned address space, put back after every call.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        reset_mmu(cpu);
        let xen = &mut cpu.xen;
        if xen.memory.map.get(L::FRESH as usize).is_some_and(|page| !page.pinned) {
            xen.hypercall(xen.direct_mapping(L::FRESH, false));
            if L::PINNED_ITSELF {
                let mfn = xen.p2m.pfn_to_mfn(L::FRESH);
                xen.hypercall(Call::MmuExt { cmd: MmuExtCmd::PinL1Table, arg1: mfn, arg2: 0 });
            }
            if let Some(page) = xen.memory.map.get_mut(L::FRESH as usize) {
                page.pinned = true;
            }
        }
        xen.recycle_frames(&[L::FRESH]);
        (L::FRESH,)
    }
}

/// Makes the frames of new tables plain again, if a measurement of the release left them page tables.
pub(super) fn reclaim_fresh(cpu: &mut CpuModel) {
    let xen = &mut cpu.xen;
    for pfn in guest::FRESH..guest::FRESH + 4 {
        let mfn = xen.p2m.pfn_to_mfn(pfn);
        if !xen.memory.map.get(pfn as usize).is_some_and(|page| page.pinned) {
            continue;
        }
        if xen.hypervisor.frames.get(mfn).is_some_and(|frame| frame.pinned) {
            xen.hypercall(Call::MmuExt { cmd: MmuExtCmd::UnpinTable, arg1: mfn, arg2: 0 });
        }
        xen.hypercall(xen.direct_mapping(pfn, true));
        if let Some(page) = xen.memory.map.get_mut(pfn as usize) {
            page.pinned = false;
        }
    }
}
