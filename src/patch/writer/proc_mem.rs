//! `/proc/self/mem`: the kernel writes through its own mapping, as it writes a debugger's breakpoints (`FOLL_FORCE`,
//! `mm/memory.c`, `access_process_vm`). The page is copied on write and stays read-only and executable.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use super::Writer;

/// An open `/proc/self/mem`.
pub struct ProcMem(File);

impl ProcMem {
    /// Opens the file for reading and writing.
    pub fn open() -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open("/proc/self/mem").map(ProcMem)
    }
}

impl Writer for ProcMem {
    fn name(&self) -> &'static str {
        "/proc/self/mem"
    }

    unsafe fn write(&mut self, address: usize, code: &[u8]) -> io::Result<()> {
        self.0.write_all_at(code, address as u64)
    }
}
