//! The guest at boot: the use of each frame, and the page tables of its first root.

use super::frames::WRITABLE;
use super::memory::{PAGE_SHIFT, STORED_FRAMES};
use super::p2m::PRESENT;
use super::{Call, Frame, MmuExtCmd, StructPage, XenVcpu};

/// The frames of the address space in use, all pinned: root, user mode's root, and one table of each level below. They
/// translate addresses from 0 to below 1 GiB; the last level exists from [`USER_VA`] on.
pub const ROOT: u64 = 1;
/// See [`ROOT`].
pub const USER_ROOT: u64 = 2;
/// See [`ROOT`].
pub const PUD: u64 = 3;
/// See [`ROOT`].
pub const PMD: u64 = 4;
/// See [`ROOT`].
pub const PTE: u64 = 5;
/// The tables of the fixed mappings at the end of the address space.
pub const FIX_PUD: u64 = 6;
/// See [`FIX_PUD`].
pub const FIX_PMD: u64 = 7;
/// See [`FIX_PUD`].
pub const FIX_PTE: u64 = 8;
/// A second address space, built but not yet in use, so not pinned. Its frames have the same order as from [`ROOT`] on.
pub const NEW_ROOT: u64 = 16;
/// See [`NEW_ROOT`].
pub const NEW_USER_ROOT: u64 = 17;
/// See [`NEW_ROOT`].
pub const NEW_PUD: u64 = 18;
/// See [`NEW_ROOT`].
pub const NEW_PMD: u64 = 19;
/// See [`NEW_ROOT`].
pub const NEW_PTE: u64 = 20;
/// Zeroed pages for new page tables: one frame per level, from the lowest level up.
pub const FRESH: u64 = 24;
/// A root that has no user root yet.
pub const BARE_ROOT: u64 = 28;
/// The page that the allocator hands out next.
pub const FREE: u64 = 29;
/// The global descriptor table: read-only, and in use from boot on.
pub const GDT: u64 = 30;
/// A page for the local descriptor table.
pub const LDT: u64 = 31;
/// A page table that no other table points to: plain memory.
pub const LOOSE_PTE: u64 = 32;
/// The shared page.
pub const SHARED_INFO: u64 = 33;
/// Data pages.
pub const DATA: u64 = 40;

/// Entries of the global descriptor table (`GDT_ENTRIES`).
pub(crate) const GDT_ENTRIES: usize = 16;
/// The first entries of the global descriptor table (`gdt_page`, `arch/x86/kernel/cpu/common.c`): an empty one, then
/// flat segments from `GDT_ENTRY_KERNEL32_CS` to `GDT_ENTRY_DEFAULT_USER_CS`.
pub const SEGMENTS: [u64; 7] = [
    0,
    0x00cf_9b00_0000_ffff,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00cf_fb00_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00af_fb00_0000_ffff,
];

/// The address that entry 0 of [`PTE`] maps.
pub const USER_VA: u64 = 0x40_0000;
/// `FIXADDR_TOP`: the address of fixed mapping 0; the others are below.
pub const FIXADDR_TOP: u64 = 0xffff_ffff_ff7f_f000;

/// `_KERNPG_TABLE | _PAGE_USER`: flags of an entry above the last level, and of a writable data page.
pub const TABLE_FLAGS: u64 = 0x67;

/// The maximum number of frames that can be recycled.
const MAX_RECYCLED: usize = 8;

/// The saved state of a frame, in the guest and in the hypervisor.
#[derive(Clone, Copy)]
struct Saved {
    pfn: u64,
    mfn: u64,
    frame: Frame,
    direct: u64,
    page: StructPage,
}

/// The frames whose state is restored after each call; see [`XenVcpu::recycle`].
pub struct Recycled {
    saved: [Option<Saved>; MAX_RECYCLED],
}

impl Recycled {
    /// No frames.
    #[must_use]
    pub fn new() -> Self {
        Recycled { saved: [None; MAX_RECYCLED] }
    }
}

impl Default for Recycled {
    fn default() -> Self {
        Self::new()
    }
}

impl XenVcpu {
    /// A page-table entry that maps a guest frame, in the hardware's form: with the machine's frame number.
    #[must_use]
    pub fn machine_entry(&self, pfn: u64, flags: u64) -> u64 {
        self.p2m.pfn_to_mfn(pfn) << PAGE_SHIFT | flags
    }

    /// `virt_to_machine`
    #[inline]
    #[must_use]
    pub fn virt_to_machine(&self, va: u64) -> u64 {
        self.p2m.pfn_to_mfn(self.memory.virt_to_pfn(va)) << PAGE_SHIFT | va & ((1 << PAGE_SHIFT) - 1)
    }

    /// The call that sets the direct map's entry for a page: `pfn_pte(pfn, PAGE_KERNEL)` or `PAGE_KERNEL_RO`.
    #[inline]
    #[must_use]
    pub fn direct_mapping(&self, pfn: u64, writable: bool) -> Call {
        self.direct_mapping_flushing(pfn, writable, 0)
    }

    /// The same with a TLB flush: [`UVMF_TLB_FLUSH`](super::UVMF_TLB_FLUSH), `UVMF_INVLPG`, or 0
    /// for none.
    #[inline]
    #[must_use]
    pub fn direct_mapping_flushing(&self, pfn: u64, writable: bool, flags: u64) -> Call {
        let protection = if writable { PRESENT | WRITABLE } else { PRESENT };
        let val = self.p2m.make(pfn << PAGE_SHIFT | protection);
        Call::UpdateVaMapping { va: self.memory.pfn_to_virt(pfn), val, flags }
    }

    fn link(&mut self, table: u64, index: usize, pfn: u64) {
        let entry = self.machine_entry(pfn, TABLE_FLAGS);
        self.memory.write(table, index, entry);
    }

    /// Builds the tables and hands the first root and the descriptor table to the hypervisor, as the domain builder and
    /// early boot (`xen_setup_gdt`) do.
    pub(super) fn boot(&mut self) {
        for pfn in 0..STORED_FRAMES as u64 {
            self.memory.clear(pfn);
        }
        self.link(ROOT, 0, PUD);
        self.link(USER_ROOT, 0, PUD);
        self.link(PUD, 0, PMD);
        self.link(PMD, 2, PTE);
        self.link(ROOT, 511, FIX_PUD);
        self.link(FIX_PUD, 511, FIX_PMD);
        self.link(FIX_PMD, 507, FIX_PTE);
        self.link(NEW_ROOT, 0, NEW_PUD);
        self.link(NEW_USER_ROOT, 0, NEW_PUD);
        self.link(NEW_PUD, 0, NEW_PMD);
        self.link(NEW_PMD, 2, NEW_PTE);
        for pfn in ROOT..=FIX_PTE {
            let read_only = self.direct_mapping(pfn, false);
            self.hypercall(read_only);
            self.memory.map[pfn as usize].pinned = true;
        }
        for (root, user) in [(ROOT, USER_ROOT), (NEW_ROOT, NEW_USER_ROOT)] {
            self.memory.map[root as usize].private = self.memory.pfn_to_virt(user);
        }
        for (cmd, pfn) in [
            (MmuExtCmd::PinL1Table, PTE),
            (MmuExtCmd::PinL1Table, FIX_PTE),
            (MmuExtCmd::PinL4Table, ROOT),
            (MmuExtCmd::PinL4Table, USER_ROOT),
            (MmuExtCmd::NewBaseptr, ROOT),
            (MmuExtCmd::NewUserBaseptr, USER_ROOT),
        ] {
            let mfn = self.p2m.pfn_to_mfn(pfn);
            self.hypercall(Call::MmuExt { cmd, arg1: mfn, arg2: 0 });
        }
        for (index, descriptor) in SEGMENTS.into_iter().enumerate() {
            self.memory.write(GDT, index, descriptor);
        }
        self.hypercall(self.direct_mapping(GDT, false));
        self.hypercall(Call::SetGdt { frame: self.p2m.pfn_to_mfn(GDT), entries: GDT_ENTRIES as u64 });
    }

    /// Saves the state of these frames, at most eight; every call of an op restores it. An empty list ends this.
    ///
    /// A kernel turns another frame into a page table each time, but a measurement has one set of arguments. If a hook
    /// changes the type of a frame, the frame is restored, so that each call finds it fresh. This costs a few stores.
    pub fn recycle_frames(&mut self, pfns: &[u64]) {
        self.recycle();
        self.recycled = Recycled::new();
        for (saved, &pfn) in self.recycled.saved.iter_mut().zip(pfns) {
            let (mfn, frames) = (self.p2m.pfn_to_mfn(pfn), &self.hypervisor.frames);
            if let (Some(frame), Some(direct), Some(page)) =
                (frames.get(mfn), frames.direct(pfn), self.memory.map.get(pfn as usize))
            {
                *saved = Some(Saved { pfn, mfn, frame, direct, page: *page });
            }
        }
    }

    /// Restores the frames that were named; see [`XenVcpu::recycle_frames`].
    #[inline]
    pub fn recycle(&mut self) {
        for &Saved { pfn, mfn, frame, direct, page } in self.recycled.saved.iter().map_while(Option::as_ref) {
            self.hypervisor.frames.put_back(pfn, mfn, frame, direct);
            if let Some(known) = self.memory.map.get_mut(pfn as usize) {
                *known = page;
            }
        }
    }
}
