//! Memory for copies of data that code refers to by its distance. It lies near the program's own text.

use std::ffi::c_void;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::{CodeError, PAGE_BYTES, map_near};

/// A stretch of readable and writable memory near the program's text.
pub struct DataMemory {
    start: NonNull<u8>,
    capacity: usize,
    pub(super) used: usize,
}

impl DataMemory {
    /// Maps `capacity` bytes, rounded up to pages, within reach of `near`.
    ///
    /// # Errors
    /// If the kernel refuses memory, or if no address near `near` is free.
    pub fn new(near: usize, capacity: usize) -> Result<Self, CodeError> {
        let capacity = capacity.next_multiple_of(PAGE_BYTES).max(PAGE_BYTES);
        let map = |address: *mut c_void| {
            let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
            // SAFETY: the mapping must not replace memory in use: MAP_FIXED_NOREPLACE fails where one exists.
            unsafe { mmap_anonymous(address, capacity, ProtFlags::READ | ProtFlags::WRITE, flags) }
        };
        Ok(DataMemory { start: map_near(near, map, capacity)?, capacity, used: 0 })
    }

    /// Copies `bytes` to the next free address at `offset` within a page, and returns that address.
    ///
    /// # Errors
    /// [`CodeError::Full`].
    pub fn copy(&mut self, bytes: &[u8], offset: usize) -> Result<usize, CodeError> {
        let at = self.used + (offset + PAGE_BYTES - self.used % PAGE_BYTES) % PAGE_BYTES;
        if at + bytes.len() > self.capacity {
            return Err(CodeError::Full { capacity: self.capacity });
        }
        self.used = at + bytes.len();
        // SAFETY: the lines above check that the bytes fit into the mapping; each address is given out once, so source
        // and target do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(at), bytes.len()) };
        Ok(self.start.as_ptr() as usize + at)
    }
}

impl Drop for DataMemory {
    fn drop(&mut self) {
        // SAFETY: `new` mapped the memory with this size, and nothing uses it after `drop`.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.capacity) };
    }
}
