//! The memory of a replay beside its code: data, stack and stream, each between pages that nothing may touch.

use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};

use super::ReplayError;
use super::arena::{Arena, ORIGIN, PAGE_BYTES};
use super::flow::MAX_DEPTH;

/// Bytes of the stack: the deepest calls, and a signal of this process, with its vector registers, below them.
const STACK_BYTES: usize = 8 * MAX_DEPTH + (256 << 10);
/// Bytes of a large page.
const LARGE_PAGE_BYTES: usize = 2 << 20;

/// The memory of a replay.
pub(super) struct Memory {
    start: NonNull<u8>,
    bytes: usize,
    stream: usize,
    stream_bytes: usize,
    stack: usize,
}

/// Offsets of the parts, from the start.
struct Parts {
    stack: usize,
    stack_end: usize,
    stream: usize,
    stream_end: usize,
    bytes: usize,
}

impl Parts {
    fn of(arena: &Arena, stream: usize) -> Parts {
        let data = arena.bytes.next_multiple_of(PAGE_BYTES);
        let stack = data + PAGE_BYTES;
        let stack_end = stack + STACK_BYTES;
        let start = (stack_end + PAGE_BYTES).next_multiple_of(LARGE_PAGE_BYTES);
        let end = start + stream.next_multiple_of(PAGE_BYTES);
        Parts { stack, stack_end, stream: start, stream_end: end, bytes: end + PAGE_BYTES }
    }
}

/// Distance of the upper end of the stack from the origin of the data.
pub(super) fn stack_distance(arena: &Arena) -> usize {
    // The words above it are those of a caller.
    Parts::of(arena, 0).stack_end - 64 - ORIGIN
}

impl Memory {
    /// Maps memory for data and stream.
    pub(super) fn new(arena: &Arena, stream: &[u8]) -> Result<Memory, ReplayError> {
        let parts = Parts::of(arena, stream.len());
        // A large page may begin anywhere in the first one.
        let bytes = parts.bytes + LARGE_PAGE_BYTES;
        let failed = |source| ReplayError::Memory { bytes, source };
        // SAFETY: the mapping must not replace memory in use: without MAP_FIXED the kernel chooses a free address.
        let mapped = unsafe {
            mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE)
        };
        let start = NonNull::new(mapped.map_err(failed)?.cast::<u8>()).ok_or(failed(rustix::io::Errno::NOMEM))?;
        let mut memory = Memory { start, bytes, stream: 0, stream_bytes: stream.len(), stack: 0 };
        let data = memory.data();
        for (from, to) in [
            (0, arena.bytes.next_multiple_of(PAGE_BYTES)),
            (parts.stack, parts.stack_end),
            (parts.stream, parts.stream_end),
        ] {
            if from == to {
                continue;
            }
            // SAFETY: the range lies in the mapping of this function, which nothing else knows; parts do not overlap.
            unsafe {
                let range = (data + from) as *mut std::ffi::c_void;
                mprotect(range, to - from, MprotectFlags::READ | MprotectFlags::WRITE).map_err(failed)?;
                // Without large pages, the replay has more misses of the translation cache.
                let _ = madvise(range, to - from, Advice::LinuxHugepage);
            }
        }
        memory.stream = data + parts.stream;
        memory.stack = data + parts.stack_end - 64;
        // SAFETY: the stream's part has as many bytes, writable since `mprotect`, and overlaps with nothing of Rust's.
        unsafe { std::ptr::copy_nonoverlapping(stream.as_ptr(), memory.stream as *mut u8, stream.len()) };
        Ok(memory)
    }

    /// Address of the data, at a large page.
    fn data(&self) -> usize {
        (self.start.as_ptr() as usize).next_multiple_of(LARGE_PAGE_BYTES)
    }

    /// Address that all data is addressed from.
    pub(super) fn origin(&self) -> usize {
        self.data() + ORIGIN
    }

    /// Addresses of the stream and of its end.
    pub(super) fn stream(&self) -> [usize; 2] {
        [self.stream, self.stream + self.stream_bytes]
    }

    /// The stream.
    #[cfg(test)]
    pub(super) fn stream_bytes(&self) -> &[u8] {
        // SAFETY: the stream has as many bytes, which `new` wrote and nothing changes.
        unsafe { std::slice::from_raw_parts(self.stream as *const u8, self.stream_bytes) }
    }

    /// Address of the upper end of the stack.
    pub(super) fn stack(&self) -> usize {
        self.stack
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `new` mapped the memory with this size, and no replay runs that uses it.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
