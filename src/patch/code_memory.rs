//! Memory for machine code that is made at run time, near the program's own text, so that its calls (`rel32`) and its
//! data (`[rip+disp32]`) stay in reach.
//!
//! No page is writable and executable: one memfd is mapped twice, readable and writable for whoever writes the code,
//! readable and executable for whoever runs it. Where there is no memfd, plain executable memory is written as the
//! program's text is (see [`super::writer`]).

use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{Errno, pwrite};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::writer::{self, Writer, WriterError};

const PAGE: usize = 4096;

/// Why there is no such memory.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// The kernel refused a step.
    #[error(
        "no executable memory: {step} was refused ({source}); see /proc/sys/vm/memfd_noexec and the limits of the container"
    )]
    Refused {
        /// Which system call.
        step: &'static str,
        /// What it said.
        source: Errno,
    },
    /// Everything near the text is taken.
    #[error("no free address space within 1 GiB of the program's text")]
    NoRoomNearby,
    /// No memfd, and no other way.
    #[error("{memfd}; without a memfd: {writer}")]
    Unwritable {
        /// Why there is no memfd.
        memfd: Errno,
        /// Why nothing else serves.
        writer: WriterError,
    },
    /// Code could not be written.
    #[error("code at {address:#x} could not be written through {writer}: {source}")]
    Write {
        /// Where.
        address: usize,
        /// Through what.
        writer: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// More code than was asked room for.
    #[error("the code memory of {capacity} bytes is full")]
    Full {
        /// Its size.
        capacity: usize,
    },
}

/// A memfd whose mappings may be executable. `MFD_EXEC` says what it is for; kernels before 6.3 do not know the flag
/// and need none.
pub(crate) fn executable_memfd() -> Result<OwnedFd, Errno> {
    memfd_create(c"pvbench-code", MemfdFlags::CLOEXEC | MemfdFlags::EXEC)
        .or_else(|_| memfd_create(c"pvbench-code", MemfdFlags::CLOEXEC))
}

/// How code gets there.
enum Access {
    /// Through a second view of the same memory, or into its file.
    View(NonNull<u8>, OwnedFd),
    /// As text is written.
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
    /// Maps `capacity` bytes (rounded up to pages) within reach of `near`.
    ///
    /// # Errors
    /// Where the kernel refuses executable memory, or there is no room.
    pub fn new(near: usize, capacity: usize) -> Result<Self, CodeError> {
        let capacity = capacity.next_multiple_of(PAGE);
        match executable_memfd() {
            Ok(file) => Self::over(file, near, capacity),
            Err(memfd) => Self::as_text(memfd, near, capacity),
        }
    }

    /// Memory of which a memfd gives two views.
    fn over(file: OwnedFd, near: usize, capacity: usize) -> Result<Self, CodeError> {
        let refused = |step| move |source| CodeError::Refused { step, source };
        ftruncate(&file, capacity as u64).map_err(refused("ftruncate"))?;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let writable = unsafe {
            mmap(std::ptr::null_mut(), capacity, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0)
        }
        .map_err(refused("mmap of the writable view"))?;
        let executable = map_near(
            near,
            |address| {
                let flags = MapFlags::SHARED | MapFlags::FIXED_NOREPLACE;
                // SAFETY: MAP_FIXED_NOREPLACE fails instead of replacing a mapping.
                unsafe { mmap(address, capacity, ProtFlags::READ | ProtFlags::EXEC, flags, &file, 0) }
            },
            capacity,
        );
        match (NonNull::new(writable.cast()), executable) {
            (Some(writable), Ok(executable)) => {
                Ok(CodeMemory { access: Access::View(writable, file), executable, capacity, used: 0 })
            }
            (_, executable) => {
                // SAFETY: mapped above, not handed out.
                let _ = unsafe { munmap(writable, capacity) };
                Err(executable.err().unwrap_or(CodeError::NoRoomNearby))
            }
        }
    }

    /// Plain executable memory.
    fn as_text(memfd: Errno, near: usize, capacity: usize) -> Result<Self, CodeError> {
        // SAFETY: these two map over nothing but what is written to.
        let writer = unsafe { writer::first(&["/proc/self/mem", "mremap"], 0..0) }
            .map_err(|writer| CodeError::Unwritable { memfd, writer })?;
        let executable = map_near(
            near,
            |address| {
                let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
                // SAFETY: as above.
                unsafe { mmap_anonymous(address, capacity, ProtFlags::READ | ProtFlags::EXEC, flags) }
            },
            capacity,
        )?;
        Ok(CodeMemory { access: Access::Text(writer), executable, capacity, used: 0 })
    }

    /// Forgets all code. Nothing may run in it any more.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Reserves `size` bytes of which byte number `anchor` lies at `offset` within 128 bytes, and returns the address
    /// they will run at.
    ///
    /// # Errors
    /// [`CodeError::Full`].
    pub fn reserve(&mut self, size: usize, anchor: usize, offset: usize) -> Result<usize, CodeError> {
        // Mappings are page-aligned, so offsets into the memory are offsets within 128 bytes, too.
        let misplaced = (self.used + anchor) % 128;
        let start = self.used + (offset + 128 - misplaced) % 128;
        if start + size > self.capacity {
            return Err(CodeError::Full { capacity: self.capacity });
        }
        self.used = start + size;
        Ok(self.executable.as_ptr() as usize + start)
    }

    /// Writes code to an address that [`CodeMemory::reserve`] returned for at least as many bytes.
    /// [`serialise`](super::text::serialise) is to be called before it runs.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn write(&mut self, address: usize, code: &[u8]) -> Result<(), CodeError> {
        let start = self.within(address, code.len());
        if code.is_empty() {
            // No system call has a way to write nothing.
            return Ok(());
        }
        match &mut self.access {
            // Pages that nobody has written are neither cleared nor mapped first where the kernel writes them.
            Access::View(_, file) if code.len() >= PAGE && pwrite(&*file, code, start as u64) == Ok(code.len()) => {}
            // SAFETY: within the writable view, by the line above; nobody runs it before it is written.
            Access::View(view, _) => unsafe {
                std::ptr::copy_nonoverlapping(code.as_ptr(), view.as_ptr().add(start), code.len());
            },
            Access::Text(writer) => {
                let name = writer.name();
                // SAFETY: within the executable memory, which nobody runs before it is written.
                unsafe { writer.write(address, code) }.map_err(|source| CodeError::Write {
                    address,
                    writer: name,
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// Where in the memory so many bytes at an address are, all of them reserved.
    fn within(&self, address: usize, length: usize) -> usize {
        let start = address.wrapping_sub(self.executable.as_ptr() as usize);
        assert!(start.checked_add(length).is_some_and(|end| end <= self.used), "past what was reserved");
        start
    }

    /// The code at an address, for checking.
    #[must_use]
    pub fn read(&self, address: usize, size: usize) -> &[u8] {
        let start = self.within(address, size);
        // SAFETY: within the executable view, by the line above; it is written only through `&mut self`.
        unsafe { std::slice::from_raw_parts(self.executable.as_ptr().add(start), size) }
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        // SAFETY: both views were mapped by `new` with this size and are not used after this.
        unsafe {
            if let Access::View(writable, _) = &self.access {
                let _ = munmap(writable.as_ptr().cast(), self.capacity);
            }
            let _ = munmap(self.executable.as_ptr().cast(), self.capacity);
        }
    }
}

/// Tries addresses farther and farther below and above `near`.
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
                // A kernel before 4.17 takes the address for a hint.
                // SAFETY: mapped in the line above, not handed out.
                Ok(elsewhere) => drop(unsafe { munmap(elsewhere, capacity) }),
                Err(Errno::EXIST | Errno::INVAL) => {}
                Err(source) => return Err(CodeError::Refused { step: "mmap of executable memory", source }),
            }
        }
    }
    Err(CodeError::NoRoomNearby)
}
