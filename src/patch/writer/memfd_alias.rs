//! A memfd that is mapped twice: a readable and executable view at the text's own address, a readable and writable view
//! at another.

use std::io;
use std::ops::Range;
use std::ptr::NonNull;

use rustix::fs::ftruncate;
use rustix::io::pwrite;
use rustix::mm::{MapFlags, ProtFlags, mmap};

use super::{Writer, executable_memfd};

const PAGE: usize = 4096;

/// A writable view of the pages that hold `text`.
pub struct MemfdAlias {
    text: Range<usize>,
    view: NonNull<u8>,
}

// SAFETY: sending is sound because the view is a mapping of the whole process, and only methods with `&mut self` write
// it.
unsafe impl Send for MemfdAlias {}

impl MemfdAlias {
    /// Copies the pages of `text` into a memfd and maps it over them. Both views stay until the process ends, because
    /// code runs there.
    ///
    /// # Safety
    /// `text` is mapped, readable and executable, and nothing writes to it during the call.
    pub unsafe fn over(text: Range<usize>) -> io::Result<Self> {
        let text = text.start / PAGE * PAGE..text.end.next_multiple_of(PAGE);
        let file = executable_memfd()?;
        ftruncate(&file, text.len() as u64)?;
        // SAFETY: `from_raw_parts` needs mapped bytes that nobody writes: the caller guarantees both for `text`, and
        // the linker maps whole pages.
        let mut rest = unsafe { std::slice::from_raw_parts(text.start as *const u8, text.len()) };
        while !rest.is_empty() {
            let written = pwrite(&file, rest, (text.len() - rest.len()) as u64)?;
            rest = &rest[written..];
        }
        // SAFETY: the mapping must not replace memory in use: without MAP_FIXED the kernel chooses a free address.
        let view = unsafe {
            mmap(std::ptr::null_mut(), text.len(), ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0)
        }?;
        // SAFETY: MAP_FIXED replaces mapped pages in one step; the new pages have the same contents and protection, so
        // running code continues.
        unsafe {
            mmap(
                text.start as *mut _,
                text.len(),
                ProtFlags::READ | ProtFlags::EXEC,
                MapFlags::SHARED | MapFlags::FIXED,
                &file,
                0,
            )
        }?;
        let view = NonNull::new(view.cast()).ok_or_else(|| io::Error::other("mmap returned no address"))?;
        Ok(MemfdAlias { text, view })
    }
}

impl Writer for MemfdAlias {
    fn name(&self) -> &'static str {
        "memfd"
    }

    unsafe fn write(&mut self, address: usize, code: &[u8]) -> io::Result<()> {
        if address < self.text.start || address + code.len() > self.text.end {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the address is outside the text that is mapped twice",
            ));
        }
        // SAFETY: the lines above check that the bytes lie in the text, so they lie in the writable view of the same
        // length.
        unsafe {
            std::ptr::copy_nonoverlapping(code.as_ptr(), self.view.as_ptr().add(address - self.text.start), code.len());
        }
        Ok(())
    }
}
