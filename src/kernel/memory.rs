//! Physical memory and `struct page`.

use std::ptr::NonNull;
use std::rc::Rc;

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
    mapping: Rc<Mapping>,
    /// By frame number.
    pub pages: Vec<Page>,
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
pub struct Entry(pub(super) *mut u64);

impl Memory {
    /// Gets the memory from the system, at once with [`MapFlags::POPULATE`], else as it is touched.
    ///
    /// # Errors
    /// Where the system has none.
    pub fn new(how: MapFlags) -> std::io::Result<Self> {
        let mapping = Mapping::new(how)?;
        Ok(Self::at(mapping.0, Rc::new(mapping)))
    }

    /// As new, with other pages of the system's for the frames and another array. What frames hold is nothing that counts
    /// after boot.
    #[must_use]
    pub fn elsewhere(&self, rng: &mut impl Rng) -> Self {
        let pages = rng.random_range(0..=Mapping::PAGES - FRAMES);
        // SAFETY: so many pages on there are `FRAMES` left of the mapping.
        let base = unsafe { self.mapping.0.add(pages * PAGE) };
        Self::at(base, Rc::clone(&self.mapping))
    }

    fn at(base: NonNull<u8>, mapping: Rc<Mapping>) -> Self {
        Memory { base, mapping, pages: std::iter::repeat_with(Page::default).take(FRAMES).collect() }
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
        // The mask is what proves it to be inside; the vector's length is a constant of this file.
        &mut self.pages[frame as usize & (FRAMES - 1)]
    }

    /// An entry of the table in a frame.
    #[inline(always)]
    #[must_use]
    pub fn entry(&self, table: u64, index: u64) -> Entry {
        // SAFETY: masked to be inside the frame.
        Entry(unsafe { self.address(table).cast::<u64>().add(index as usize & 511) })
    }

    /// What an entry holds, as the hardware reads it.
    #[inline(always)]
    #[must_use]
    pub fn read(&self, entry: Entry) -> u64 {
        // SAFETY: entries are made by `entry` alone and lie inside the mapping, which lives as long as this.
        unsafe { entry.0.read_volatile() }
    }

    /// Writes an entry as the hardware does, and as what Linux does without a hook.
    #[inline(always)]
    pub fn write(&mut self, entry: Entry, value: u64) {
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
