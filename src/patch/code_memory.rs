//! Memory for machine code that is written at run time. It lies near the program's own text, so that calls (`rel32`)
//! and data (`[rip+disp32]`) stay within reach.
//!
//! No page is writable and executable at once. One memfd is mapped twice: a readable and writable view for writing, a
//! readable and executable view for running. Without memfds, plain executable memory is written the way the program's
//! text is (see [`super::writer`]).

use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{Errno, pwrite};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::writer::{self, Writer, WriterError};

const PAGE: usize = 4096;

/// Why code memory is unavailable.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// The kernel refused a system call.
    #[error(
        "cannot map executable memory: {step} was refused ({source}); check /proc/sys/vm/memfd_noexec and the \
         container's limits"
    )]
    Refused {
        /// The system call.
        step: &'static str,
        /// The kernel's error.
        source: Errno,
    },
    /// All address space near the text is taken.
    #[error("no free address space within 1 GiB of the program's text")]
    NoRoomNearby,
    /// There is no memfd, and no writer of text works either.
    #[error("cannot write code: memfd_create was refused ({memfd}), and {writer}")]
    Unwritable {
        /// Why there is no memfd.
        memfd: Errno,
        /// Why no writer works.
        writer: WriterError,
    },
    /// Code could not be written.
    #[error("code at {address:#x} could not be written through {writer}: {source}")]
    Write {
        /// Address of the code.
        address: usize,
        /// Name of the writer.
        writer: &'static str,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// The code does not fit into the memory.
    #[error("the code memory of {capacity} bytes is full")]
    Full {
        /// Size of the memory in bytes.
        capacity: usize,
    },
}

/// Creates a memfd whose mappings may be executable. `MFD_EXEC` asks for that; kernels before 6.3 neither know nor need
/// the flag.
pub(crate) fn executable_memfd() -> Result<OwnedFd, Errno> {
    memfd_create(c"pvbench-code", MemfdFlags::CLOEXEC | MemfdFlags::EXEC)
        .or_else(|_| memfd_create(c"pvbench-code", MemfdFlags::CLOEXEC))
}

/// The way that code is written to the memory.
enum Access {
    /// Through a second view of the same memory, or through its file.
    View(NonNull<u8>, OwnedFd),
    /// Through a writer of text.
    Text(Box<dyn Writer>),
}

/// A stretch of executable memory near the program's text.
pub struct CodeMemory {
    access: Access,
    executable: NonNull<u8>,
    capacity: usize,
    used: usize,
}

impl CodeMemory {
    /// Maps `capacity` bytes, rounded up to pages, within reach of `near`.
    ///
    /// # Errors
    /// If the kernel refuses executable memory, or if no address near `near` is free.
    pub fn new(near: usize, capacity: usize) -> Result<Self, CodeError> {
        let capacity = capacity.next_multiple_of(PAGE);
        match executable_memfd() {
            Ok(file) => Self::over(file, near, capacity),
            Err(memfd) => Self::as_text(memfd, near, capacity),
        }
    }

    /// Maps both views of a memfd.
    fn over(file: OwnedFd, near: usize, capacity: usize) -> Result<Self, CodeError> {
        let refused = |step| move |source| CodeError::Refused { step, source };
        ftruncate(&file, capacity as u64).map_err(refused("ftruncate"))?;
        // SAFETY: the mapping must not replace memory in use: without MAP_FIXED the kernel chooses a free address.
        let writable = unsafe {
            mmap(std::ptr::null_mut(), capacity, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0)
        }
        .map_err(refused("mmap of the writable view"))?;
        let executable = map_near(
            near,
            |address| {
                let flags = MapFlags::SHARED | MapFlags::FIXED_NOREPLACE;
                // SAFETY: the mapping must not replace memory in use: MAP_FIXED_NOREPLACE fails where one exists.
                unsafe { mmap(address, capacity, ProtFlags::READ | ProtFlags::EXEC, flags, &file, 0) }
            },
            capacity,
        );
        match (NonNull::new(writable.cast()), executable) {
            (Some(writable), Ok(executable)) => {
                Ok(CodeMemory { access: Access::View(writable, file), executable, capacity, used: 0 })
            }
            (_, executable) => {
                // SAFETY: the view was mapped above with this size, and no reference to it exists.
                let _ = unsafe { munmap(writable, capacity) };
                Err(executable.err().unwrap_or(CodeError::NoRoomNearby))
            }
        }
    }

    /// Maps plain executable memory.
    fn as_text(memfd: Errno, near: usize, capacity: usize) -> Result<Self, CodeError> {
        // SAFETY: `first` demands that no thread runs code in the range; the range is empty, and these two writers
        // replace only the pages that they write.
        let writer = unsafe { writer::first(&["/proc/self/mem", "mremap"], 0..0) }
            .map_err(|writer| CodeError::Unwritable { memfd, writer })?;
        let executable = map_near(
            near,
            |address| {
                let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
                // SAFETY: the mapping must not replace memory in use: MAP_FIXED_NOREPLACE fails where one exists.
                unsafe { mmap_anonymous(address, capacity, ProtFlags::READ | ProtFlags::EXEC, flags) }
            },
            capacity,
        )?;
        Ok(CodeMemory { access: Access::Text(writer), executable, capacity, used: 0 })
    }

    /// Empties the memory. No code in it may run after this.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Reserves `size` bytes so that byte number `anchor` lies at `offset` within 128 bytes. Returns the address that
    /// the bytes will run at.
    ///
    /// # Errors
    /// [`CodeError::Full`].
    pub fn reserve(&mut self, size: usize, anchor: usize, offset: usize) -> Result<usize, CodeError> {
        // Mappings are page-aligned, so an offset into the memory is also an offset within 128 bytes.
        let misplaced = (self.used + anchor) % 128;
        let start = self.used + (offset + 128 - misplaced) % 128;
        if start + size > self.capacity {
            return Err(CodeError::Full { capacity: self.capacity });
        }
        self.used = start + size;
        Ok(self.executable.as_ptr() as usize + start)
    }

    /// Writes code to an address that [`CodeMemory::reserve`] returned for at least as many bytes. The caller calls
    /// [`serialise`](super::text::serialise) before the code runs.
    ///
    /// # Errors
    /// If the kernel refuses the write.
    pub fn write(&mut self, address: usize, code: &[u8]) -> Result<(), CodeError> {
        let start = self.within(address, code.len());
        if code.is_empty() {
            // System calls reject empty writes.
            return Ok(());
        }
        match &mut self.access {
            // A write through the file saves the kernel from clearing and mapping fresh pages first.
            Access::View(_, file) if code.len() >= PAGE && pwrite(&*file, code, start as u64) == Ok(code.len()) => {}
            // SAFETY: `within` checked that the bytes lie in the writable view, and `reserve` gives each address out
            // once, so nothing runs there yet.
            Access::View(view, _) => unsafe {
                std::ptr::copy_nonoverlapping(code.as_ptr(), view.as_ptr().add(start), code.len());
            },
            Access::Text(writer) => {
                let name = writer.name();
                // SAFETY: `write` needs text that no thread runs: `within` checked the range, and nothing runs reserved
                // memory before it is written.
                unsafe { writer.write(address, code) }.map_err(|source| CodeError::Write {
                    address,
                    writer: name,
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// Offset of `address` in the memory; panics unless all `length` bytes are reserved.
    fn within(&self, address: usize, length: usize) -> usize {
        let start = address.wrapping_sub(self.executable.as_ptr() as usize);
        assert!(
            start.checked_add(length).is_some_and(|end| end <= self.used),
            "the range ends after the reserved bytes"
        );
        start
    }

    /// The code at an address, for checks.
    #[must_use]
    pub fn read(&self, address: usize, size: usize) -> &[u8] {
        let start = self.within(address, size);
        // SAFETY: `within` checked that the bytes lie in the executable view; only methods with `&mut self` write it.
        unsafe { std::slice::from_raw_parts(self.executable.as_ptr().add(start), size) }
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        // SAFETY: `new` mapped both views with this size, and nothing uses them after `drop`.
        unsafe {
            if let Access::View(writable, _) = &self.access {
                let _ = munmap(writable.as_ptr().cast(), self.capacity);
            }
            let _ = munmap(self.executable.as_ptr().cast(), self.capacity);
        }
    }
}

/// Maps memory at the free address nearest to `near`, in steps of 16 MiB up to 1 GiB below and above it.
pub(super) fn map_near(
    near: usize,
    map: impl Fn(*mut c_void) -> Result<*mut c_void, Errno>,
    capacity: usize,
) -> Result<NonNull<u8>, CodeError> {
    const STEP: usize = 16 << 20;
    let base = near & !(STEP - 1);
    for distance in 1..=64 {
        for address in [base.checked_sub(distance * STEP), base.checked_add(distance * STEP)].into_iter().flatten() {
            match map(address as *mut c_void) {
                Ok(mapped) if mapped as usize == address => {
                    return NonNull::new(mapped.cast()).ok_or(CodeError::NoRoomNearby);
                }
                // A kernel before 4.17 treats the address as a hint.
                // SAFETY: this mapping was made in the line above, and no reference to it exists.
                Ok(elsewhere) => drop(unsafe { munmap(elsewhere, capacity) }),
                Err(Errno::EXIST | Errno::INVAL) => {}
                Err(source) => return Err(CodeError::Refused { step: "mmap of executable memory", source }),
            }
        }
    }
    Err(CodeError::NoRoomNearby)
}
