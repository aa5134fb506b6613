//! Where the path of an output leads.
//!
//! A symbolic link leads to what it names, which is replaced while the link stays; also where nothing is there yet. A
//! pipe, a device or an open file of this process is written to, for nothing can take its place.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::WriteError;

/// Links that are followed before they are called a loop, as many as the kernel follows (`MAXSYMLINKS`).
pub(super) const MAX_LINKS: usize = 40;

/// Mode of a folder that everybody may write to, but remove only what is their own: `/tmp`.
const SHARED: u32 = 0o1002;

/// What is there to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A regular file, which is replaced, or none yet.
    File(PathBuf),
    /// A pipe, a device, or an open file of another process.
    Stream(PathBuf),
    /// An open file of this process, by its number: `/dev/stdout` is 1.
    Descriptor(u32),
}

/// Follows the links of a path.
///
/// # Errors
/// [`WriteError::Target`] where the path leads to a folder, round in a circle or through another user's link.
pub fn of(path: &Path) -> Result<Target, WriteError> {
    followed(path).map_err(|source| WriteError::Target { path: path.to_owned(), source })
}

fn followed(path: &Path) -> io::Result<Target> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        if let Some(number) = descriptor(&path) {
            return Ok(Target::Descriptor(number));
        }
        let there = match fs::symlink_metadata(&path) {
            Ok(there) => there,
            // The folder is made later, or says why it cannot be.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Target::File(path));
            }
            Err(error) => return Err(error),
        };
        if there.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        if !there.is_symlink() {
            return Ok(if there.is_file() { Target::File(path) } else { Target::Stream(path) });
        }
        // Links of /proc name open files; their text is no path.
        if path.starts_with("/proc") {
            return Ok(Target::Stream(path));
        }
        path = linked(&path)?;
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// What a symbolic link names.
///
/// # Errors
/// Where it cannot be read, or the kernel would not follow it (`fs.protected_symlinks`): in `/tmp` anybody can make a
/// link that leads to a file of ours.
pub(super) fn linked(link: &Path) -> io::Result<PathBuf> {
    let folder = folder_of(link);
    let (there, parent) = (fs::symlink_metadata(link)?, fs::metadata(folder)?);
    let own = rustix::process::geteuid().as_raw();
    if parent.mode() & SHARED == SHARED && there.uid() != own && there.uid() != parent.uid() {
        let message = "it is another user's symbolic link in a shared folder";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(folder.join(fs::read_link(link)?))
}

/// The folder that a path's last name is in.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}

/// The number of an open file of this process that a path names.
fn descriptor(path: &Path) -> Option<u32> {
    let path = path.to_str()?;
    match path {
        "/dev/stdout" => Some(1),
        "/dev/stderr" => Some(2),
        _ => ["/dev/fd/", "/proc/self/fd/"].iter().find_map(|folder| path.strip_prefix(folder))?.parse().ok(),
    }
}
