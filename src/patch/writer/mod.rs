//! Ways to write the program's own text without a page that is writable and executable at once.
//!
//! Which of them work depends on the system: containers refuse `/proc/self/mem`, `PR_SET_MDWE` refuses what makes
//! memory executable, valgrind runs stale code after some of them. [`choose`] tries each on a function that exists for
//! that purpose and takes the first whose effect is seen.

mod memfd_alias;
mod mremap;
mod proc_mem;
mod trial;

use std::io;
use std::ops::Range;

/// Writes machine code over the program's text.
pub trait Writer: Send {
    /// What it writes through.
    fn name(&self) -> &'static str;

    /// Writes `code` over the text at `address`.
    ///
    /// # Safety
    /// `address .. address + code.len()` lies in the program's text; no thread runs it before
    /// [`serialise`](super::text::serialise) was called; and what runs it afterwards finds sense in it.
    ///
    /// # Errors
    /// What the kernel said; nothing is written then.
    unsafe fn write(&mut self, address: usize, code: &[u8]) -> io::Result<()>;
}

/// No way to write the text is left.
#[derive(Debug, thiserror::Error)]
#[error("the program's text cannot be written: {}", .tried.iter().map(|(name, why)| format!("{name}: {why}"))
    .collect::<Vec<_>>().join("; "))]
pub struct WriterError {
    /// Each way and what stood against it.
    pub tried: Vec<(&'static str, String)>,
}

/// The names of all writers, in the order in which they are tried.
pub const NAMES: [&str; 3] = ["/proc/self/mem", "memfd", "mremap"];

/// The first writer that works here, for text within `text`.
///
/// # Safety
/// No other thread runs code in `text` for the moment of the call, where only the last writers are left: they map over
/// it. The code they map is the same.
///
/// # Errors
/// Where none works.
pub unsafe fn choose(text: Range<usize>) -> Result<Box<dyn Writer>, WriterError> {
    // SAFETY: the caller's contract.
    unsafe { first(&NAMES, text) }
}

/// The first of the named writers that works here.
///
/// # Safety
/// As for [`choose`].
pub(super) unsafe fn first(names: &[&'static str], text: Range<usize>) -> Result<Box<dyn Writer>, WriterError> {
    let mut tried = Vec::new();
    for &name in names {
        // SAFETY: the caller's contract.
        match unsafe { named(name, text.clone()) } {
            Ok(writer) => return Ok(writer),
            Err(why) => tried.push((name, why.to_string())),
        }
    }
    Err(WriterError { tried })
}

/// One writer by its name, tried.
///
/// # Safety
/// As for [`choose`].
///
/// # Errors
/// What the kernel said, or that code which was written did not run.
pub unsafe fn named(name: &str, text: Range<usize>) -> io::Result<Box<dyn Writer>> {
    let text = trial::include(text);
    let mut writer: Box<dyn Writer> = match name {
        "/proc/self/mem" => Box::new(proc_mem::ProcMem::open()?),
        // SAFETY: the caller's contract.
        "memfd" => Box::new(unsafe { memfd_alias::MemfdAlias::over(text) }?),
        "mremap" => Box::new(mremap::Mremap),
        other => return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no writer '{other}'"))),
    };
    trial::run(writer.as_mut())?;
    Ok(writer)
}
