//! Memory for machine code that is written at run time. It lies near the program's own text, so that calls (`rel32`)
//! and data (`[rip+disp32]`) stay within reach.
//!
//! No page is writable and executable at once. One memfd is mapped twice: a readable and writable view for writing, a
//! readable and executable view for running. Without memfds, plain executable memory is written the way the program's
//! text is (see [`crate::patch::writer`]).

mod data;
mod redirected;

use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use rustix::fs::ftruncate;
use rustix::io::{Errno, pwrite};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use self::data::DataMemory;
pub use self::redirected::RedirectedWord;
use crate::patch::writer::{self, Writer, WriterError, executable_memfd};

/// Bytes of a page.
pub(super) const PAGE_BYTES: usize = 4096;

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

/// The way that code is written to the memory.
enum Access {
    /// Through a second view of the same memory, or through its file.
    View(NonNull<u8>, OwnedFd),
    /// Through a writer of text.
    Text(Box<dyn Writer>),
}

/// A stretch of executable memory near the program's text, and memory for the data of the copies in it.
pub struct CodeMemory {
    access: Access,
    executable: NonNull<u8>,
    capacity: usize,
    used: usize,
    /// For copies of data; `None` where copies use the data of the program itself.
    data: Option<DataMemory>,
}

/// How much of a memory is used.
#[derive(Clone, Copy)]
pub(super) struct Used {
    code: usize,
    data: usize,
}

impl CodeMemory {
    /// Maps `capacity` bytes, rounded up to pages, within reach of `near`.
    ///
    /// # Errors
    /// If the kernel refuses executable memory, or if no address near `near` is free.
    pub fn new(near: usize, capacity: usize) -> Result<Self, CodeError> {
        let capacity = capacity.next_multiple_of(PAGE_BYTES);
        match executable_memfd() {
            Ok(file) => Self::over(file, near, capacity),
            Err(memfd) => Self::as_text(memfd, near, capacity),
        }
    }

    /// The same with `data_capacity` bytes for copies of data.
    ///
    /// # Errors
    /// As for [`CodeMemory::new`].
    pub fn with_data(near: usize, capacity: usize, data_capacity: usize) -> Result<Self, CodeError> {
        let mut memory = Self::new(near, capacity)?;
        memory.data = Some(DataMemory::new(near, data_capacity)?);
        Ok(memory)
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
                Ok(CodeMemory { access: Access::View(writable, file), executable, capacity, used: 0, data: None })
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
        Ok(CodeMemory { access: Access::Text(writer), executable, capacity, used: 0, data: None })
    }

    /// Empties the memory. No code in it may run after this.
    pub fn clear(&mut self) {
        self.give_back(Used { code: 0, data: 0 });
    }

    /// How much is used now.
    pub(super) fn used(&self) -> Used {
        Used { code: self.used, data: self.data.as_ref().map_or(0, |data| data.used) }
    }

    /// Frees everything that was reserved since `used`.
    pub(super) fn give_back(&mut self, used: Used) {
        self.used = used.code;
        if let Some(data) = &mut self.data {
            data.used = used.data;
        }
    }

    /// Address of the first free byte.
    pub(super) fn next_address(&self) -> usize {
        self.executable.as_ptr() as usize + self.used
    }

    /// Copies data to the next free address at `offset` within a page, and returns that address.
    ///
    /// # Errors
    /// [`CodeError::Full`].
    pub(super) fn copy_data(&mut self, bytes: &[u8], offset: usize) -> Result<usize, CodeError> {
        self.data.as_mut().ok_or(CodeError::Full { capacity: 0 })?.copy(bytes, offset)
    }

    /// Reserves `size` bytes so that byte number `anchor` lies at `offset` within 128 bytes. Returns the address that
    /// the bytes will run at.
    ///
    /// # Errors
    /// [`CodeError::Full`].
    pub fn reserve(&mut self, size: usize, anchor: usize, offset: usize) -> Result<usize, CodeError> {
        // Mappings are page-aligned, so an offset into the memory is also an offset within 128 bytes.
        let misplaced = (self.used + anchor) % 128;
        self.reserve_next((offset + 128 - misplaced) % 128, size)
    }

    /// Reserves `size` bytes after `gap` unused ones, and returns the address that they will run at.
    ///
    /// # Errors
    /// [`CodeError::Full`].
    pub(super) fn reserve_next(&mut self, gap: usize, size: usize) -> Result<usize, CodeError> {
        let start = self.used + gap;
        if start + size > self.capacity {
            return Err(CodeError::Full { capacity: self.capacity });
        }
        self.used = start + size;
        Ok(self.executable.as_ptr() as usize + start)
    }

    /// Writes code to an address that [`CodeMemory::reserve`] returned for at least as many bytes. The caller calls
    /// [`serialise`](crate::patch::text::serialise) before the code runs.
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
            Access::View(_, file)
                if code.len() >= PAGE_BYTES && pwrite(&*file, code, start as u64) == Ok(code.len()) => {}
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
fn map_near(
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
