//! The guest's memory, as far as it is modelled: pages that hold page tables and descriptors, and Linux's `struct page`
//! of each. On bare metal it is the machine's memory; in Xen the hypervisor writes to it, too.

use std::sync::atomic::{AtomicU64, Ordering};

/// `PAGE_SHIFT`
pub const PAGE_SHIFT: u32 = 12;
/// How many frames of the guest have contents here: pseudo-physical frames 0 up to this.
pub const STORED_FRAMES: usize = 64;
/// How many frames the guest has; those from [`STORED_FRAMES`] on can be mapped but not looked into.
pub const GUEST_FRAMES: usize = 1024;

/// Words of a page: the entries of a page table.
pub const ENTRIES: usize = 512;

/// One page. Atomics, because ops write to it through the addresses they are given.
#[repr(C, align(4096))]
pub struct Page([AtomicU64; ENTRIES]);

/// What Linux keeps per frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct StructPage {
    /// `PagePinned`: the hypervisor knows it as a page table.
    pub pinned: bool,
    /// `private`: of a root, the address of the root that user mode has (`xen_get_user_pgd`); 0 for none.
    pub private: u64,
}

/// Pages and their `struct page`s.
pub struct Memory {
    pages: Box<[Page]>,
    /// `mem_map`
    pub map: Box<[StructPage]>,
}

impl Memory {
    /// All pages zero, none pinned.
    #[must_use]
    pub fn new() -> Self {
        Memory {
            pages: (0..STORED_FRAMES).map(|_| Page([const { AtomicU64::new(0) }; ENTRIES])).collect(),
            map: vec![StructPage::default(); STORED_FRAMES].into_boxed_slice(),
        }
    }

    /// `__va(pfn << PAGE_SHIFT)`: where the model keeps the page of a frame. Meaningful for frames below
    /// [`STORED_FRAMES`].
    #[inline]
    #[must_use]
    pub fn pfn_to_virt(&self, pfn: u64) -> u64 {
        (self.pages.as_ptr() as u64).wrapping_add(pfn << PAGE_SHIFT)
    }

    /// `PFN_DOWN(__pa(va))`: pointer arithmetic, as in Linux's direct map. An address outside gives a frame number the
    /// guest does not have.
    #[inline]
    #[must_use]
    pub fn virt_to_pfn(&self, va: u64) -> u64 {
        va.wrapping_sub(self.pages.as_ptr() as u64) >> PAGE_SHIFT
    }

    /// The address of an entry of a table.
    #[must_use]
    pub fn entry(&self, pfn: u64, index: usize) -> u64 {
        self.pfn_to_virt(pfn) + 8 * (index % ENTRIES) as u64
    }

    /// `virt_to_page`; `None` outside the modelled memory.
    #[inline]
    #[must_use]
    pub fn page_of(&self, va: u64) -> Option<&StructPage> {
        self.map.get(self.virt_to_pfn(va) as usize)
    }

    /// As [`Memory::page_of`], to change it.
    #[inline]
    pub fn page_of_mut(&mut self, va: u64) -> Option<&mut StructPage> {
        let pfn = self.virt_to_pfn(va) as usize;
        self.map.get_mut(pfn)
    }

    /// `xen_page_pinned`
    #[inline]
    #[must_use]
    pub fn pinned(&self, va: u64) -> bool {
        self.page_of(va).is_some_and(|page| page.pinned)
    }

    /// A word of a page; `None` outside.
    #[inline]
    #[must_use]
    pub fn read(&self, pfn: u64, index: usize) -> Option<u64> {
        Some(self.pages.get(usize::try_from(pfn).ok()?)?.0.get(index)?.load(Ordering::Relaxed))
    }

    /// Writes a word of a page; `None` outside.
    #[inline]
    pub fn write(&self, pfn: u64, index: usize, value: u64) -> Option<()> {
        self.pages.get(usize::try_from(pfn).ok()?)?.0.get(index)?.store(value, Ordering::Relaxed);
        Some(())
    }

    /// `clear_page`; `None` outside.
    pub fn clear(&self, pfn: u64) -> Option<()> {
        self.pages.get(usize::try_from(pfn).ok()?)?.0.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        Some(())
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}
