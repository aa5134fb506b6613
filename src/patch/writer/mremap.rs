//! A changed copy of the pages, made executable and then moved over the text (mremap(2), `MREMAP_FIXED`). The dearest
//! way; but whoever translates code sees the mapping change, valgrind too.

use std::io;

use rustix::mm::{MapFlags, MprotectFlags, MremapFlags, ProtFlags, mmap_anonymous, mprotect, mremap_fixed, munmap};

use super::Writer;

const PAGE: usize = 4096;

/// Needs nothing to begin with.
pub struct Mremap;

impl Writer for Mremap {
    fn name(&self) -> &'static str {
        "mremap"
    }

    unsafe fn write(&mut self, address: usize, code: &[u8]) -> io::Result<()> {
        let start = address / PAGE * PAGE;
        let length = (address + code.len()).next_multiple_of(PAGE) - start;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let copy = unsafe {
            mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        }?;
        // SAFETY: `length` bytes from `start` are text (caller's contract), the copy is as long and new; the move
        // replaces the text by the same but for `code`, which the caller answers for.
        let moved = unsafe {
            std::ptr::copy_nonoverlapping(start as *const u8, copy.cast(), length);
            std::ptr::copy_nonoverlapping(code.as_ptr(), copy.cast::<u8>().add(address - start), code.len());
            mprotect(copy, length, MprotectFlags::READ | MprotectFlags::EXEC)
                .and_then(|()| mremap_fixed(copy, length, length, MremapFlags::MAYMOVE, start as *mut _))
        };
        if let Err(errno) = moved {
            // SAFETY: the copy was not moved and is not used any more.
            let _ = unsafe { munmap(copy, length) };
            return Err(errno.into());
        }
        Ok(())
    }
}
