//! The store: a folder with a file per run, which is never rewritten.
//!
//! ```text
//! runs/<machine class>/<time>-<commit>-<hash>.pvr    a run; its time in UTC, 12 digits of its commit, 8 of its SHA-256
//! machines.toml                                      machine classes that are one (`aliases`)
//! ```
//!
//! A name follows from the content, so two histories merge by copying files. A file is written under a temporary name
//! in its folder, stored on the disk, and then renamed: a full disk, a second writer or a killed command leaves the
//! store as it was, or with the whole run.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::aliases::{AliasError, Aliases};
use super::kept::{Header, KeptRun};
use super::machine_class::is_machine_class;
use super::names::Names;
use super::run_file::{self, Digest, EXTENSION, MAX_FILE, RunFileError};
use crate::report::write::{self, NewFile, WriteError};

/// Folder of the runs.
const RUNS: &str = "runs";
/// Stands for the commit in the name of a run without one.
const NO_COMMIT: &str = "none";
/// Digits of a commit in a name.
const COMMIT_DIGITS: usize = 12;
/// Bytes of a digest in a name.
const DIGEST_BYTES: usize = 4;
/// Maximum number of files of a store that are read. A run an hour fills it in eleven years.
const MAX_FILES: usize = 100_000;

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no history in the folder.
    #[error("{at}: no history is here; `pvbench history add REPORT.json --to {at}` begins one", at = path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// A folder or file cannot be read.
    #[error("{}: {source}; the history was not read", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A run file that was asked for by name cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The reason.
        reason: RunFileError,
    },
    /// The store has more files than any history.
    #[error("{}: more than {MAX_FILES} files; move old runs to another folder", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// The run cannot be written as a file.
    #[error("the run cannot be kept: {0}")]
    Run(#[from] RunFileError),
    /// The run is there with another commit.
    #[error(
        "{} holds the same run, of commit {known}, and a run has one commit; remove that file if {known} is wrong",
        path.display()
    )]
    OtherCommit {
        /// The file that is there.
        path: PathBuf,
        /// Its commit.
        known: String,
    },
    /// A file with the run's name holds something else.
    #[error("{}: the file of this run is damaged; remove it, and add the run again", path.display())]
    Taken {
        /// Its path.
        path: PathBuf,
    },
    /// The run's machine class cannot be the name of a folder.
    #[error("the machine class {class:?} is no name of a folder; measure again with this pvbench")]
    Class {
        /// The class.
        class: String,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The aliases cannot be read or changed.
    #[error(transparent)]
    Alias(#[from] AliasError),
}

/// A run of a store: where its file is, and its header.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Path of its file.
    pub path: PathBuf,
    /// Its identity.
    pub digest: Digest,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Its header. The machine class is the one after the aliases of the store.
    pub header: Header,
}

/// A file of a store that was left out.
#[derive(Debug)]
pub struct Skipped {
    /// Its path.
    pub path: PathBuf,
    /// The reason.
    pub reason: String,
}

/// The runs of a store.
#[derive(Debug, Default)]
pub struct Listing {
    /// The runs, by machine class and start.
    pub entries: Vec<Entry>,
    /// The files that were left out, to be named in a warning.
    pub skipped: Vec<Skipped>,
}

/// What `add` found or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// Path of the run's file.
    pub path: PathBuf,
    /// Whether it is new; otherwise the run was there already.
    pub is_new: bool,
}

/// A store.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The store in a folder, which need not exist yet.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Store { folder: folder.to_owned() }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds a run. A run that is there already stays as it is.
    ///
    /// # Errors
    /// [`StoreError`]: the store is as before.
    pub fn add(&self, run: &KeptRun) -> Result<Added, StoreError> {
        let file = run_file::write(run)?;
        let class = &run.header.machine_class;
        if !is_machine_class(class) {
            return Err(StoreError::Class { class: class.clone() });
        }
        let folder = self.folder.join(RUNS).join(class);
        if let Some(path) = find_same(&folder, run)? {
            return Ok(Added { path, is_new: false });
        }
        let path = folder.join(file_name(&run.header, &file.digest));
        let is_new = write::new_file(&path, &file.bytes)? == NewFile::Made;
        if !is_new && read_bytes(&path).ok().is_none_or(|bytes| bytes != file.bytes) {
            return Err(StoreError::Taken { path });
        }
        Ok(Added { path, is_new })
    }

    /// Reads the headers of all runs. Damaged, foreign and newer files are left out and listed, and so are copies.
    ///
    /// # Errors
    /// [`StoreError`] if there is no store, or a folder cannot be read.
    pub fn list(&self) -> Result<Listing, StoreError> {
        let aliases = self.aliases()?;
        let mut listing = Listing::default();
        let mut known: HashMap<RunKey, PathBuf> = HashMap::new();
        for path in self.files(&mut listing.skipped)? {
            match read_entry(&path, &aliases) {
                Ok(entry) => match known.get(&run_key(&entry.header)) {
                    Some(first) => {
                        let reason = format!("it holds the same run as {}; remove one of them", first.display());
                        listing.skipped.push(Skipped { path, reason });
                    }
                    None => {
                        known.insert(run_key(&entry.header), path);
                        listing.entries.push(entry);
                    }
                },
                Err(reason) => listing.skipped.push(Skipped { path, reason }),
            }
        }
        listing.entries.sort_by(|one, other| {
            let key = |entry: &Entry| (entry.header.started_seconds, entry.path.file_name().map(ToOwned::to_owned));
            one.header.machine_class.cmp(&other.header.machine_class).then_with(|| key(one).cmp(&key(other)))
        });
        Ok(listing)
    }

    /// Reads a whole run of the listing.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read any more.
    pub fn read(&self, entry: &Entry, names: &mut Names) -> Result<KeptRun, StoreError> {
        let mut run = read_run(&entry.path, names)?;
        run.header.machine_class.clone_from(&entry.header.machine_class);
        Ok(run)
    }

    /// The machine classes that are one.
    ///
    /// # Errors
    /// [`StoreError::Alias`].
    pub fn aliases(&self) -> Result<Aliases, StoreError> {
        Ok(Aliases::read(&self.folder)?)
    }

    /// The files below `runs/`, in the order of their names. Hidden files are left out: temporary files of commands
    /// that run now, and notes of other programs.
    fn files(&self, skipped: &mut Vec<Skipped>) -> Result<Vec<PathBuf>, StoreError> {
        let runs = self.folder.join(RUNS);
        let classes = match list_folder(&runs) {
            Err(StoreError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing { path: self.folder.clone() });
            }
            classes => classes?,
        };
        let mut files = Vec::new();
        for class in classes {
            if !class.is_dir() {
                let reason = RunFileError::Foreign.to_string();
                skipped.push(Skipped { path: class, reason });
                continue;
            }
            for file in list_folder(&class)? {
                if file.extension().is_some_and(|extension| extension == EXTENSION) {
                    files.push(file);
                } else {
                    skipped.push(Skipped { path: file, reason: RunFileError::Foreign.to_string() });
                }
            }
            if files.len() + skipped.len() > MAX_FILES {
                return Err(StoreError::TooMany { path: runs });
            }
        }
        Ok(files)
    }
}

/// Reads a run file that was asked for by name.
///
/// # Errors
/// [`StoreError::File`] with the reason.
pub fn read_run(path: &Path, names: &mut Names) -> Result<KeptRun, StoreError> {
    let bytes = read_bytes(path).map_err(|source| StoreError::Unreadable { path: path.to_owned(), source })?;
    run_file::read(&bytes, names).map_err(|reason| StoreError::File { path: path.to_owned(), reason })
}

/// What two files of one run have in common, whatever else was known when they were added.
type RunKey = (u64, u64, u64, String, String);

fn run_key(header: &Header) -> RunKey {
    let Header { started_seconds, seed, duration_seconds, suite, machine, boot_id, .. } = header;
    let machine = [boot_id.as_ref(), machine.cpu_model.as_ref()].map(|it| it.map_or("", String::as_str)).concat();
    (*started_seconds, *seed, duration_seconds.to_bits(), suite.clone(), machine)
}

fn read_entry(path: &Path, aliases: &Aliases) -> Result<Entry, String> {
    let bytes = read_bytes(path).map_err(|error| error.to_string())?;
    let (mut header, digest) = run_file::read_header(&bytes).map_err(|error| error.to_string())?;
    if !is_machine_class(&header.machine_class) {
        return Err("its machine class is no name of a folder".to_owned());
    }
    header.machine_class = aliases.resolve(&header.machine_class).to_owned();
    Ok(Entry { path: path.to_owned(), digest, bytes: bytes.len() as u64, header })
}

/// Reads at most one byte more than a run file can have. Pipes and devices are refused: they may never end.
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The entries of a folder, in the order of their names, without hidden ones.
fn list_folder(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |source| StoreError::Unreadable { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
        if paths.len() > MAX_FILES {
            return Err(StoreError::TooMany { path: folder.to_owned() });
        }
    }
    paths.sort();
    Ok(paths)
}

/// Finds the file that holds the same run, among those that started in the same second.
fn find_same(folder: &Path, run: &KeptRun) -> Result<Option<PathBuf>, StoreError> {
    let paths = match list_folder(folder) {
        Err(StoreError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        paths => paths?,
    };
    let time = compact_time(run.header.started_seconds);
    let is_near = |path: &&PathBuf| {
        path.extension().is_some_and(|extension| extension == EXTENSION)
            && path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(time.as_bytes()))
    };
    for path in paths.iter().filter(is_near) {
        let Ok((header, _)) = read_bytes(path).map_err(drop).and_then(|it| run_file::read_header(&it).map_err(drop))
        else {
            continue;
        };
        if run_key(&header) != run_key(&run.header) {
            continue;
        }
        let id = |header: &Header| header.commit.as_ref().map(|commit| commit.id.clone());
        if id(&header) != id(&run.header) {
            let known = id(&header).unwrap_or_else(|| NO_COMMIT.to_owned());
            return Err(StoreError::OtherCommit { path: path.clone(), known });
        }
        return Ok(Some(path.clone()));
    }
    Ok(None)
}

/// The name of a run's file.
fn file_name(header: &Header, digest: &Digest) -> String {
    let commit = header.commit.as_ref().and_then(|commit| commit.id.get(..COMMIT_DIGITS.min(commit.id.len())));
    let commit = commit.unwrap_or(NO_COMMIT);
    let hash: String = digest.iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{commit}-{hash}.{EXTENSION}", compact_time(header.started_seconds))
}

/// A time as names of files have it: `20261130T191739Z`.
fn compact_time(seconds: u64) -> String {
    // The calendar ends in the year 9999; a clock beyond that is wrong anyway.
    let seconds = seconds.min(253_402_300_799);
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string().replace(['-', ':'], "")
}
