//! Output of a command except warnings: standard output, and the files that its options name.
//!
//! A failed write never changes a verdict. If the reader of standard output has closed it, the rest is dropped without
//! an error. Other failures are printed on standard error after the command has ended, and the exit code is the worse
//! of the two ([`Exit::worse`]).

use std::fs::OpenOptions;
use std::io::{self, BufWriter, LineWriter, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::OnceLock;

use anstream::AutoStream;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use serde::Serialize;

use super::error::{self, CliError};
use super::exit::Exit;
use crate::report::stale;
use crate::report::write::{self, WriteError, target};
use crate::report::{Report, render};

/// The first failed write to standard output of this process.
static FAILURE: OnceLock<Errno> = OnceLock::new();

/// Returns standard output, in colour if that is wanted. Writes to it do not fail; [`ended`] reports lost output.
pub fn stdout() -> impl Write {
    let lines: Box<dyn Write> = Box::new(LineWriter::new(Raw));
    AutoStream::new(lines, AutoStream::choice(&io::stdout()))
}

/// Reports lost standard output, and returns the exit code of a command that would have ended with `exit`.
pub fn ended(exit: Exit) -> Exit {
    match FAILURE.get() {
        Some(&failure) if !has_reader_left(failure) => {
            error::print(&CliError::Output(failure.into()));
            exit.worse(Exit::Failed)
        }
        _ => exit,
    }
}

/// Whether the reader of standard output has left: a pipe or socket was closed, or a terminal hung up (EIO).
fn has_reader_left(failure: Errno) -> bool {
    let is_terminal =
        || fstat(io::stdout()).is_ok_and(|there| FileType::from_raw_mode(there.st_mode) == FileType::CharacterDevice);
    matches!(failure, Errno::PIPE | Errno::CONNRESET) || failure == Errno::IO && is_terminal()
}

/// Descriptor 1 without a buffer: a buffer that cannot be flushed would be written twice, or cut off.
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
                // The pipe was made non-blocking by the process that started this one.
                Err(Errno::AGAIN) if wait_until_writable().is_ok() => {}
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

/// Waits until standard output accepts bytes or its reader has left.
fn wait_until_writable() -> Result<(), Errno> {
    let stdout = io::stdout();
    match poll(&mut [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::OUT)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Whether the path of an option is standard output.
pub(crate) fn is_stdout(path: &Path) -> bool {
    path == Path::new("-") || matches!(target::of(path), Ok(target::Target::Descriptor(1)))
}

/// Checks before a command begins that its output file can be written; a missing folder is made.
pub fn prepare(path: &Path) -> Result<(), WriteError> {
    if is_stdout(path) { Ok(()) } else { write::prepare_file(path) }
}

/// Writes a file whole, or to standard output.
pub fn file(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    if is_stdout(path) {
        // A document has no colours: `stdout` would search megabytes for them. Writes to standard output do not fail;
        // lost output is reported at the end.
        let _ = Raw.write_all(bytes);
        return Ok(());
    }
    write::file(path, bytes)
}

/// Writes a document as JSON to standard output, a megabyte at once: that of a large program has hundreds.
pub fn json(document: &impl Serialize) -> serde_json::Result<()> {
    let mut output = BufWriter::with_capacity(1 << 20, Raw);
    serde_json::to_writer_pretty(&mut output, document)?;
    // Writes to standard output do not fail; lost output is reported at the end.
    let _ = output.write_all(b"\n").and_then(|()| output.flush());
    Ok(())
}

/// Appends to a file that other processes append to, too.
pub fn append(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    let written = opened.and_then(|mut file| file.write_all(bytes));
    written.map_err(|source| WriteError::Stream { path: path.to_owned(), source })
}

/// Failed writes of a command that goes on to its verdict. They are printed when this is dropped.
#[derive(Default)]
#[must_use = "the exit code depends on it"]
pub(crate) struct FailedWrites(Vec<CliError>);

impl FailedWrites {
    /// Records a failure; returns the value of a success.
    pub fn note<T, E: Into<CliError>>(&mut self, done: Result<T, E>) -> Option<T> {
        done.map_err(|error| self.0.push(error.into())).ok()
    }

    /// Writes the document of a run with its page and plots; without those if they cannot be rendered.
    pub fn report(&mut self, folder: &Path, report: &Report, document: Vec<u8>) {
        let mut files = self.note(render::files(report)).unwrap_or_default();
        // The report is written last, so that a new report always has its page beside it.
        files.push(("report.json".into(), document));
        self.note(stale::replace(folder, files));
    }

    /// Whether everything was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Prints the failures, and returns the exit code of a command with this verdict.
    pub fn ended(self, verdict: Exit) -> Exit {
        if self.is_empty() { verdict } else { verdict.worse(Exit::Failed) }
    }
}

/// Failures are printed also if the command reaches no verdict.
impl Drop for FailedWrites {
    fn drop(&mut self) {
        self.0.iter().for_each(error::print);
    }
}
