//! A changed copy of the pages, made executable and then moved over the text (mremap(2), `MREMAP_FIXED`). It is the
//! most expensive writer, but emulators that translate code, such as valgrind, notice the changed mapping.

use std::io;

use rustix::mm::{MapFlags, MprotectFlags, MremapFlags, ProtFlags, mmap_anonymous, mprotect, mremap_fixed, munmap};

use super::Writer;

const PAGE: usize = 4096;

/// The writer; it has no state.
pub struct Mremap;

impl Writer for Mremap {
    fn name(&self) -> &'static str {
        "mremap"
    }

    unsafe fn write(&mut self, address: usize, code: &[u8]) -> io::Result<()> {
        let start = address / PAGE * PAGE;
        let length = (address + code.len()).next_multiple_of(PAGE) - start;
        // SAFETY: the mapping must not replace memory in use: without MAP_FIXED the kernel chooses a free address.
        let copy = unsafe {
            mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        }?;
        // SAFETY: the copies stay in bounds: `length` bytes from `start` are text (caller's contract), and the new
        // mapping has the same length. The move replaces the text by equal text except `code`, whose validity the
        // caller guarantees.
        let moved = unsafe {
            std::ptr::copy_nonoverlapping(start as *const u8, copy.cast(), length);
            std::ptr::copy_nonoverlapping(code.as_ptr(), copy.cast::<u8>().add(address - start), code.len());
            mprotect(copy, length, MprotectFlags::READ | MprotectFlags::EXEC)
                .and_then(|()| mremap_fixed(copy, length, length, MremapFlags::MAYMOVE, start as *mut _))
        };
        if let Err(errno) = moved {
            // SAFETY: the mapping was made above with this length, it was not moved, and nothing uses it after this.
            let _ = unsafe { munmap(copy, length) };
            return Err(errno.into());
        }
        Ok(())
    }
}
