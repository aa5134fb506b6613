//! All that a command puts out but warnings: standard output, and the files that its options name.
//!
//! A verdict survives whatever happens here. A reader that has gone is no error: the rest is dropped. Everything else
//! is said on standard error after the command has come to its end, and the exit code is the worse of the two
//! ([`Exit::worse`]).

use std::fs::OpenOptions;
use std::io::{self, LineWriter, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::OnceLock;

use anstream::AutoStream;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use super::error::{self, CliError};
use super::exit::Exit;
use crate::report::stale;
use crate::report::write::{self, WriteError, target};
use crate::report::{Report, render};

/// Why standard output took no more. The process has one, and so there is one of these.
static FAILURE: OnceLock<Errno> = OnceLock::new();

/// Standard output, in colour where that is wanted. Writing to it does not fail; [`ended`] says what became of it.
pub fn stdout() -> impl Write {
    let lines: Box<dyn Write> = Box::new(LineWriter::new(Raw));
    AutoStream::new(lines, AutoStream::choice(&io::stdout()))
}

/// Prints what became of standard output, and gives the exit code of a command that would have ended with `exit`.
pub fn ended(exit: Exit) -> Exit {
    match FAILURE.get() {
        Some(&failure) if !has_reader_left(failure) => {
            error::print(&CliError::Output(failure.into()));
            exit.worse(Exit::Failed)
        }
        _ => exit,
    }
}

/// Whether nobody reads any more: a pipe or socket was closed, or a terminal hung up (EIO).
fn has_reader_left(failure: Errno) -> bool {
    let is_terminal =
        || fstat(io::stdout()).is_ok_and(|there| FileType::from_raw_mode(there.st_mode) == FileType::CharacterDevice);
    matches!(failure, Errno::PIPE | Errno::CONNRESET) || failure == Errno::IO && is_terminal()
}

/// Descriptor 1 without a buffer: a buffer that could not be emptied would be written twice, or cut off.
struct Raw;

impl Write for Raw {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if FAILURE.get().is_some() {
            return Ok(bytes.len());
        }
        loop {
            match rustix::io::write(io::stdout(), bytes) {
                Ok(written) => return Ok(written),
                Err(Errno::INTR) => {}
                // Whoever started this made the pipe so that it does not block.
                Err(Errno::AGAIN) if wait().is_ok() => {}
                Err(failure) => {
                    let _ = FAILURE.set(failure);
                    return Ok(bytes.len());
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until standard output takes something, or its reader has gone.
fn wait() -> Result<(), Errno> {
    let stdout = io::stdout();
    match poll(&mut [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::OUT)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Whether an option names standard output.
pub fn is_stdout(path: &Path) -> bool {
    path == Path::new("-") || matches!(target::of(path), Ok(target::Target::Descriptor(1)))
}

/// Tries a path that is written to at the end, before a command begins: the folder is made where it is missing.
pub fn prepare(path: &Path) -> Result<(), WriteError> {
    if is_stdout(path) { Ok(()) } else { write::prepare_file(path) }
}

/// Writes a file whole, or to standard output.
pub fn file(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    if is_stdout(path) {
        // It does not fail here.
        let _ = stdout().write_all(bytes);
        return Ok(());
    }
    write::file(path, bytes)
}

/// Adds to a file that others write to, too.
pub fn append(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    let written = opened.and_then(|mut file| file.write_all(bytes));
    written.map_err(|source| WriteError::Stream { path: path.to_owned(), source })
}

/// What could not be written while a command went on to its verdict.
#[derive(Default)]
#[must_use = "the exit code depends on it"]
pub struct Unwritten(Vec<CliError>);

impl Unwritten {
    /// Takes note of a failure.
    pub fn note<T, E: Into<CliError>>(&mut self, done: Result<T, E>) -> Option<T> {
        done.map_err(|error| self.0.push(error.into())).ok()
    }

    /// Writes the document of a run, with its page and plots; without them where they cannot be made.
    pub fn report(&mut self, folder: &Path, report: &Report, document: Vec<u8>) {
        let mut files = self.note(render::files(report)).unwrap_or_default();
        // Last, so that whoever finds a new report finds its page, too.
        files.push(("report.json".into(), document));
        self.note(stale::replace(folder, files));
    }

    /// Whether all was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Prints the failures, and gives the exit code of a command with this verdict.
    pub fn ended(self, verdict: Exit) -> Exit {
        if self.is_empty() { verdict } else { verdict.worse(Exit::Failed) }
    }
}

/// Also where the command comes to no verdict.
impl Drop for Unwritten {
    fn drop(&mut self) {
        self.0.iter().for_each(error::print);
    }
}
