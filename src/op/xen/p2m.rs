//! The translation between a guest's pseudo-physical frame numbers and the machine's.
//!
//! Sources: `arch/x86/xen/p2m.c` of 2.6.30 (two levels: a table of leaves), `arch/x86/include/asm/xen/page.h`
//! (`__pfn_to_mfn`, `mfn_to_pfn`, the two marker bits). 6.1 maps the leaves side by side into one linear array and has
//! no first level.

use super::memory::{PAGE_SHIFT, Size};

/// `INVALID_P2M_ENTRY`: there is no machine frame.
pub const INVALID: u64 = !0;
/// `FOREIGN_FRAME_BIT`: the frame belongs to another domain.
pub(crate) const FOREIGN: u64 = 1 << 63;
/// `IDENTITY_FRAME_BIT`: the guest's and the machine's number are the same, as for device memory.
pub const IDENTITY: u64 = 1 << 62;

/// `_PAGE_PRESENT`
pub const PRESENT: u64 = 1;
/// `PTE_PFN_MASK`: the frame number of an entry (`__PHYSICAL_MASK_SHIFT` 52).
pub const FRAME_MASK: u64 = ((1 << 52) - 1) & !((1 << PAGE_SHIFT) - 1);

/// Entries of a leaf (`P2M_ENTRIES_PER_PAGE`).
const ENTRIES_PER_LEAF: usize = 512;
/// Entries of the top level.
const TOP_ENTRIES: usize = 128;
/// `MAX_DOMAIN_PAGES`: frames from this number on are identity frames.
pub const MAX_FRAMES: u64 = (TOP_ENTRIES * ENTRIES_PER_LEAF) as u64;
/// Frames of the model machine that ops are measured on (`machine_to_phys_nr`).
pub const MACHINE_FRAMES: usize = 4096;
/// The number of the leaf whose entries are all [`INVALID`] (`p2m_missing`).
const MISSING: u16 = 0;

/// The tables of both directions.
pub struct P2m {
    top: Box<[u16; TOP_ENTRIES]>,
    leaves: Box<[[u64; ENTRIES_PER_LEAF]]>,
    m2p: Box<[u64]>,
    size: Size,
}

/// The machine frame of a guest frame. The guest's frames are scattered over one range of the machine, as a domain's
/// frames are; the other frames belong to Xen and other domains. The factor is odd, so the mapping is one-to-one modulo
/// a power of two. In measurements of ops both kinds of number have the same range, so that a latency chain can
/// translate the result of a translation again.
const fn scatter_frame(pfn: u64, size: Size) -> u64 {
    size.first as u64 + (pfn * 389 + 77) % size.guest as u64
}

impl P2m {
    /// The tables of a guest of `Size::SMALL`.
    #[must_use]
    pub fn new() -> Self {
        Self::with_size(Size::SMALL)
    }

    /// The tables of a guest of this size: its memory, then one leaf of identity frames (a hole for devices), then
    /// invalid entries.
    #[must_use]
    pub(crate) fn with_size(size: Size) -> Self {
        let memory = size.guest / ENTRIES_PER_LEAF;
        let mut leaves = vec![[INVALID; ENTRIES_PER_LEAF]; memory + 2].into_boxed_slice();
        let mut top = Box::new([MISSING; TOP_ENTRIES]);
        let mut m2p = vec![INVALID; size.machine].into_boxed_slice();
        for (number, (leaf, slot)) in leaves.iter_mut().skip(1).zip(top.iter_mut()).enumerate() {
            *slot = number as u16 + 1;
            for (index, entry) in leaf.iter_mut().enumerate() {
                let pfn = (number * ENTRIES_PER_LEAF + index) as u64;
                if number == memory {
                    *entry = pfn | IDENTITY;
                } else {
                    *entry = scatter_frame(pfn, size);
                    m2p[*entry as usize] = pfn;
                }
            }
        }
        P2m { top, leaves, m2p, size }
    }

    /// The memory sizes that these tables describe.
    #[must_use]
    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// `__pfn_to_mfn`: the machine frame of a guest frame, with the marker bits.
    #[inline]
    #[must_use]
    pub fn entry(&self, pfn: u64) -> u64 {
        if pfn >= MAX_FRAMES {
            return pfn | IDENTITY;
        }
        let pfn = pfn as usize;
        let leaf = self.top[pfn / ENTRIES_PER_LEAF] as usize;
        match self.leaves.get(leaf) {
            Some(leaf) => leaf[pfn % ENTRIES_PER_LEAF],
            None => INVALID,
        }
    }

    /// `pfn_to_mfn`: the machine frame of a guest frame, without the marker bits; [`INVALID`] if there is none.
    #[inline]
    #[must_use]
    pub fn pfn_to_mfn(&self, pfn: u64) -> u64 {
        let entry = self.entry(pfn);
        if entry == INVALID { INVALID } else { entry & !(FOREIGN | IDENTITY) }
    }

    /// `machine_to_phys_mapping`: the guest frame of a machine frame by the hypervisor's table; [`INVALID`] if there is
    /// none.
    #[inline]
    #[must_use]
    pub(crate) fn machine_to_phys(&self, mfn: u64) -> u64 {
        self.m2p.get(mfn as usize).copied().unwrap_or(INVALID)
    }

    /// `mfn_to_pfn`: the guest frame by the hypervisor's table, if this guest's own table agrees (for a foreign frame
    /// it does not). Otherwise the number itself if it is an identity frame, or [`INVALID`].
    #[inline]
    #[must_use]
    pub fn mfn_to_pfn(&self, mfn: u64) -> u64 {
        let pfn = self.machine_to_phys(mfn);
        if pfn != INVALID && self.entry(pfn) == mfn {
            return pfn;
        }
        if self.entry(mfn) == mfn | IDENTITY { mfn } else { INVALID }
    }

    /// `pte_pfn_to_mfn` (`arch/x86/xen/mmu_pv.c`): the entry with the machine's frame number, if the value is present.
    /// A value whose frame has no machine frame becomes empty.
    #[inline]
    #[must_use]
    pub fn make(&self, value: u64) -> u64 {
        if value & PRESENT == 0 {
            return value;
        }
        match self.entry((value & FRAME_MASK) >> PAGE_SHIFT) {
            INVALID => 0,
            entry => (entry & !(FOREIGN | IDENTITY)) << PAGE_SHIFT | value & !FRAME_MASK,
        }
    }

    /// `pte_mfn_to_pfn`: the value with the guest's frame number, if the entry is present. An entry whose frame does
    /// not belong to the guest reads as not present.
    #[inline]
    #[must_use]
    pub fn value(&self, entry: u64) -> u64 {
        if entry & PRESENT == 0 {
            return entry;
        }
        match self.mfn_to_pfn((entry & FRAME_MASK) >> PAGE_SHIFT) {
            INVALID => entry & !FRAME_MASK & !PRESENT,
            pfn => pfn << PAGE_SHIFT | entry & !FRAME_MASK,
        }
    }

    /// `set_phys_to_machine` with `FOREIGN`: maps a frame of another domain at `pfn`. Returns `false` if the guest
    /// has no such frame number.
    pub fn set_foreign(&mut self, pfn: u64, mfn: u64) -> bool {
        if pfn >= self.size.guest as u64 {
            return false;
        }
        let pfn = pfn as usize;
        let leaf = self.top[pfn / ENTRIES_PER_LEAF] as usize;
        match self.leaves.get_mut(leaf) {
            Some(leaf) => leaf[pfn % ENTRIES_PER_LEAF] = mfn | FOREIGN,
            None => return false,
        }
        true
    }
}

impl Default for P2m {
    fn default() -> Self {
        Self::new()
    }
}
