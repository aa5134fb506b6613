//! The translation between a guest's pseudo-physical frame numbers and the machine's.
//!
//! Sources: `arch/x86/xen/p2m.c` of 2.6.30 (two levels: a table of leaves), `arch/x86/include/asm/xen/page.h`
//! (`__pfn_to_mfn`, `mfn_to_pfn`, the two marker bits). 6.1 maps the leaves side by side into one linear array and does
//! without the first level.

use super::memory::{PAGE_SHIFT, Size};

/// `INVALID_P2M_ENTRY`: no machine frame.
pub const INVALID: u64 = !0;
/// `FOREIGN_FRAME_BIT`: the frame is another domain's.
pub const FOREIGN: u64 = 1 << 63;
/// `IDENTITY_FRAME_BIT`: the same number on both sides, as of device memory.
pub const IDENTITY: u64 = 1 << 62;

/// `_PAGE_PRESENT`
pub const PRESENT: u64 = 1;
/// `PTE_PFN_MASK`: the frame number of an entry (`__PHYSICAL_MASK_SHIFT` 52).
pub const FRAME_MASK: u64 = ((1 << 52) - 1) & !((1 << PAGE_SHIFT) - 1);

/// Entries of a leaf (`P2M_ENTRIES_PER_PAGE`).
const ENTRIES_PER_LEAF: usize = 512;
/// Entries of the top level.
const TOP_ENTRIES: usize = 128;
/// `MAX_DOMAIN_PAGES`: from here on, frames are identity frames.
pub const MAX_FRAMES: u64 = (TOP_ENTRIES * ENTRIES_PER_LEAF) as u64;
/// Machine frames of the machine that ops are measured on (`machine_to_phys_nr`).
pub const MACHINE_FRAMES: usize = 4096;
/// The leaf of which every entry is [`INVALID`] (`p2m_missing`).
const MISSING: u16 = 0;

/// Both tables.
pub struct P2m {
    top: Box<[u16; TOP_ENTRIES]>,
    leaves: Box<[[u64; ENTRIES_PER_LEAF]]>,
    m2p: Box<[u64]>,
    size: Size,
}

/// Where the model puts a guest frame in machine memory: scattered, as a domain's frames are, over one range of the
/// machine; the others are Xen's and other domains'. An odd factor makes it one-to-one modulo a power of two. That both
/// kinds of number have the same range where ops are measured lets a translation's result be translated again, in a
/// latency chain.
const fn scatter_frame(pfn: u64, size: Size) -> u64 {
    size.first as u64 + (pfn * 389 + 77) % size.guest as u64
}

impl P2m {
    /// That of a guest of [`Size::SMALL`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_size(Size::SMALL)
    }

    /// The guest's frames of memory, then one leaf of identity frames (a hole for devices), then nothing.
    #[must_use]
    pub fn with_size(size: Size) -> Self {
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

    /// How much memory it is of.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// `__pfn_to_mfn`: with the marker bits.
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

    /// `pfn_to_mfn`: without the marker bits; [`INVALID`] where there is none.
    #[inline]
    #[must_use]
    pub fn pfn_to_mfn(&self, pfn: u64) -> u64 {
        let entry = self.entry(pfn);
        if entry == INVALID { INVALID } else { entry & !(FOREIGN | IDENTITY) }
    }

    /// `machine_to_phys_mapping`: which guest frame a machine frame is, as the hypervisor has it; [`INVALID`] for none.
    #[inline]
    #[must_use]
    pub fn machine_to_phys(&self, mfn: u64) -> u64 {
        self.m2p.get(mfn as usize).copied().unwrap_or(INVALID)
    }

    /// `mfn_to_pfn`: what the hypervisor's table says, if this guest's own agrees (it does not for a foreign frame);
    /// else the number itself where that is an identity frame; else [`INVALID`].
    #[inline]
    #[must_use]
    pub fn mfn_to_pfn(&self, mfn: u64) -> u64 {
        let pfn = self.machine_to_phys(mfn);
        if pfn != INVALID && self.entry(pfn) == mfn {
            return pfn;
        }
        if self.entry(mfn) == mfn | IDENTITY { mfn } else { INVALID }
    }

    /// `pte_pfn_to_mfn` (`arch/x86/xen/mmu_pv.c`): an entry with the machine's frame number, if present. One without a
    /// machine frame becomes empty.
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

    /// `pte_mfn_to_pfn`: an entry with the guest's frame number, if present. One whose frame is not the guest's reads
    /// as not present.
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

    /// `set_phys_to_machine` with [`FOREIGN`]: a frame of another domain is mapped at `pfn`. `false` where the guest
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
