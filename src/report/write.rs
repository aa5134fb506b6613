//! Writing files whole or not at all.
//!
//! A file takes its place by a rename, so that whoever opens it finds the old one or the new one. Links, pipes and
//! devices stay what they are ([`target`]). A file that cannot be replaced, as a mount point, is written in place.

pub mod target;
pub mod temporary;

mod place;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use super::read::{Invalid, check};
use super::schema::Report;
use target::Target;

/// Why something could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The folder could not be made or written to.
    #[error("cannot write to {}: {source}; name another folder", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A path that no file can be written to: a folder, a loop of links, a link of another user in a shared folder.
    #[error("cannot write to {}: {source}; name another file", path.display())]
    Target {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written whole. What was there before is untouched.
    #[error("cannot write {}: {source}; what was there before is untouched", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why: no space, a limit on file sizes, ..
        source: io::Error,
    },
    /// A file that cannot be replaced, a mount point, was written in place, and that broke off.
    #[error(
        "{} is not whole: {source}; it cannot be replaced (is it a mount point?) and was written in place; write it again",
        path.display()
    )]
    Torn {
        /// Which.
        path: PathBuf,
        /// Why: no space, a limit on file sizes, ..
        source: io::Error,
    },
    /// A pipe or device took no more.
    #[error("cannot write to {}: {source}; what was written before it stays", path.display())]
    Stream {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Files are in their places, and the disk refused to keep them.
    #[error("the files in {} were written, but the disk may not keep them: {source}; check it", path.display())]
    Unsynced {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The report holds something that cannot be true.
    #[error("the report was not written: {0}")]
    Invalid(#[from] Invalid),
    /// The report could not be put into JSON.
    #[error("the report was not written: {0}")]
    Json(#[from] serde_json::Error),
}

impl WriteError {
    /// Whether the place is at fault, that is the user's choice of it, and not what happened while writing.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, WriteError::Folder { .. } | WriteError::Target { .. })
    }
}

/// The report as JSON: indented, fields in the order of their declaration, numbers with six significant digits (no
/// measurement here has more), and with two after the point in any case (counts have more).
///
/// # Errors
/// Where a number is not finite or an interval is none: such a report is not written.
pub fn json(report: &Report) -> Result<Vec<u8>, WriteError> {
    check(report)?;
    let mut text = Vec::new();
    report.serialize(&mut Serializer::with_formatter(
        &mut text,
        Rounded { pretty: PrettyFormatter::with_indent(b" "), depth: 0 },
    ))?;
    text.push(b'\n');
    Ok(text)
}

/// JSON with numbers as [`json`] says, and a line per cell: pretty down to the elements of the document's lists,
/// compact within them. A tenth of a million layouts would else be mostly spaces.
struct Rounded<'a> {
    pretty: PrettyFormatter<'a>,
    depth: usize,
}

/// The document, its members, their elements: what is within those is compact.
const PRETTY_DEPTH: usize = 2;

impl Rounded<'_> {
    fn is_pretty(&self) -> bool {
        self.depth <= PRETTY_DEPTH
    }
}

impl Formatter for Rounded<'_> {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        // From 10,000 on six significant digits are less than two after the point: a count would lose its last digits.
        // Through the decimal form, so that the shortest representation of the rounded value is written.
        let long = (1e4..1e15).contains(&value.abs());
        let digits = if long { format!("{value:.2}") } else { format!("{value:.5e}") };
        let rounded: f64 = digits.parse().unwrap_or(value);
        self.pretty.write_f64(writer, rounded)
    }
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        if self.is_pretty() { self.pretty.begin_array(writer) } else { CompactFormatter.begin_array(writer) }
    }
    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let done = if self.is_pretty() { self.pretty.end_array(writer) } else { CompactFormatter.end_array(writer) };
        self.depth -= 1;
        done
    }
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if self.is_pretty() {
            self.pretty.begin_array_value(writer, first)
        } else {
            CompactFormatter.begin_array_value(writer, first)
        }
    }
    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.is_pretty() { self.pretty.end_array_value(writer) } else { Ok(()) }
    }
    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        if self.is_pretty() { self.pretty.begin_object(writer) } else { CompactFormatter.begin_object(writer) }
    }
    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let done = if self.is_pretty() { self.pretty.end_object(writer) } else { CompactFormatter.end_object(writer) };
        self.depth -= 1;
        done
    }
    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if self.is_pretty() {
            self.pretty.begin_object_key(writer, first)
        } else {
            CompactFormatter.begin_object_key(writer, first)
        }
    }
    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.is_pretty() {
            self.pretty.begin_object_value(writer)
        } else {
            CompactFormatter.begin_object_value(writer)
        }
    }
    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.is_pretty() { self.pretty.end_object_value(writer) } else { Ok(()) }
    }
}

/// A folder that files can be written to: made where it is missing, tried before a long run depends on it. What killed
/// commands left in it is removed.
///
/// # Errors
/// [`WriteError::Folder`].
pub fn prepare(folder: &Path) -> Result<(), WriteError> {
    let failed = |source| WriteError::Folder { path: folder.to_owned(), source };
    place::make_folder(folder).map_err(failed)?;
    temporary::remove_stale(folder);
    temporary::file(folder).map(drop).map_err(failed)
}

/// A path that a file can be written to, as [`prepare`] for a folder.
///
/// # Errors
/// [`WriteError::Folder`] or [`WriteError::Target`].
pub fn prepare_file(path: &Path) -> Result<(), WriteError> {
    match target::of(path)? {
        Target::Descriptor(_) | Target::Stream(_) => Ok(()),
        Target::File(file) => match prepare(target::folder_of(&file)) {
            Err(WriteError::Folder { source, .. }) if place::is_refused(&source) && place::is_writable(&file) => Ok(()),
            done => done,
        },
    }
}

/// Writes files, in the given order, into a folder (made where it is missing). Each is whole or not at all, and none
/// takes its place before all are on the disk: temporary files, fsync, then renames, then fsync of the folders.
///
/// # Errors
/// With the path. Where a temporary file could not be written, everything that was there before is untouched.
pub fn files(folder: &Path, files: &[(PathBuf, Vec<u8>)]) -> Result<(), WriteError> {
    let files: Vec<(PathBuf, &[u8])> = files.iter().map(|(name, bytes)| (folder.join(name), &bytes[..])).collect();
    if files.is_empty() {
        return prepare(folder);
    }
    all(&files)
}

/// Writes one file, as [`files`] does.
///
/// # Errors
/// As [`files`].
pub fn file(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    all(&[(path.to_owned(), bytes)])
}

fn all(files: &[(PathBuf, &[u8])]) -> Result<(), WriteError> {
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut staged = Vec::new();
    for (path, bytes) in files {
        let target = target::of(path)?;
        if let Target::File(file) = &target {
            let folder = target::folder_of(file);
            if !folders.iter().any(|known| known == folder) {
                let failed = |source| WriteError::Folder { path: folder.to_owned(), source };
                place::make_folder(folder).map_err(failed)?;
                temporary::remove_stale(folder);
                folders.push(folder.to_owned());
            }
        }
        staged.push(place::Staged::new(path, target, bytes)?);
    }
    for file in staged {
        file.place()?;
    }
    folders.iter().try_for_each(|folder| place::sync_folder(folder))
}
