//! Physical memory and `struct page`.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use rand::{Rng, RngExt};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::op::lock::RawSpinlock;

/// Bytes of a page.
pub const PAGE: usize = 4096;
/// Frames of the machine: 32 MiB. A power of two, so that a masked number is always one of them.
pub const FRAMES: usize = 8192;

/// `struct page` of a frame (`include/linux/mm_types.h`), as far as it is used.
#[derive(Debug, Default)]
pub struct Page {
    /// `PG_*`, and the node in the topmost bits.
    pub flags: u64,
    /// The next page of the list that this one is in; 0 ends it, for frame 0 is in none.
    pub next: u32,
    /// `_refcount`
    pub count: u32,
    /// `_mapcount`, counted from 0.
    pub mapped: u32,
    /// `ptl`: guards the table that the page holds.
    pub lock: RawSpinlock,
}

/// `PG_uptodate`
pub const UPTODATE: u64 = 1 << 2;
/// `PG_dirty`
pub const DIRTY: u64 = 1 << 3;
/// `PG_lru`
pub const LRU: u64 = 1 << 4;
/// Freed and zeroed since: no flag of Linux's, whose patch zeroes all memory at boot.
pub const CLEAN: u64 = 1 << 30;
/// `PG_slab`
pub const SLAB: u64 = 1 << 7;
/// `PG_reserved`
pub const RESERVED: u64 = 1 << 12;
/// `PG_writeback`
pub const WRITEBACK: u64 = 1 << 15;
/// `PG_hwpoison`
pub const HWPOISON: u64 = 1 << 22;
/// Where the node stands.
pub const NODE_SHIFT: u32 = 54;

/// The memory of a modelled machine, all of it present, and its `struct page` array.
pub struct Memory {
    base: NonNull<u8>,
    /// What the frames lie in.
    mapping: Mapping,
    /// By frame number.
    pub pages: Pages,
}

/// `struct page` by frame number. Behind the array is room, so that it can lie elsewhere.
pub struct Pages {
    room: NonNull<[Page]>,
    first: NonNull<[Page; FRAMES]>,
}

impl Pages {
    /// So many fill a line of the cache.
    const LINE: usize = 64 / size_of::<Page>();
    /// The array begins at one of so many places, a line apart, over four pages: little more than it takes is in a
    /// cache.
    const PLACES: usize = 4 * PAGE / 64;
    const ROOM: usize = FRAMES + Self::PLACES * Self::LINE;

    fn new() -> Self {
        let room: Box<[Page]> = std::iter::repeat_with(Page::default).take(Self::ROOM).collect();
        // From here on raw pointers: the array and what owns it are never referred to at a time.
        let room = NonNull::from(Box::leak(room));
        Pages { room, first: room.cast() }
    }

    /// Draws another place for the array from `rng`. What pages hold is nothing then that means anything.
    pub fn rebuild_at_new_address(&mut self, rng: &mut impl Rng) {
        let first = rng.random_range(0..Self::PLACES) * Self::LINE;
        // SAFETY: `FRAMES` before the end of the room or farther.
        self.first = unsafe { self.room.cast::<Page>().add(first) }.cast();
    }
}

impl Deref for Pages {
    type Target = [Page; FRAMES];

    #[inline(always)]
    fn deref(&self) -> &[Page; FRAMES] {
        // SAFETY: so many pages from there on are within the room, which is this structure's and initialised.
        unsafe { self.first.as_ref() }
    }
}

impl DerefMut for Pages {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [Page; FRAMES] {
        // SAFETY: as for `deref`.
        unsafe { self.first.as_mut() }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: leaked by `new`, and referred to by nobody any more.
        drop(unsafe { Box::from_raw(self.room.as_ptr()) });
    }
}

/// Memory got from the system: half as much again as the frames take, so that they can lie elsewhere in it.
struct Mapping(NonNull<u8>);

impl Mapping {
    const PAGES: usize = FRAMES + FRAMES / 2;

    fn new(how: MapFlags) -> std::io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping where the kernel wants it; nobody else's memory is touched.
        let start =
            unsafe { mmap_anonymous(std::ptr::null_mut(), Self::PAGES * PAGE, access, MapFlags::PRIVATE | how) }?;
        Ok(Mapping(NonNull::new(start.cast()).ok_or(std::io::ErrorKind::OutOfMemory)?))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nothing of it is used after this. That it cannot be unmapped cannot be handled.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), Self::PAGES * PAGE) };
    }
}

/// The address of a page-table entry inside a [`Memory`].
#[derive(Clone, Copy)]
pub struct PageTableEntry(pub(super) *mut u64);

impl Memory {
    /// Gets the memory from the system, at once with [`MapFlags::POPULATE`], else as it is touched.
    ///
    /// # Errors
    /// Where the system has none.
    pub fn new(how: MapFlags) -> std::io::Result<Self> {
        let mapping = Mapping::new(how)?;
        Ok(Memory { base: mapping.0, mapping, pages: Pages::new() })
    }

    /// Draws other pages of the system's for the frames.
    pub fn draw_frames(&mut self, rng: &mut impl Rng) {
        let pages = rng.random_range(0..=Mapping::PAGES - FRAMES);
        // SAFETY: so many pages on there are `FRAMES` left of the mapping.
        self.base = unsafe { self.mapping.0.add(pages * PAGE) };
    }

    /// Where it begins.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The direct map's address of a frame.
    #[inline(always)]
    #[must_use]
    pub fn address(&self, frame: u64) -> *mut u8 {
        let offset = (frame as usize & (FRAMES - 1)) * PAGE;
        // SAFETY: masked to be inside the mapping.
        unsafe { self.base.as_ptr().add(offset) }
    }

    /// The frame of an address of the direct map.
    #[inline(always)]
    #[must_use]
    pub fn frame(&self, address: u64) -> u64 {
        (address.wrapping_sub(self.base.as_ptr() as u64) / PAGE as u64) & (FRAMES as u64 - 1)
    }

    /// The page of a frame.
    #[inline(always)]
    pub fn page(&mut self, frame: u64) -> &mut Page {
        // The mask is what proves it to be inside.
        &mut self.pages[frame as usize & (FRAMES - 1)]
    }

    /// An entry of the table in a frame.
    #[inline(always)]
    #[must_use]
    pub fn entry(&self, table: u64, index: u64) -> PageTableEntry {
        // SAFETY: masked to be inside the frame.
        PageTableEntry(unsafe { self.address(table).cast::<u64>().add(index as usize & 511) })
    }

    /// What an entry holds, as the hardware reads it.
    #[inline(always)]
    #[must_use]
    pub fn read(&self, entry: PageTableEntry) -> u64 {
        // SAFETY: entries are made by `entry` alone and lie inside the mapping, which lives as long as this.
        unsafe { entry.0.read_volatile() }
    }

    /// Writes an entry as the hardware does, and as what Linux does without a hook.
    #[inline(always)]
    pub fn write(&mut self, entry: PageTableEntry, value: u64) {
        // SAFETY: as for `read`.
        unsafe { entry.0.write_volatile(value) }
    }

    /// A word inside a frame, by its byte offset.
    #[inline(always)]
    #[must_use]
    pub fn word(&self, frame: u64, offset: u64) -> u64 {
        self.read(self.entry(frame, offset / 8))
    }

    /// Stores a word inside a frame.
    #[inline(always)]
    pub fn store(&mut self, frame: u64, offset: u64, value: u64) {
        self.write(self.entry(frame, offset / 8), value);
    }

    /// `clear_page` and its like: one byte all over a frame, by `rep stosq` as `clear_page_rep`.
    #[inline(never)]
    pub fn fill(&mut self, frame: u64, pattern: u64) {
        let at = self.address(frame);
        // SAFETY: 512 words from the start of a frame are the frame; the direction flag is clear (psABI).
        unsafe {
            std::arch::asm!("rep stosq", inout("rdi") at => _, inout("rcx") PAGE / 8 => _, in("rax") pattern,
                options(nostack, preserves_flags));
        }
    }

    /// `copy_page`: by `rep movsq`.
    #[inline(never)]
    pub fn copy(&mut self, from: u64, to: u64) {
        let (from, to) = (self.address(from), self.address(to));
        // SAFETY: 512 words of a frame each; where they are the same frame, nothing changes.
        unsafe {
            std::arch::asm!("rep movsq", inout("rsi") from => _, inout("rdi") to => _, inout("rcx") PAGE / 8 => _,
                options(nostack, preserves_flags));
        }
    }
}
