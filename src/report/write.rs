//! Writing files whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};
use tempfile::NamedTempFile;

use super::read::{Invalid, check};
use super::schema::Report;

/// Why something could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The folder could not be made or written to.
    #[error("cannot write to {}: {source}; name another folder with --out", path.display())]
    Folder {
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
        matches!(self, WriteError::Folder { .. })
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

/// JSON with numbers as [`json`] says, and a line per cell: pretty down to the elements of the document's lists, compact
/// within them. A tenth of a million layouts would else be mostly spaces.
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

/// A folder that files can be written to: made where it is missing, tried before a long run depends on it.
///
/// # Errors
/// [`WriteError::Folder`].
pub fn prepare(folder: &Path) -> Result<(), WriteError> {
    let failed = |source| WriteError::Folder { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    NamedTempFile::new_in(folder).map(drop).map_err(failed)
}

/// Writes files, in the given order, into a folder (made where it is missing). Each is whole or not at all, and none
/// takes its place before all are on the disk: temporary files, fsync, then renames, then fsync of the folders.
///
/// # Errors
/// With the path. Where a temporary file could not be written, everything that was there before is untouched.
pub fn files(folder: &Path, files: &[(PathBuf, Vec<u8>)]) -> Result<(), WriteError> {
    prepare(folder)?;
    let mut written = Vec::new();
    for (name, bytes) in files {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder).to_owned();
        if parent != folder {
            prepare(&parent)?;
        }
        let file = temporary(&parent, bytes).map_err(|source| WriteError::File { path: path.clone(), source })?;
        written.push((file, path, parent));
    }
    let mut folders = Vec::new();
    for (file, path, parent) in written {
        file.persist(&path).map_err(|error| WriteError::File { path: path.clone(), source: error.error })?;
        folders.push(parent);
    }
    folders.sort();
    folders.dedup();
    for folder in folders {
        let synced = File::open(&folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| WriteError::Folder { path: folder, source })?;
    }
    Ok(())
}

fn temporary(folder: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let mut file = tempfile::Builder::new()
        // A temporary file is private; a report is to be read.
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}
