//! Temporary files and folders, named and locked so that those of killed commands are recognised and removed.
//!
//! A command holds a lock (flock) on each of its own for as long as it runs; the kernel lets it go when the command is
//! killed. What bears our name, belongs to this user, has not changed for an hour and is locked by nobody is removed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use tempfile::{NamedTempFile, TempDir};

/// What the names of temporary files begin with.
pub const FILE_PREFIX: &str = ".pvbench-tmp-";

/// What the names of temporary folders begin with.
pub const FOLDER_PREFIX: &str = "pvbench-";

/// The file that a temporary folder has until it is kept. A folder without it is not ours to remove.
pub const MARK: &str = ".pvbench-temporary";

/// Seconds after the last change. A file is locked a moment after it is made and takes its place within a second or a
/// minute; much less would race with a slow disk, and more would let leftovers pile up.
pub const STALE_AFTER: Duration = Duration::from_secs(3600);

/// A new file, to be written and renamed.
pub(super) fn file(folder: &Path) -> io::Result<NamedTempFile> {
    let file = tempfile::Builder::new()
        .prefix(FILE_PREFIX)
        // A temporary file is private; a report is to be read.
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)?;
    lock(file.as_file());
    Ok(file)
}

/// A folder for the time of a command, which is removed with all that is in it.
#[derive(Debug)]
pub struct TemporaryFolder {
    folder: TempDir,
    /// Holds the lock.
    _mark: File,
}

impl TemporaryFolder {
    /// Makes a folder in `parent`, after those that killed commands left there were removed. Its name begins with
    /// [`FOLDER_PREFIX`] and `name`.
    ///
    /// # Errors
    /// Where the folder, or a file in it, cannot be made.
    pub fn new(parent: &Path, name: &str) -> io::Result<Self> {
        remove_stale(parent);
        let folder = tempfile::Builder::new().prefix(&format!("{FOLDER_PREFIX}{name}-")).tempdir_in(parent)?;
        let mark = File::create(folder.path().join(MARK))?;
        lock(&mark);
        Ok(TemporaryFolder { folder, _mark: mark })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves the folder to the user: nobody removes it any more.
    #[must_use]
    pub fn keep(self) -> PathBuf {
        let path = self.folder.keep();
        // With the mark the folder would be removed in an hour.
        let _ = fs::remove_file(path.join(MARK));
        path
    }
}

/// Removes what killed commands left in a folder. What cannot be removed is only in the way.
pub fn remove_stale(folder: &Path) {
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
    let Ok(there) = fs::symlink_metadata(path) else { return false };
    // A time in the future says nothing about the age.
    let age = there.modified().ok().and_then(|changed| SystemTime::now().duration_since(changed).ok());
    there.uid() == rustix::process::geteuid().as_raw() && age.is_some_and(|age| age > STALE_AFTER)
}

/// Whether a command has this file. On a file system without locks the age alone tells: files are made and renamed at
/// once.
fn is_locked(path: &Path) -> bool {
    let locked =
        |file: File| flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK);
    opened(path).is_ok_and(locked)
}

/// Whether a folder has this mark, and no command the lock on it. Some commands run for hours: without locks nobody
/// knows.
fn is_left(mark: &Path) -> bool {
    opened(mark).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
}

fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// Where a file system has no locks, there is none.
fn lock(file: &File) {
    let _ = flock(file, FlockOperation::NonBlockingLockExclusive);
}
