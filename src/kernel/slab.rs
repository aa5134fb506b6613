//! Object caches after SLUB (`mm/slub.c`): a list of free objects per CPU and cache, linked through the objects and
//! refilled page by page.

use super::config::Secrets;
use super::memory::{PAGE, SLAB};
use super::{Config, Kernel, OutOfMemory};
use crate::dispatch::Dispatch;

/// A cache of objects of one size.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    /// Size of an object in bytes, a multiple of 8.
    pub(crate) size: u64,
    /// Address of the first free object in the direct map; 0 if there is none.
    free: u64,
    /// Number of objects in use.
    pub(crate) live: u64,
}

/// The caches of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slab {
    /// `vm_area_struct`: 200 bytes.
    VmArea,
    /// `mm_struct`: about 1,024 bytes.
    Mm,
    /// `task_struct`: its first 2 KiB, the part that fork copies here.
    Task,
    /// `anon_vma` with `anon_vma_chain`.
    AnonVma,
    /// `struct file`.
    File,
}

/// Object sizes in bytes, in the order of [`Slab`] (`/proc/slabinfo` of 6.1, rounded to words).
const SIZES: [u64; 5] = [200, 1024, 2048, 168, 232];

/// Makes all caches, empty.
pub(super) fn caches() -> [Cache; 5] {
    SIZES.map(|size| Cache { size, ..Cache::default() })
}

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// `kmem_cache_alloc`; `zero` is `__GFP_ZERO`.
    ///
    /// # Errors
    /// Fails when no page is free for more objects.
    #[inline(never)]
    pub(super) fn kmem_cache_alloc(&mut self, slab: Slab, zero: bool) -> Result<u64, OutOfMemory> {
        if self.machine.caches[slab as usize].free == 0 {
            self.new_slab(slab)?;
        }
        let Cache { size, free: object, .. } = self.machine.caches[slab as usize];
        let next = self.object_word(object, 0);
        let cache = &mut self.machine.caches[slab as usize];
        cache.free = next;
        cache.live += 1;
        if zero || C::INIT_ON_ALLOC {
            self.clear_object(object, size);
        }
        Ok(object)
    }

    /// `kmem_cache_free`
    #[inline(never)]
    pub(super) fn kmem_cache_free(&mut self, slab: Slab, object: u64) {
        let size = self.machine.caches[slab as usize].size;
        if C::INIT_ON_FREE {
            self.clear_object(object, size);
        }
        match C::SECRETS {
            Secrets::Kept => {}
            Secrets::Memset => self.clear_object(object, size),
            Secrets::Kzfree => self.kzfree(object),
        }
        let free = self.machine.caches[slab as usize].free;
        self.set_object_word(object, 0, free);
        let cache = &mut self.machine.caches[slab as usize];
        cache.free = object;
        cache.live -= 1;
    }

    /// `kfree_sensitive`: `ksize` finds the slab's page, which leads to the size.
    #[inline(never)]
    fn kzfree(&mut self, object: u64) {
        let frame = self.machine.memory.frame(object);
        let cache = self.machine.memory.page(frame).mapped as usize;
        let size = self.machine.caches.get(cache).map_or(0, |cache| cache.size);
        self.clear_object(object, size);
    }

    /// `new_slab`: divides a page into objects, each linked to the next.
    #[inline(never)]
    fn new_slab(&mut self, slab: Slab) -> Result<(), OutOfMemory> {
        // `___slab_alloc` runs with interrupts off (`local_lock_irqsave`).
        let flags = self.local_irq_save();
        let page = self.alloc_page(false);
        self.local_irq_restore(flags);
        let frame = page?;
        let page = self.machine.memory.page(frame);
        page.flags |= SLAB;
        page.mapped = slab as u32;
        let size = self.machine.caches[slab as usize].size;
        let first = self.machine.memory.address(frame) as u64;
        let count = PAGE as u64 / size;
        for index in 0..count {
            let next = if index + 1 < count { first + (index + 1) * size } else { 0 };
            self.set_object_word(first + index * size, 0, next);
        }
        self.machine.caches[slab as usize].free = first;
        Ok(())
    }

    /// Reads a word of an object.
    #[inline(always)]
    pub(super) fn object_word(&self, object: u64, offset: u64) -> u64 {
        let at = object + offset;
        self.machine.memory.word(self.machine.memory.frame(at), at % PAGE as u64)
    }

    /// Writes a word of an object.
    #[inline(always)]
    pub(super) fn set_object_word(&mut self, object: u64, offset: u64, value: u64) {
        let at = object + offset;
        self.machine.memory.store(self.machine.memory.frame(at), at % PAGE as u64, value);
    }

    /// Zeroes an object. Objects do not cross pages.
    #[inline(never)]
    pub(super) fn clear_object(&mut self, object: u64, size: u64) {
        let offset = object % PAGE as u64;
        let len = size.min(PAGE as u64 - offset) as usize;
        // SAFETY: the bytes start inside a frame and end at its end or before.
        unsafe { self.object_at(object).write_bytes(0, len) };
    }

    /// Copies an object.
    #[inline(never)]
    pub(super) fn copy_object(&mut self, from: u64, to: u64, size: u64) {
        let bytes_left = |object: u64| PAGE as u64 - object % PAGE as u64;
        let len = size.min(bytes_left(from)).min(bytes_left(to)) as usize;
        // SAFETY: both ranges lie inside a frame; `copy` allows them to overlap.
        unsafe { std::ptr::copy(self.object_at(from), self.object_at(to), len) };
    }

    #[inline(always)]
    fn object_at(&self, object: u64) -> *mut u8 {
        let frame = self.machine.memory.address(self.machine.memory.frame(object));
        // SAFETY: an offset inside the frame.
        unsafe { frame.add((object % PAGE as u64) as usize) }
    }
}
