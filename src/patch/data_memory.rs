//! Memory for copies of data that code refers to by its distance, near the program's own text.

use std::ffi::c_void;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::code_memory::{CodeError, map_near};

/// A stretch of readable and writable memory near the program's text.
pub struct DataMemory {
    start: NonNull<u8>,
    capacity: usize,
    used: usize,
}

impl DataMemory {
    /// Maps `capacity` bytes (rounded up to pages) within reach of `near`.
    ///
    /// # Errors
    /// Where there is no room, or the kernel refuses.
    pub fn new(near: usize, capacity: usize) -> Result<Self, CodeError> {
        let capacity = capacity.next_multiple_of(4096).max(4096);
        let map = |address: *mut c_void| {
            let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
            // SAFETY: MAP_FIXED_NOREPLACE fails instead of replacing a mapping.
            unsafe { mmap_anonymous(address, capacity, ProtFlags::READ | ProtFlags::WRITE, flags) }
        };
        Ok(DataMemory { start: map_near(near, map, capacity)?, capacity, used: 0 })
    }

    /// Copies `bytes` to the next place that lies at `offset` within a page, and returns where that is.
    ///
    /// # Errors
    /// [`CodeError::Full`].
    pub fn copy(&mut self, bytes: &[u8], offset: usize) -> Result<usize, CodeError> {
        let at = self.used + (offset + 4096 - self.used % 4096) % 4096;
        if at + bytes.len() > self.capacity {
            return Err(CodeError::Full { capacity: self.capacity });
        }
        self.used = at + bytes.len();
        // SAFETY: within the mapping, by the lines above, and nobody else's.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(at), bytes.len()) };
        Ok(self.start.as_ptr() as usize + at)
    }
}

impl Drop for DataMemory {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size, and not used after this.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.capacity) };
    }
}
