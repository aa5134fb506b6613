//! Temporary files and folders, with names and locks by which those of killed commands are recognised and removed.
//!
//! A command holds a lock (flock) on each of its temporary files; the kernel releases it when the command ends. A
//! temporary file is removed if it has a name of pvbench, belongs to this user, has not changed for an hour and is not
//! locked.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use tempfile::{NamedTempFile, TempDir};

/// Prefix of the names of temporary files.
pub const FILE_PREFIX: &str = ".pvbench-tmp-";

/// Prefix of the names of temporary folders.
pub const FOLDER_PREFIX: &str = "pvbench-";

/// Name of the file that marks a temporary folder until the folder is kept. A folder without the mark is not removed.
pub const MARK: &str = ".pvbench-temporary";

/// Age after the last change at which a temporary file counts as stale. A file is locked a moment after it is made, and
/// renamed within a minute. A much smaller age would race with a slow disk; a larger one would let leftovers pile up.
pub const STALE_AFTER: Duration = Duration::from_secs(3600);

/// Makes a locked temporary file, to be written and renamed.
pub(super) fn file(folder: &Path) -> io::Result<NamedTempFile> {
    let file = tempfile::Builder::new()
        .prefix(FILE_PREFIX)
        // Temporary files are private by default, but others should be able to read a report.
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)?;
    lock(file.as_file());
    Ok(file)
}

/// A folder that is removed with its contents when the command ends.
#[derive(Debug)]
pub struct TemporaryFolder {
    folder: TempDir,
    /// Holds the lock.
    _mark: File,
}

impl TemporaryFolder {
    /// Removes the folders that killed commands left in `parent`, and makes a new one there. Its name begins with
    /// [`FOLDER_PREFIX`] and `name`.
    ///
    /// # Errors
    /// If the folder or a file in it cannot be made.
    pub fn new(parent: &Path, name: &str) -> io::Result<Self> {
        remove_stale(parent);
        let folder = tempfile::Builder::new().prefix(&format!("{FOLDER_PREFIX}{name}-")).tempdir_in(parent)?;
        let mark = File::create(folder.path().join(MARK))?;
        lock(&mark);
        Ok(TemporaryFolder { folder, _mark: mark })
    }

    /// Path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves the folder to the user, so that no command removes it.
    #[must_use]
    pub fn keep(self) -> PathBuf {
        let path = self.folder.keep();
        // With the mark the folder would be removed in an hour.
        let _ = fs::remove_file(path.join(MARK));
        path
    }
}

/// Removes the temporary files and folders that killed commands left in a folder. Those that cannot be removed stay.
pub(crate) fn remove_stale(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        if !(name.starts_with(FILE_PREFIX) || name.starts_with(FOLDER_PREFIX)) || !is_old_and_own(&path) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_file() && name.starts_with(FILE_PREFIX) && !is_locked(&path) => {
                let _ = fs::remove_file(&path);
            }
            Ok(kind) if kind.is_dir() && is_left(&path.join(MARK)) => {
                let _ = fs::remove_dir_all(&path);
            }
            _ => {}
        }
    }
}

fn is_old_and_own(path: &Path) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    // A time in the future says nothing about the age.
    let age = metadata.modified().ok().and_then(|changed| SystemTime::now().duration_since(changed).ok());
    metadata.uid() == rustix::process::geteuid().as_raw() && age.is_some_and(|age| age > STALE_AFTER)
}

/// Whether a running command holds a lock on a file. On a file system without locks no file counts as locked and its
/// age decides, because files are renamed soon after they are made.
fn is_locked(path: &Path) -> bool {
    let locked =
        |file: File| flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK);
    opened(path).is_ok_and(locked)
}

/// Whether a folder has its mark and no running command holds the lock on it. On a file system without locks no folder
/// counts as left, because some commands run for hours.
fn is_left(mark: &Path) -> bool {
    opened(mark).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
}

fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// Locks a file. On a file system without locks the file stays unlocked.
fn lock(file: &File) {
    let _ = flock(file, FlockOperation::NonBlockingLockExclusive);
}
