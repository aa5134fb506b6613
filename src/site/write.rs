//! Writing of a site: only files whose contents changed, each whole, and none before all are rendered.
//!
//! Changed files are written to a temporary folder beside the site's own files, then synced, then renamed. A build that
//! fails or is killed before the renames leaves the old site as it was.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;

use crate::report::write::temporary::TemporaryFolder;
use crate::report::write::{self, WriteError};

/// Name of the list of files that a site consists of. Files that are not on it are never removed.
const LIST: &str = "site-files.txt";
/// Maximum size of a list in bytes: 200,000 files.
const MAX_LIST_BYTES: u64 = 32 << 20;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Files of the site.
    pub files: usize,
    /// Files that were new or had other contents.
    pub changed: usize,
    /// Files of an older site that were removed.
    pub removed: usize,
}

/// A site that is being written. Threads share it.
pub struct Staging {
    folder: PathBuf,
    staged: TemporaryFolder,
    names: Mutex<Names>,
}

#[derive(Default)]
struct Names {
    all: BTreeSet<PathBuf>,
    changed: Vec<PathBuf>,
}

impl Staging {
    /// Begins a site in a folder, which is made if it is missing.
    ///
    /// # Errors
    /// [`WriteError::Folder`].
    pub fn new(folder: &Path) -> Result<Self, WriteError> {
        write::prepare(folder)?;
        let staged = TemporaryFolder::new(folder, "site")
            .map_err(|source| WriteError::Folder { path: folder.to_owned(), source })?;
        Ok(Staging { folder: folder.to_owned(), staged, names: Mutex::default() })
    }

    /// Adds a file by its path within the site. It is written if its contents changed.
    ///
    /// # Errors
    /// [`WriteError::File`].
    pub fn add(&self, name: &Path, bytes: &[u8]) -> Result<(), WriteError> {
        let is_changed = !is_same(&self.folder.join(name), bytes);
        if is_changed {
            let path = self.staged.path().join(name);
            let written = make_parent(&path).and_then(|()| fs::write(&path, bytes));
            written.map_err(|source| WriteError::File { path: self.folder.join(name), source })?;
        }
        let mut names = self.names.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if names.all.insert(name.to_owned()) && is_changed {
            names.changed.push(name.to_owned());
        }
        Ok(())
    }

    /// Puts the changed files in their places, and removes those of an older site that this one does not have.
    ///
    /// # Errors
    /// [`WriteError::File`] if a file cannot be replaced, and [`WriteError::Unsynced`].
    pub fn finish(self) -> Result<Written, WriteError> {
        let Staging { folder, staged, names } = self;
        let mut names = names.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let sync = || File::open(&folder).and_then(|it| rustix::fs::syncfs(&it).map_err(io::Error::from));
        sync().map_err(|source| WriteError::Unsynced { path: folder.clone(), source })?;
        let old = read_list(&folder);
        let is_stale = |name: &&String| !names.all.contains(Path::new(name));
        let stale: Vec<&String> = old.iter().filter(is_stale).collect();
        // The list comes first and names stale files as well: a build that ends early loses track of nothing.
        let all = names.all.iter().map(|name| name.to_string_lossy().into_owned());
        write_list(&folder, all.clone().chain(stale.iter().map(|name| (*name).clone())))?;
        // The front page leads to all others, so it comes last.
        names.changed.sort_by(|a, b| is_front(a).cmp(&is_front(b)).then_with(|| a.cmp(b)));
        for name in &names.changed {
            let path = folder.join(name);
            let replaced = make_parent(&path).and_then(|()| fs::rename(staged.path().join(name), &path));
            replaced.map_err(|source| WriteError::File { path, source })?;
        }
        let mut written = Written { files: names.all.len(), changed: names.changed.len(), removed: 0 };
        if !stale.is_empty() {
            for name in stale {
                written.removed += usize::from(fs::remove_file(folder.join(name)).is_ok());
            }
            write_list(&folder, all)?;
        }
        Ok(written)
    }
}

fn is_front(name: &Path) -> bool {
    name == Path::new("index.html")
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn write_list(folder: &Path, names: impl Iterator<Item = String>) -> Result<(), WriteError> {
    let names: BTreeSet<String> = names.collect();
    let list: String = names.iter().map(|name| format!("{name}\n")).collect();
    let path = folder.join(LIST);
    if is_same(&path, list.as_bytes()) { Ok(()) } else { write::file(&path, list.as_bytes()) }
}

/// Whether a regular file, not a link, has these contents.
fn is_same(path: &Path, bytes: &[u8]) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    if !metadata.is_file() || metadata.len() != bytes.len() as u64 {
        return false;
    }
    fs::read(path).is_ok_and(|found| found == bytes)
}

/// The files of the list of a folder. Anybody may have edited it: a name must not lead out of the folder.
fn read_list(folder: &Path) -> Vec<String> {
    let mut bytes = Vec::new();
    let read = File::open(folder.join(LIST)).and_then(|file| file.take(MAX_LIST_BYTES).read_to_end(&mut bytes));
    if read.is_err() {
        return Vec::new();
    }
    let is_own = |name: &&str| {
        let parts: Vec<Component> = Path::new(name).components().collect();
        let ends = [".html", ".xml", ".svg", ".json", ".css"];
        (1..=2).contains(&parts.len())
            && parts.iter().all(|part| matches!(part, Component::Normal(_)))
            && ends.iter().any(|end| name.ends_with(end))
    };
    String::from_utf8_lossy(&bytes).lines().filter(is_own).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(folder: &Path, files: &[(&str, &str)]) -> Written {
        let staging = Staging::new(folder).unwrap();
        for (name, text) in files {
            staging.add(Path::new(name), text.as_bytes()).unwrap();
        }
        staging.finish().unwrap()
    }

    fn entries(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn only_changed_files_are_written_and_stale_ones_are_removed_but_not_files_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!(build(path, &[("index.html", "1"), ("op/a.html", "a"), ("op/b.html", "b")]).changed, 3);
        fs::write(path.join("CNAME"), "example.org").unwrap();
        fs::write(path.join("op").join("mine.html"), "a user's own").unwrap();
        let again = build(path, &[("index.html", "2"), ("op/a.html", "a")]);
        assert_eq!(again, Written { files: 2, changed: 1, removed: 1 });
        assert_eq!(entries(path), ["CNAME", "index.html", "op", LIST]);
        assert_eq!(entries(&path.join("op")), ["a.html", "mine.html"]);
    }

    #[test]
    fn a_build_that_ends_early_leaves_the_old_site() {
        let folder = tempfile::tempdir().unwrap();
        build(folder.path(), &[("index.html", "old")]);
        let staging = Staging::new(folder.path()).unwrap();
        staging.add(Path::new("index.html"), b"new").unwrap();
        drop(staging);
        assert_eq!(fs::read(folder.path().join("index.html")).unwrap(), b"old");
        assert_eq!(entries(folder.path()), ["index.html", LIST]);
    }

    #[test]
    fn a_forged_list_removes_nothing_outside_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let site = folder.path().join("site");
        fs::write(folder.path().join("outside.html"), "kept").unwrap();
        build(&site, &[("index.html", "1")]);
        let outside = folder.path().join("outside.html");
        fs::write(site.join(LIST), format!("../outside.html\n{}\nindex.html\n", outside.display())).unwrap();
        assert_eq!(build(&site, &[("index.html", "1")]).removed, 0);
        assert!(outside.is_file());
    }
}
