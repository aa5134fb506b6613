//! Physical memory and `struct page`.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use rand::{Rng, RngExt};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::op::lock::RawSpinlock;

/// Size of a page in bytes.
pub const PAGE: usize = 4096;
/// Number of frames of the machine: 32 MiB. A power of two, so that every masked number is a frame's.
pub(crate) const FRAMES: usize = 8192;

/// `struct page` of a frame (`include/linux/mm_types.h`): the fields that this kernel uses.
#[derive(Debug, Default)]
pub struct Page {
    /// `PG_*`, and the node in the topmost bits.
    pub(crate) flags: u64,
    /// The next page of the list that holds this one. 0 ends a list, because frame 0 is in none.
    pub(crate) next: u32,
    /// `_refcount`
    pub(crate) count: u32,
    /// `_mapcount`, counted from 0.
    pub(crate) mapped: u32,
    /// `ptl`: guards the page table in this page.
    pub(crate) lock: RawSpinlock,
}

/// `PG_lru`
pub(crate) const LRU: u64 = 1 << 4;
/// Set on a page that was zeroed when it was freed. Linux has no such flag; its patch zeroes all memory at boot.
pub(crate) const CLEAN: u64 = 1 << 30;
/// `PG_slab`
pub(crate) const SLAB: u64 = 1 << 7;
/// `PG_reserved`
pub(crate) const RESERVED: u64 = 1 << 12;
/// `PG_writeback`
pub(crate) const WRITEBACK: u64 = 1 << 15;
/// `PG_hwpoison`
pub(crate) const HWPOISON: u64 = 1 << 22;
/// Shift of the node within the page flags.
pub(crate) const NODE_SHIFT: u32 = 54;

/// The memory of a modelled machine, all of it present, and its `struct page` array.
pub struct Memory {
    base: NonNull<u8>,
    /// The mapping that holds the frames.
    mapping: Mapping,
    /// By frame number.
    pub pages: Pages,
}

/// `struct page` by frame number. The allocation is larger than the array, so that the array can start at other
/// addresses.
pub struct Pages {
    allocation: NonNull<[Page]>,
    first: NonNull<[Page; FRAMES]>,
}

impl Pages {
    /// Entries per 64-byte cache line.
    const ENTRIES_PER_LINE: usize = 64 / size_of::<Page>();
    /// Number of start addresses of the array. They are a line apart and cover four pages, so that the allocation
    /// exceeds the array by little.
    const START_ADDRESSES: usize = 4 * PAGE / 64;
    const ALLOCATED_ENTRIES: usize = FRAMES + Self::START_ADDRESSES * Self::ENTRIES_PER_LINE;

    fn new() -> Self {
        let pages: Box<[Page]> = std::iter::repeat_with(Page::default).take(Self::ALLOCATED_ENTRIES).collect();
        // Raw pointers from here on, because references to the array and to its owner must not coexist.
        let allocation = NonNull::from(Box::leak(pages));
        Pages { allocation, first: allocation.cast() }
    }

    /// Moves the array to a start address drawn from `rng`. The entries have no meaning afterwards.
    pub(crate) fn rebuild_at_new_address(&mut self, rng: &mut impl Rng) {
        let first = rng.random_range(0..Self::START_ADDRESSES) * Self::ENTRIES_PER_LINE;
        // SAFETY: at least `FRAMES` entries lie between this one and the end of the allocation.
        self.first = unsafe { self.allocation.cast::<Page>().add(first) }.cast();
    }
}

impl Deref for Pages {
    type Target = [Page; FRAMES];

    #[inline(always)]
    fn deref(&self) -> &[Page; FRAMES] {
        // SAFETY: `FRAMES` entries from `first` on lie in the allocation, which is initialised and belongs to this
        // value.
        unsafe { self.first.as_ref() }
    }
}

impl DerefMut for Pages {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [Page; FRAMES] {
        // SAFETY: `as_mut` needs the pages that `new` made, without another reference: they live as long as this value,
        // which is borrowed.
        unsafe { self.first.as_mut() }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: leaked by `new`; no reference to it is left.
        drop(unsafe { Box::from_raw(self.allocation.as_ptr()) });
    }
}

/// A mapping of the system's memory. It is half as large again as the frames, so that they can start at other addresses
/// in it.
struct Mapping(NonNull<u8>);

impl Mapping {
    const PAGES: usize = FRAMES + FRAMES / 2;

    fn new(how: MapFlags) -> std::io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the system chooses; it overlaps no other memory.
        let start =
            unsafe { mmap_anonymous(std::ptr::null_mut(), Self::PAGES * PAGE, access, MapFlags::PRIVATE | how) }?;
        Ok(Mapping(NonNull::new(start.cast()).ok_or(std::io::ErrorKind::OutOfMemory)?))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` and not used after this. A failure to unmap cannot be handled here.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), Self::PAGES * PAGE) };
    }
}

/// The address of a page-table entry inside a [`Memory`].
#[derive(Clone, Copy)]
pub struct PageTableEntry(pub(super) *mut u64);

impl Memory {
    /// Maps the memory. With [`MapFlags::POPULATE`] all pages are present at once, otherwise at their first access.
    ///
    /// # Errors
    /// Fails when the system refuses the mapping.
    pub(crate) fn new(how: MapFlags) -> std::io::Result<Self> {
        let mapping = Mapping::new(how)?;
        Ok(Memory { base: mapping.0, mapping, pages: Pages::new() })
    }

    /// Moves the frames to another position in their mapping, drawn from `rng`.
    pub(crate) fn draw_frames(&mut self, rng: &mut impl Rng) {
        let pages = rng.random_range(0..=Mapping::PAGES - FRAMES);
        // SAFETY: `FRAMES` pages of the mapping follow this position.
        self.base = unsafe { self.mapping.0.add(pages * PAGE) };
    }

    /// The address of frame 0.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The address of a frame in the direct map.
    #[inline(always)]
    #[must_use]
    pub(crate) fn address(&self, frame: u64) -> *mut u8 {
        let offset = (frame as usize & (FRAMES - 1)) * PAGE;
        // SAFETY: masked to be inside the mapping.
        unsafe { self.base.as_ptr().add(offset) }
    }

    /// The frame of an address of the direct map.
    #[inline(always)]
    #[must_use]
    pub(crate) fn frame(&self, address: u64) -> u64 {
        (address.wrapping_sub(self.base.as_ptr() as u64) / PAGE as u64) & (FRAMES as u64 - 1)
    }

    /// The `struct page` of a frame.
    #[inline(always)]
    pub(crate) fn page(&mut self, frame: u64) -> &mut Page {
        // The mask proves the index to be in bounds.
        &mut self.pages[frame as usize & (FRAMES - 1)]
    }

    /// An entry of the page table in a frame.
    #[inline(always)]
    #[must_use]
    pub(crate) fn entry(&self, table: u64, index: u64) -> PageTableEntry {
        // SAFETY: masked to be inside the frame.
        PageTableEntry(unsafe { self.address(table).cast::<u64>().add(index as usize & 511) })
    }

    /// Reads an entry as the hardware does.
    #[inline(always)]
    #[must_use]
    pub(crate) fn read(&self, entry: PageTableEntry) -> u64 {
        // SAFETY: only `entry` makes entries; they lie inside the mapping, which lives as long as this value.
        unsafe { entry.0.read_volatile() }
    }

    /// Writes an entry as the hardware does, and as Linux does without a hook.
    #[inline(always)]
    pub(crate) fn write(&mut self, entry: PageTableEntry, value: u64) {
        // SAFETY: `write_volatile` needs a valid word: only `entry` makes entries; they lie inside the mapping, which
        // lives as long as this value.
        unsafe { entry.0.write_volatile(value) }
    }

    /// Reads the word at a byte offset in a frame.
    #[inline(always)]
    #[must_use]
    pub(crate) fn word(&self, frame: u64, offset: u64) -> u64 {
        self.read(self.entry(frame, offset / 8))
    }

    /// Writes the word at a byte offset in a frame.
    #[inline(always)]
    pub(crate) fn store(&mut self, frame: u64, offset: u64, value: u64) {
        self.write(self.entry(frame, offset / 8), value);
    }

    /// Fills a frame with a 64-bit pattern by `rep stosq`, as `clear_page_rep` does.
    #[inline(never)]
    pub(crate) fn fill(&mut self, frame: u64, pattern: u64) {
        let at = self.address(frame);
        // SAFETY: the 512 words are those of the frame; the direction flag is clear (psABI).
        unsafe {
            std::arch::asm!("rep stosq", inout("rdi") at => _, inout("rcx") PAGE / 8 => _, in("rax") pattern,
                options(nostack, preserves_flags));
        }
    }

    /// `copy_page`: copies a frame by `rep movsq`.
    #[inline(never)]
    pub(crate) fn copy(&mut self, from: u64, to: u64) {
        let (from, to) = (self.address(from), self.address(to));
        // SAFETY: `copy` needs two valid ranges, which may be the same: each has the 512 words of one frame.
        unsafe {
            std::arch::asm!("rep movsq", inout("rsi") from => _, inout("rdi") to => _, inout("rcx") PAGE / 8 => _,
                options(nostack, preserves_flags));
        }
    }
}
