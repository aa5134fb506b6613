//! Writing of one file to its path: by a rename, or in place if a rename is impossible.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::target::{MAX_LINKS, Target, folder_of, linked};
use super::temporary;
use super::{NewFile, WriteError};

/// A file whose bytes are ready to be written to its path.
pub(super) struct Staged<'a> {
    /// The path as the user named it, for messages.
    path: PathBuf,
    method: Method,
    bytes: &'a [u8],
}

enum Method {
    /// Rename a temporary file in the same folder, which is already on the disk.
    Rename(NamedTempFile, PathBuf),
    /// Overwrite the file, because its folder accepts no new file.
    Overwrite(PathBuf),
    /// Write to a pipe, a device or an open file.
    Stream(Target),
}

impl<'a> Staged<'a> {
    /// Writes the bytes to a temporary file in the same folder, if that is possible.
    pub(super) fn new(path: &Path, target: Target, bytes: &'a [u8]) -> Result<Self, WriteError> {
        let method = match target {
            Target::File(file) => match write_temporary(&file, bytes) {
                Ok(temporary) => Method::Rename(temporary, file),
                Err(error) if is_refused(&error) && is_writable(&file) => Method::Overwrite(file),
                Err(source) => return Err(WriteError::File { path: path.to_owned(), source }),
            },
            stream => Method::Stream(stream),
        };
        Ok(Staged { path: path.to_owned(), method, bytes })
    }

    /// Writes the bytes to their path.
    pub(super) fn commit(self) -> Result<(), WriteError> {
        let Staged { path, method, bytes } = self;
        match method {
            Method::Rename(file, target) => match file.persist(&target) {
                Ok(_) => Ok(()),
                Err(refused) if is_refused(&refused.error) && is_writable(&target) => {
                    write_in_place(&path, &target, bytes)
                }
                Err(failed) => Err(WriteError::File { path, source: failed.error }),
            },
            Method::Overwrite(target) => write_in_place(&path, &target, bytes),
            Method::Stream(target) => match open(&target).and_then(|mut to| to.write_all(bytes)) {
                // A reader that has left is not an error.
                Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                    Ok(())
                }
                written => written.map_err(|source| WriteError::Stream { path, source }),
            },
        }
    }
}

/// Opens a target that cannot be replaced, for appending: an open file that others also write to is not truncated.
fn open(target: &Target) -> io::Result<File> {
    let append = |path: &Path| OpenOptions::new().append(true).open(path);
    match target {
        Target::File(path) | Target::Stream(path) => append(path),
        // These may be sockets, which cannot be opened again.
        Target::Descriptor(1) => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        Target::Descriptor(2) => Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
        Target::Descriptor(number) => append(Path::new(&format!("/proc/self/fd/{number}"))),
    }
}

/// Makes a folder if it is missing, also if a link leads to it.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    make_folder_within(folder, MAX_LINKS)
}

/// Makes a folder and follows at most `links` links.
fn make_folder_within(folder: &Path, links: usize) -> io::Result<()> {
    match fs::create_dir_all(folder) {
        // A link with a missing target blocks its own path: its target is made first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && links > 0 => {
            let dangling = folder.ancestors().find(|it| it.is_symlink() && !it.exists()).ok_or(error)?;
            make_folder_within(&linked(dangling)?, links - 1)?;
            make_folder_within(folder, links - 1)
        }
        done => done,
    }
}

fn write_temporary(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = temporary::file(folder_of(path))?;
    file.write_all(bytes)?;
    sync(file.as_file())?;
    Ok(file)
}

/// Stores a whole temporary file on the disk, and renames it.
pub(super) fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    // A writer of its own may have opened the path: the file is synchronised, not the descriptor.
    sync(file.as_file())?;
    file.persist(path).map(drop).map_err(|refused| refused.error)
}

/// Copies a whole temporary file to a pipe or device.
pub(super) fn copy(mut file: NamedTempFile, target: &Target) -> io::Result<()> {
    file.rewind()?;
    io::copy(&mut file, &mut open(target)?).map(drop)
}

/// Writes a file under a name that is not taken, by way of a temporary file in the same folder.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<NewFile> {
    match write_temporary(path, bytes)?.persist_noclobber(path) {
        Ok(_) => Ok(NewFile::Made),
        Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => Ok(NewFile::Exists),
        Err(refused) => Err(refused.error),
    }
}

/// Overwrites a file that cannot be replaced. A concurrent reader may find a mixture of old and new bytes. If the new
/// bytes do not fit, the old ones are restored, which need no further space.
fn write_in_place(path: &Path, target: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let failed = |source| WriteError::File { path: path.to_owned(), source };
    let before = fs::read(target);
    let mut file = OpenOptions::new().write(true).open(target).map_err(failed)?;
    let Err(source) = overwrite(&mut file, bytes) else { return Ok(()) };
    match before.and_then(|before| overwrite(&mut file, &before)) {
        Ok(()) => Err(failed(source)),
        Err(_) => Err(WriteError::Torn { path: path.to_owned(), source }),
    }
}

fn overwrite(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    file.rewind()?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)?;
    sync(file)
}

/// Whether an error means that a folder accepts no new file or that a file cannot be replaced. The file itself may be
/// writable: a mount point (EBUSY), or a file of a container with a read-only folder.
pub(super) fn is_refused(error: &io::Error) -> bool {
    // Errors are compared by kind, because those of the temporary file have lost their number.
    let refusals = [
        io::ErrorKind::ResourceBusy,
        io::ErrorKind::ReadOnlyFilesystem,
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::CrossesDevices,
    ];
    refusals.contains(&error.kind())
}

/// Whether a path is an existing file that can be written to.
pub(super) fn is_writable(path: &Path) -> bool {
    OpenOptions::new().write(true).open(path).is_ok()
}

/// Syncs a folder so that renames in it survive a power loss, if the file system supports that. A folder that is
/// writable but not readable cannot be opened; its files are whole nevertheless.
pub(super) fn sync_folder(folder: &Path) -> Result<(), WriteError> {
    let Ok(opened) = File::open(folder) else { return Ok(()) };
    sync(&opened).map_err(|source| WriteError::Unsynced { path: folder.to_owned(), source })
}

fn sync(file: &File) -> io::Result<()> {
    match file.sync_all() {
        Err(error) if is_unsupported(&error) => Ok(()),
        done => done,
    }
}

/// Whether an error means that a file system (network, shared, FUSE) or a sandbox has no fsync. EIO, ENOSPC and EDQUOT
/// mean that the disk lost data.
fn is_unsupported(error: &io::Error) -> bool {
    let unsupported = [libc::EINVAL, libc::EOPNOTSUPP, libc::ENOTSUP, libc::ENOSYS, libc::EROFS, libc::EBADF];
    let refused = [libc::EPERM, libc::EACCES, libc::EISDIR];
    error.raw_os_error().is_some_and(|code| unsupported.contains(&code) || refused.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_fsync_is_ignored_and_a_disk_that_loses_data_is_an_error() {
        let is = |code| is_unsupported(&io::Error::from_raw_os_error(code));
        assert!([libc::EINVAL, libc::ENOTSUP, libc::ENOSYS, libc::EROFS].into_iter().all(is));
        assert!(![libc::EIO, libc::ENOSPC, libc::EDQUOT].into_iter().any(is));
    }

    #[test]
    fn a_folder_that_cannot_be_opened_is_not_an_error() {
        assert!(sync_folder(Path::new("/nowhere")).is_ok());
    }
}
