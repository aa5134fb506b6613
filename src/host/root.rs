//! Root folder for the files with facts about the machine.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest part of a file that is read, in bytes. /proc/cpuinfo of a very large machine is longer, but its first blocks
/// are enough.
const MAX_READ_BYTES: u64 = 1 << 20;

/// The root under which `/proc`, `/sys` and `/etc` are read: `/`, or a folder with a made-up tree in tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

/// A file under a [`Root`] that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file does not exist, as is usual for parts of `/sys` in a guest or a container.
    #[error("/{path} does not exist")]
    Absent {
        /// The path below the root.
        path: String,
    },
    /// The file exists, but reading it failed.
    #[error("/{path} cannot be read: {source}")]
    Failed {
        /// The path below the root.
        path: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The file is empty.
    #[error("/{path} is empty")]
    Empty {
        /// The path below the root.
        path: String,
    },
}

impl Default for Root {
    /// The root of the running system, `/`.
    fn default() -> Self {
        Self(PathBuf::from("/"))
    }
}

impl Root {
    /// Makes a root at `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Returns the path of a file on the running system. `path` is below the root, with or without a leading slash.
    pub(crate) fn locate(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Whether `path` exists.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.locate(path).exists()
    }

    /// Reads the text of a file without blanks at its ends; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// [`ReadError`] if the file is absent, unreadable or empty.
    pub(crate) fn text(&self, path: impl AsRef<Path>) -> Result<String, ReadError> {
        let path = path.as_ref();
        let below = path.strip_prefix("/").unwrap_or(path).display().to_string();
        let mut bytes = Vec::new();
        let read = File::open(self.locate(path)).and_then(|file| file.take(MAX_READ_BYTES).read_to_end(&mut bytes));
        if let Err(source) = read {
            return Err(match source.kind() {
                io::ErrorKind::NotFound => ReadError::Absent { path: below },
                _ => ReadError::Failed { path: below, source },
            });
        }
        match String::from_utf8_lossy(&bytes).trim() {
            "" => Err(ReadError::Empty { path: below }),
            text => Ok(text.to_owned()),
        }
    }

    /// Reads the first line of a file: most files in `/sys` have one value in one line.
    ///
    /// # Errors
    /// As for [`Root::text`].
    pub(crate) fn line(&self, path: &str) -> Result<String, ReadError> {
        let text = self.text(path)?;
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// Reads the value of the first `key` in a file of `key<separator>value` lines, such as `/proc/self/status`.
    pub(crate) fn field(&self, path: &str, separator: char, key: &str) -> Option<String> {
        let text = self.text(path).ok()?;
        text.lines().find_map(|line| {
            let (name, value) = line.split_once(separator)?;
            (name.trim() == key).then(|| value.trim().to_owned())
        })
    }

    /// Lists the names in a folder, sorted; empty if it cannot be listed.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.locate(folder))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}
