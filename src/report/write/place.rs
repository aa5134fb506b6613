//! Putting the bytes of one file where they belong: by a rename, or in place where nothing can be renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::WriteError;
use super::target::{MAX_LINKS, Target, folder_of, linked};
use super::temporary;

/// A file whose bytes are ready to take their place.
pub(super) struct Staged<'a> {
    /// As it was named, for messages.
    path: PathBuf,
    how: How,
    bytes: &'a [u8],
}

enum How {
    /// The file beside its place, on the disk already, is renamed.
    Rename(NamedTempFile, PathBuf),
    /// The folder takes no other file.
    InPlace(PathBuf),
    /// A pipe, a device, an open file.
    Stream(Target),
}

impl<'a> Staged<'a> {
    /// Writes the bytes beside their place, where that can be.
    pub(super) fn new(path: &Path, target: Target, bytes: &'a [u8]) -> Result<Self, WriteError> {
        let how = match target {
            Target::File(file) => match beside(&file, bytes) {
                Ok(temporary) => How::Rename(temporary, file),
                Err(error) if is_refused(&error) && is_writable(&file) => How::InPlace(file),
                Err(source) => return Err(WriteError::File { path: path.to_owned(), source }),
            },
            stream => How::Stream(stream),
        };
        Ok(Staged { path: path.to_owned(), how, bytes })
    }

    /// Has the bytes take their place.
    pub(super) fn place(self) -> Result<(), WriteError> {
        let Staged { path, how, bytes } = self;
        match how {
            How::Rename(file, target) => match file.persist(&target) {
                Ok(_) => Ok(()),
                Err(refused) if is_refused(&refused.error) && is_writable(&target) => in_place(&path, &target, bytes),
                Err(failed) => Err(WriteError::File { path, source: failed.error }),
            },
            How::InPlace(target) => in_place(&path, &target, bytes),
            How::Stream(target) => match open(&target).and_then(|mut to| to.write_all(bytes)) {
                // Its reader has gone: nothing is wrong.
                Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                    Ok(())
                }
                written => written.map_err(|source| WriteError::Stream { path, source }),
            },
        }
    }
}

/// Opens what cannot be replaced, at its end: an open file that others write to, too, is not cut off.
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

/// A folder, made where it is missing; also where a link leads to it.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    make_folder_within(folder, MAX_LINKS)
}

/// With so many links at most on the way.
fn make_folder_within(folder: &Path, links: usize) -> io::Result<()> {
    match fs::create_dir_all(folder) {
        // A link whose target is missing is in its own way.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && links > 0 => {
            let dangling = folder.ancestors().find(|it| it.is_symlink() && !it.exists()).ok_or(error)?;
            make_folder_within(&linked(dangling)?, links - 1)?;
            make_folder_within(folder, links - 1)
        }
        done => done,
    }
}

fn beside(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = temporary::file(folder_of(path))?;
    file.write_all(bytes)?;
    sync(file.as_file())?;
    Ok(file)
}

/// Overwrites a file that cannot be replaced. Whoever reads it at that moment finds a part of each; where the new bytes
/// do not fit, the old ones, which need no further space, are put back.
fn in_place(path: &Path, target: &Path, bytes: &[u8]) -> Result<(), WriteError> {
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

/// Whether a folder takes no new file, or a file cannot be replaced, that may well be written to: a mount point
/// (EBUSY), a file of a container whose folder is read-only.
pub(super) fn is_refused(error: &io::Error) -> bool {
    // By kind: errors of the temporary file have lost their number.
    let refusals = [
        io::ErrorKind::ResourceBusy,
        io::ErrorKind::ReadOnlyFilesystem,
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::CrossesDevices,
    ];
    refusals.contains(&error.kind())
}

/// Whether there is a file that may be written to.
pub(super) fn is_writable(path: &Path) -> bool {
    OpenOptions::new().write(true).open(path).is_ok()
}

/// Sees to it that a rename survives a power loss, where the file system can do that for folders. A folder that may be
/// written to and not read cannot be opened; what is in it is whole all the same.
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

/// Whether a file system (network, shared, FUSE) or a sandbox offers no fsync, as opposed to a disk that lost what was
/// written: EIO, ENOSPC, EDQUOT.
fn is_unsupported(error: &io::Error) -> bool {
    let unsupported = [libc::EINVAL, libc::EOPNOTSUPP, libc::ENOTSUP, libc::ENOSYS, libc::EROFS, libc::EBADF];
    let refused = [libc::EPERM, libc::EACCES, libc::EISDIR];
    error.raw_os_error().is_some_and(|code| unsupported.contains(&code) || refused.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_fsync_is_told_from_a_disk_that_lost_data() {
        let is = |code| is_unsupported(&io::Error::from_raw_os_error(code));
        assert!([libc::EINVAL, libc::ENOTSUP, libc::ENOSYS, libc::EROFS].into_iter().all(is));
        assert!(![libc::EIO, libc::ENOSPC, libc::EDQUOT].into_iter().any(is));
    }

    #[test]
    fn a_folder_that_cannot_be_opened_is_no_failure() {
        assert!(sync_folder(Path::new("/nowhere")).is_ok());
    }
}
