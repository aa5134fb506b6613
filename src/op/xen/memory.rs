//! The modelled part of the guest's memory: pages that hold page tables and descriptors, and Linux's `struct page` of
//! each. On bare metal it is the machine's memory; in Xen the hypervisor also writes to it.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::p2m::MACHINE_FRAMES;

/// `PAGE_SHIFT`
pub(crate) const PAGE_SHIFT: u32 = 12;
/// Frames of the guest that have contents here: pseudo-physical frames from 0 to below this.
pub const STORED_FRAMES: usize = 64;
/// Frames of the guest. Those from [`STORED_FRAMES`] on can be mapped, but have no contents.
pub const GUEST_FRAMES: usize = 1024;

/// 64-bit words of a page: the entries of a page table.
pub const ENTRIES: usize = 512;

/// The memory sizes of a guest and its machine, in frames of 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Frames of the guest with contents: pseudo-physical frames from 0 to below this.
    pub stored: usize,
    /// Frames of the guest: a power of two, and at least one leaf of the translation.
    pub guest: usize,
    /// Frames of the machine.
    pub machine: usize,
    /// The first machine frame of the guest; the frames below are the hypervisor's.
    pub first: usize,
}

impl Size {
    /// The size that ops are measured with: small, so that it stays in the caches.
    pub(crate) const SMALL: Size =
        Size { stored: STORED_FRAMES, guest: GUEST_FRAMES, machine: MACHINE_FRAMES, first: 0 };
}

/// One page of 4 KiB. Its words are atomic, because ops write to them through the addresses in their arguments.
#[repr(C, align(4096))]
pub struct Page([AtomicU64; ENTRIES]);

/// `struct page`: Linux's state of a frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct StructPage {
    /// `PagePinned`: the hypervisor has the frame pinned as a page table.
    pub pinned: bool,
    /// `private`: of a root, the address of user mode's root (`xen_get_user_pgd`), or 0 if there is none. Of a free
    /// page, the address of the next free page.
    pub private: u64,
}

/// Pages and their `struct page`s.
pub struct Memory {
    pages: NonNull<Page>,
    count: usize,
    /// Whether this structure owns the pages and frees them.
    own: bool,
    /// `mem_map`
    pub map: Box<[StructPage]>,
}

impl Memory {
    /// All pages zero, none pinned.
    #[must_use]
    pub(crate) fn new() -> Self {
        let pages: Box<[Page]> = (0..STORED_FRAMES).map(|_| Page([const { AtomicU64::new(0) }; ENTRIES])).collect();
        let count = pages.len();
        Memory { pages: NonNull::from(Box::leak(pages)).cast(), count, own: true, map: unpinned(count) }
    }

    /// Pages that the caller keeps, with their contents; none pinned.
    ///
    /// # Safety
    /// `count` pages exist at `pages` for as long as this is used, and are accessed only through raw pointers.
    #[must_use]
    pub unsafe fn over(pages: NonNull<Page>, count: usize) -> Self {
        Memory { pages, count, own: false, map: unpinned(count) }
    }

    fn page(&self, pfn: u64) -> Option<&Page> {
        let pfn = usize::try_from(pfn).ok().filter(|pfn| *pfn < self.count)?;
        // SAFETY: one of the pages, which exist as long as this structure (`new`, or the contract of `over`).
        Some(unsafe { self.pages.add(pfn).as_ref() })
    }

    /// `__va(pfn << PAGE_SHIFT)`: the address of a frame's page in the model. Only frames with contents have such a
    /// page.
    #[inline]
    #[must_use]
    pub fn pfn_to_virt(&self, pfn: u64) -> u64 {
        (self.pages.as_ptr() as u64).wrapping_add(pfn << PAGE_SHIFT)
    }

    /// `PFN_DOWN(__pa(va))`: the frame at an address, by pointer arithmetic as in Linux's direct map. An address
    /// outside gives a frame number that the guest does not have.
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
    pub(crate) fn page_of(&self, va: u64) -> Option<&StructPage> {
        self.map.get(self.virt_to_pfn(va) as usize)
    }

    /// As [`Memory::page_of`], but mutable.
    #[inline]
    pub(crate) fn page_of_mut(&mut self, va: u64) -> Option<&mut StructPage> {
        let pfn = self.virt_to_pfn(va) as usize;
        self.map.get_mut(pfn)
    }

    /// `xen_page_pinned`
    #[inline]
    #[must_use]
    pub fn pinned(&self, va: u64) -> bool {
        self.page_of(va).is_some_and(|page| page.pinned)
    }

    /// Reads a word of a page; `None` outside.
    #[inline]
    #[must_use]
    pub fn read(&self, pfn: u64, index: usize) -> Option<u64> {
        Some(self.page(pfn)?.0.get(index)?.load(Ordering::Relaxed))
    }

    /// Writes a word of a page; `None` outside.
    #[inline]
    pub fn write(&self, pfn: u64, index: usize, value: u64) -> Option<()> {
        self.page(pfn)?.0.get(index)?.store(value, Ordering::Relaxed);
        Some(())
    }

    /// `clear_page`; `None` outside.
    pub fn clear(&self, pfn: u64) -> Option<()> {
        self.page(pfn)?.0.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        Some(())
    }
}

fn unpinned(count: usize) -> Box<[StructPage]> {
    vec![StructPage::default(); count].into_boxed_slice()
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.own {
            let pages = NonNull::slice_from_raw_parts(self.pages, self.count);
            // SAFETY: `new` leaked a slice of this length.
            drop(unsafe { Box::from_raw(pages.as_ptr()) });
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}
