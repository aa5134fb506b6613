//! Writers: ways to change the program's own text without a page that is writable and executable at once.
//!
//! The system decides which of them work. Containers refuse `/proc/self/mem`, `PR_SET_MDWE` refuses to make memory
//! executable, and valgrind runs stale code after some writers. [`choose`] tries each writer on a function that exists
//! for this purpose, and takes the first whose change takes effect.

mod memfd_alias;
mod mremap;
mod proc_mem;
mod trial;

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

/// Writes machine code over the program's text.
pub trait Writer: Send {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Writes `code` over the text at `address`.
    ///
    /// # Safety
    /// `address .. address + code.len()` lies in the program's text. No thread runs it before
    /// [`serialise`](super::text::serialise) was called. Threads that run it afterwards find valid code.
    ///
    /// # Errors
    /// If the kernel refuses the write; then nothing is written.
    unsafe fn write(&mut self, address: usize, code: &[u8]) -> io::Result<()>;
}

/// No writer works.
#[derive(Debug, thiserror::Error)]
#[error("no way to write the program's text works: {}", .tried.iter().map(|(name, why)| format!("{name}: {why}"))
    .collect::<Vec<_>>().join("; "))]
pub struct WriterError {
    /// Each writer and why it failed.
    pub tried: Vec<(&'static str, String)>,
}

/// The names of all writers, in the order in which they are tried.
pub const NAMES: [&str; 3] = ["/proc/self/mem", "memfd", "mremap"];

/// The first writer that works here, for text within `text`.
///
/// # Safety
/// If only the last two writers work, no other thread runs code in `text` during the call: they map over it, with the
/// same contents.
///
/// # Errors
/// If no writer works.
pub unsafe fn choose(text: Range<usize>) -> Result<Box<dyn Writer>, WriterError> {
    // SAFETY: `first` needs that no other thread runs code in `text`; this function's caller guarantees it.
    unsafe { first(&NAMES, text) }
}

/// The first of the named writers that works here.
///
/// # Safety
/// As for [`choose`].
pub(crate) unsafe fn first(names: &[&'static str], text: Range<usize>) -> Result<Box<dyn Writer>, WriterError> {
    let mut tried = Vec::new();
    for &name in names {
        // SAFETY: `named` needs that no other thread runs code in `text`; this function's caller guarantees it.
        match unsafe { named(name, text.clone()) } {
            Ok(writer) => return Ok(writer),
            Err(why) => tried.push((name, why.to_string())),
        }
    }
    Err(WriterError { tried })
}

/// The writer with this name, after a successful trial.
///
/// # Safety
/// As for [`choose`].
///
/// # Errors
/// If there is no such writer, the kernel refuses it, or written code does not take effect.
pub unsafe fn named(name: &str, text: Range<usize>) -> io::Result<Box<dyn Writer>> {
    let text = trial::widen(text);
    let mut writer: Box<dyn Writer> = match name {
        "/proc/self/mem" => Box::new(proc_mem::ProcMem::open()?),
        // SAFETY: `over` needs mapped text that nothing writes: `text` is this program's text, and the caller
        // guarantees that no thread uses it.
        "memfd" => Box::new(unsafe { memfd_alias::MemfdAlias::over(text) }?),
        "mremap" => Box::new(mremap::Mremap),
        other => return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no writer '{other}'"))),
    };
    trial::run(writer.as_mut())?;
    Ok(writer)
}

/// Creates a memfd whose mappings may be executable. `MFD_EXEC` asks for that; kernels before 6.3 neither know nor need
/// the flag.
pub(crate) fn executable_memfd() -> Result<OwnedFd, Errno> {
    memfd_create(c"pvbench-code", MemfdFlags::CLOEXEC | MemfdFlags::EXEC)
        .or_else(|_| memfd_create(c"pvbench-code", MemfdFlags::CLOEXEC))
}
