//! Writing of files, whole or not at all.
//!
//! A new file replaces the old one by a rename, so a reader finds the old contents or the new. Links, pipes and devices
//! are not replaced ([`target`]). A file that cannot be replaced, such as a mount point, is written in place.

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

/// Failure to write a file.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The folder could not be made or written to.
    #[error("cannot write to {}: {source}; name another folder", path.display())]
    Folder {
        /// Path of the folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The path cannot be written to: a folder, a loop of links, or another user's link in a shared folder.
    #[error("cannot write to {}: {source}; name another file", path.display())]
    Target {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file could not be written whole. Its old contents are untouched.
    #[error("cannot write {}: {source}; its old contents are untouched", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// The cause: no space, a limit on file sizes, ..
        source: io::Error,
    },
    /// A file that cannot be replaced, such as a mount point, was written in place, and the write broke off.
    #[error(
        "{} is incomplete: {source}; it cannot be replaced (a mount point?) and was written in place; write it again",
        path.display()
    )]
    Torn {
        /// Path of the file.
        path: PathBuf,
        /// The cause: no space, a limit on file sizes, ..
        source: io::Error,
    },
    /// A pipe or device failed during a write.
    #[error("cannot write to {}: {source}; earlier output stays", path.display())]
    Stream {
        /// Path of the pipe or device.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The files were written, but the disk failed to store them.
    #[error("the files in {} were written, but the disk may lose them: {source}; check the disk", path.display())]
    Unsynced {
        /// Path of the folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The report holds an impossible value.
    #[error("the report was not written: {0}")]
    Invalid(#[from] Invalid),
    /// The report could not be written as JSON.
    #[error("the report was not written: {0}")]
    Json(#[from] serde_json::Error),
}

impl WriteError {
    /// Whether the user's choice of path is at fault, not the writing itself.
    #[must_use]
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, WriteError::Folder { .. } | WriteError::Target { .. })
    }
}

/// The report as indented JSON, with fields in the order of declaration. Numbers have six significant digits, more than
/// any measurement; from 10,000 on they have two digits after the point, for exact counts.
///
/// # Errors
/// When a number is not finite or an interval is not in order. Such a report is not written.
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

/// Formatter of JSON with the numbers of [`json`] and one line per cell: indented down to the elements of the
/// document's lists, compact within them. If all levels were indented, 100,000 layouts would be mostly spaces.
struct Rounded<'a> {
    pretty: PrettyFormatter<'a>,
    depth: usize,
}

/// Depth down to which JSON is indented: the document, its members, and their elements. Deeper levels are compact.
const MAX_PRETTY_DEPTH: usize = 2;

impl Rounded<'_> {
    fn is_pretty(&self) -> bool {
        self.depth <= MAX_PRETTY_DEPTH
    }
}

impl Formatter for Rounded<'_> {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        // From 10,000 on, six significant digits leave fewer than two after the point: a count would lose its last
        // digits. The value goes through its decimal form, so that the shortest text of the rounded value is written.
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

/// Makes a folder if it is missing and tries to write to it, before a long run depends on it. Temporary files that
/// killed commands left in the folder are removed.
///
/// # Errors
/// [`WriteError::Folder`].
pub fn prepare(folder: &Path) -> Result<(), WriteError> {
    let failed = |source| WriteError::Folder { path: folder.to_owned(), source };
    place::make_folder(folder).map_err(failed)?;
    temporary::remove_stale(folder);
    temporary::file(folder).map(drop).map_err(failed)
}

/// Tries to write to the path of a file, as [`prepare`] does for a folder.
///
/// # Errors
/// [`WriteError::Folder`] or [`WriteError::Target`].
pub(crate) fn prepare_file(path: &Path) -> Result<(), WriteError> {
    match target::of(path)? {
        Target::Descriptor(_) | Target::Stream(_) => Ok(()),
        Target::File(file) => match prepare(target::folder_of(&file)) {
            Err(WriteError::Folder { source, .. }) if place::is_refused(&source) && place::is_writable(&file) => Ok(()),
            done => done,
        },
    }
}

/// Writes files, in the given order, into a folder, which is made if it is missing. Each file is written whole or not
/// at all, and no file is replaced before all are on the disk: temporary files, fsync, then renames, then fsync of the
/// folders.
///
/// # Errors
/// A [`WriteError`] with the path. If a temporary file cannot be written, all old files are untouched.
pub fn files(folder: &Path, files: &[(PathBuf, Vec<u8>)]) -> Result<(), WriteError> {
    let files: Vec<(PathBuf, &[u8])> = files.iter().map(|(name, bytes)| (folder.join(name), &bytes[..])).collect();
    if files.is_empty() {
        return prepare(folder);
    }
    write_all(&files)
}

/// Writes one file, as [`files`] does.
///
/// # Errors
/// As [`files`].
pub fn file(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    write_all(&[(path.to_owned(), bytes)])
}

/// Writes a large file piece by piece: `fill` gets a temporary file in its folder, which is renamed at the end. A pipe or
/// device gets what `fill` wrote.
///
/// # Errors
/// That of `fill`, or a [`WriteError`]; the old file is untouched.
pub(crate) fn filled<E: From<WriteError>>(
    path: &Path,
    fill: impl FnOnce(&mut tempfile::NamedTempFile) -> Result<(), E>,
) -> Result<(), E> {
    let target = target::of(path)?;
    let file = match &target {
        Target::File(file) => file.clone(),
        Target::Stream(_) | Target::Descriptor(_) => std::env::temp_dir().join("pvbench"),
    };
    let folder = target::folder_of(&file);
    let failed = |source| WriteError::File { path: path.to_owned(), source };
    place::make_folder(folder).map_err(|source| WriteError::Folder { path: folder.to_owned(), source })?;
    temporary::remove_stale(folder);
    let mut temporary = temporary::file(folder).map_err(failed)?;
    fill(&mut temporary)?;
    Ok(match target {
        Target::File(file) => {
            place::persist(temporary, &file).map_err(failed).and_then(|()| place::sync_folder(folder))
        }
        stream => place::copy(temporary, &stream).map_err(failed),
    }?)
}

/// What [`new_file`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewFile {
    /// The file was made.
    Made,
    /// There was one already, which stays as it is.
    Exists,
}

/// Writes a file that is never replaced: a temporary file, fsync, then a rename that fails where the name is taken, then
/// fsync of the folder, which is made if it is missing. Of two commands that write one name at once, one makes it.
///
/// # Errors
/// [`WriteError`]: there is no file of this name, or the whole file ([`WriteError::Unsynced`]).
pub fn new_file(path: &Path, bytes: &[u8]) -> Result<NewFile, WriteError> {
    let folder = target::folder_of(path);
    place::make_folder(folder).map_err(|source| WriteError::Folder { path: folder.to_owned(), source })?;
    temporary::remove_stale(folder);
    let made = place::write_new(path, bytes);
    let made = made.map_err(|source| WriteError::File { path: path.to_owned(), source })?;
    place::sync_folder(folder)?;
    Ok(made)
}

fn write_all(files: &[(PathBuf, &[u8])]) -> Result<(), WriteError> {
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
        file.commit()?;
    }
    folders.iter().try_for_each(|folder| place::sync_folder(folder))
}
