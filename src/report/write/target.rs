//! The target that the path of an output leads to.
//!
//! A symbolic link stays; the file that it names is replaced, or made if it is missing. A pipe, a device or an open
//! file of this process is written to, because it cannot be replaced.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::WriteError;

/// Maximum number of links that are followed before they count as a loop, as in the kernel (`MAXSYMLINKS`).
pub(super) const MAX_LINKS: usize = 40;

/// Mode bits of a folder in which everybody may make files and remove only their own: `/tmp`.
const SHARED: u32 = 0o1002;

/// The target of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A regular file, which is replaced, or a path without a file.
    File(PathBuf),
    /// A pipe, a device, or an open file of another process.
    Stream(PathBuf),
    /// An open file of this process, by its number: `/dev/stdout` is 1.
    Descriptor(u32),
}

/// Follows the links of a path to its target.
///
/// # Errors
/// [`WriteError::Target`] if the path leads to a folder, into a loop of links, or through another user's link.
pub fn of(path: &Path) -> Result<Target, WriteError> {
    follow(path).map_err(|source| WriteError::Target { path: path.to_owned(), source })
}

fn follow(path: &Path) -> io::Result<Target> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        if let Some(number) = descriptor(&path) {
            return Ok(Target::Descriptor(number));
        }
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            // The folder is made later, which reports its own error.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Target::File(path));
            }
            Err(error) => return Err(error),
        };
        if metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        if !metadata.is_symlink() {
            return Ok(if metadata.is_file() { Target::File(path) } else { Target::Stream(path) });
        }
        // Links in /proc name open files; their text is not a path.
        if path.starts_with("/proc") {
            return Ok(Target::Stream(path));
        }
        path = linked(&path)?;
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// The path that a symbolic link names.
///
/// # Errors
/// If the link cannot be read, or if the kernel would not follow it (`fs.protected_symlinks`): in `/tmp` anybody can
/// make a link to a file of this user.
pub(super) fn linked(link: &Path) -> io::Result<PathBuf> {
    let folder = folder_of(link);
    let (metadata, parent) = (fs::symlink_metadata(link)?, fs::metadata(folder)?);
    let own = rustix::process::geteuid().as_raw();
    if parent.mode() & SHARED == SHARED && metadata.uid() != own && metadata.uid() != parent.uid() {
        let message = "it is another user's symbolic link in a shared folder";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(folder.join(fs::read_link(link)?))
}

/// The folder that holds the last component of a path.
#[must_use]
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

/// The descriptor of an open file of this process that a path names.
fn descriptor(path: &Path) -> Option<u32> {
    let path = path.to_str()?;
    match path {
        "/dev/stdout" => Some(1),
        "/dev/stderr" => Some(2),
        _ => ["/dev/fd/", "/proc/self/fd/"].iter().find_map(|folder| path.strip_prefix(folder))?.parse().ok(),
    }
}
