//! Memory for machine code that is made at run time, near the program's own text, so that its calls (`rel32`) and its
//! data (`[rip+disp32]`) stay in reach.
//!
//! No page is writable and executable: one memfd is mapped twice, readable and writable for whoever writes the code,
//! readable and executable for whoever runs it.

use std::ffi::c_void;
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

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
        source: rustix::io::Errno,
    },
    /// Everything near the text is taken.
    #[error("no free address space within 1 GiB of the program's text")]
    NoRoomNearby,
    /// More code than was asked room for.
    #[error("the code memory of {capacity} bytes is full")]
    Full {
        /// Its size.
        capacity: usize,
    },
}

/// A memfd whose mappings may be executable. `MFD_EXEC` says what it is for; kernels before 6.3 do not know the flag and
/// need none.
pub(super) fn executable_memfd() -> Result<std::os::fd::OwnedFd, rustix::io::Errno> {
    memfd_create(c"pvbench-code", MemfdFlags::CLOEXEC | MemfdFlags::EXEC)
        .or_else(|_| memfd_create(c"pvbench-code", MemfdFlags::CLOEXEC))
}

/// A stretch of executable memory near the program's text.
pub struct CodeMemory {
    writable: NonNull<u8>,
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
        let refused = |step| move |source| CodeError::Refused { step, source };
        let capacity = capacity.next_multiple_of(4096);
        let file = executable_memfd().map_err(refused("memfd_create"))?;
        ftruncate(&file, capacity as u64).map_err(refused("ftruncate"))?;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let writable = unsafe {
            mmap(std::ptr::null_mut(), capacity, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0)
        }
        .map_err(refused("mmap of the writable view"))?;
        let executable = map_near(near, capacity, &file);
        match (NonNull::new(writable.cast()), executable) {
            (Some(writable), Ok(executable)) => Ok(CodeMemory { writable, executable, capacity, used: 0 }),
            (_, executable) => {
                // SAFETY: mapped above, not handed out.
                let _ = unsafe { munmap(writable, capacity) };
                Err(executable.err().unwrap_or(CodeError::NoRoomNearby))
            }
        }
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
    pub fn write(&mut self, address: usize, code: &[u8]) {
        let start = address.wrapping_sub(self.executable.as_ptr() as usize);
        assert!(start.checked_add(code.len()).is_some_and(|end| end <= self.used), "written past what was reserved");
        // SAFETY: within the writable view, by the line above; nobody runs it before it is written.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), self.writable.as_ptr().add(start), code.len()) };
    }

    /// The code at an address, for checking.
    #[must_use]
    pub fn read(&self, address: usize, size: usize) -> &[u8] {
        let start = address.wrapping_sub(self.executable.as_ptr() as usize);
        assert!(start.checked_add(size).is_some_and(|end| end <= self.used), "read past what was reserved");
        // SAFETY: within the executable view, by the line above; it is written only through `&mut self`.
        unsafe { std::slice::from_raw_parts(self.executable.as_ptr().add(start), size) }
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        // SAFETY: both views were mapped by `new` with this size and are not used after this.
        unsafe {
            let _ = munmap(self.writable.as_ptr().cast(), self.capacity);
            let _ = munmap(self.executable.as_ptr().cast(), self.capacity);
        }
    }
}

/// Tries addresses farther and farther below and above `near`.
fn map_near(near: usize, capacity: usize, file: impl std::os::fd::AsFd) -> Result<NonNull<u8>, CodeError> {
    const STEP: usize = 16 << 20;
    let base = near & !(STEP - 1);
    for distance in 1..=64 {
        for address in [base.checked_sub(distance * STEP), base.checked_add(distance * STEP)].into_iter().flatten() {
            // SAFETY: MAP_FIXED_NOREPLACE fails instead of replacing a mapping.
            let mapped = unsafe {
                mmap(
                    address as *mut c_void,
                    capacity,
                    ProtFlags::READ | ProtFlags::EXEC,
                    MapFlags::SHARED | MapFlags::FIXED_NOREPLACE,
                    &file,
                    0,
                )
            };
            match mapped {
                Ok(mapped) if mapped as usize == address => {
                    return NonNull::new(mapped.cast()).ok_or(CodeError::NoRoomNearby);
                }
                // A kernel before 4.17 takes the address for a hint.
                // SAFETY: mapped in the line above, not handed out.
                Ok(elsewhere) => drop(unsafe { munmap(elsewhere, capacity) }),
                Err(rustix::io::Errno::EXIST | rustix::io::Errno::INVAL) => {}
                Err(source) => return Err(CodeError::Refused { step: "mmap of the executable view", source }),
            }
        }
    }
    Err(CodeError::NoRoomNearby)
}
