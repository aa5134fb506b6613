//! Facts of a commit, from the clone that it is in. They are asked from `git` itself.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::keep::clip;
use super::kept::Commit;

/// Number of digits from which a commit is taken without a clone. Names of files have as many.
const MIN_DIGITS: usize = 12;
/// Digits of a full id: SHA-1, SHA-256.
const FULL_DIGITS: [usize; 2] = [40, 64];
/// Maximum output of a git command in bytes: the first-parent line of a million commits.
const MAX_OUTPUT: u64 = 256 << 20;

/// A commit cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Git cannot be run.
    #[error("git cannot be run: {0}; install git, or name the commit by --commit with {MIN_DIGITS} digits or more")]
    NoGit(io::Error),
    /// The folder is in no clone.
    #[error("{}: no git clone is here: {message}; name one by --repo", path.display())]
    NoClone {
        /// The folder.
        path: PathBuf,
        /// What git says.
        message: String,
    },
    /// The commit is not in the clone, and its name is no id.
    #[error(
        "'{name}' is no commit of {}; fetch it, or name the commit by {MIN_DIGITS} hexadecimal digits or more",
        path.display()
    )]
    Unknown {
        /// The name as given.
        name: String,
        /// The folder of the clone.
        path: PathBuf,
    },
    /// Git failed in the clone.
    #[error("git failed in {}: {message}", path.display())]
    Failed {
        /// The folder of the clone.
        path: PathBuf,
        /// What git says.
        message: String,
    },
}

/// A commit, and what is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The commit.
    pub commit: Commit,
    /// Why facts of it are missing; absent if none are.
    pub note: Option<String>,
}

/// A clone.
#[derive(Clone, Debug)]
pub struct Clone {
    folder: PathBuf,
    /// Whether older commits are missing.
    is_shallow: bool,
}

impl Clone {
    /// The clone that a folder is in.
    ///
    /// # Errors
    /// [`CommitError::NoGit`] or [`CommitError::NoClone`].
    pub fn open(folder: &Path) -> Result<Self, CommitError> {
        let clone = Clone { folder: folder.to_owned(), is_shallow: false };
        let shallow = clone.git(["rev-parse", "--is-shallow-repository"]).map_err(|error| match error {
            CommitError::Failed { path, message } => CommitError::NoClone { path, message },
            error => error,
        })?;
        Ok(Clone { is_shallow: shallow.trim() == "true", ..clone })
    }

    /// Whether older commits are missing.
    #[must_use]
    pub fn is_shallow(&self) -> bool {
        self.is_shallow
    }

    /// The full id of a commit by any name that git knows. `None` if the clone does not have it.
    ///
    /// # Errors
    /// [`CommitError::NoGit`].
    pub fn resolve(&self, name: &str) -> Result<Option<String>, CommitError> {
        let name = format!("{name}^{{commit}}");
        match self.git(["rev-parse", "--verify", "--quiet", "--end-of-options", &name]) {
            Ok(id) => Ok(Some(id.trim().to_owned()).filter(|id| is_id(id))),
            Err(CommitError::Failed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The facts of a commit by its full id.
    ///
    /// # Errors
    /// [`CommitError`] if git fails.
    pub fn describe(&self, id: &str) -> Result<Commit, CommitError> {
        let line = self.git(["log", "-1", "--no-show-signature", "--format=%ct%x00%P%x00%s", id, "--"])?;
        let mut parts = line.trim_end_matches('\n').split('\0');
        let seconds = parts.next().and_then(|seconds| seconds.parse().ok());
        let parents = parts.next().unwrap_or_default();
        let first_parent = parents.split(' ').next().filter(|id| is_id(id)).map(str::to_owned);
        let subject = parts.next().map(clip);
        let position = if self.is_shallow {
            None
        } else {
            self.git(["rev-list", "--first-parent", "--count", id, "--"])?.trim().parse().ok()
        };
        Ok(Commit { id: id.to_owned(), seconds, first_parent, position, subject, dirty: None })
    }

    /// Whether tracked files differ from the commit that is checked out.
    ///
    /// # Errors
    /// [`CommitError`] if git fails.
    pub fn is_dirty(&self) -> Result<bool, CommitError> {
        let status = self.git(["status", "--porcelain", "--untracked-files=no", "--ignore-submodules=none"])?;
        Ok(!status.trim().is_empty())
    }

    /// The first-parent line of a commit, newest first: id, time and subject.
    ///
    /// # Errors
    /// [`CommitError`] if git fails.
    pub fn first_parents(&self, tip: &str) -> Result<Vec<Commit>, CommitError> {
        let format = "--format=%H%x00%ct%x00%s";
        let text = self.git(["log", "--first-parent", "--no-show-signature", format, "--end-of-options", tip, "--"])?;
        let commit = |line: &str| {
            let mut parts = line.split('\0');
            let id = parts.next().filter(|id| is_id(id))?.to_owned();
            let seconds = parts.next().and_then(|seconds| seconds.parse().ok());
            let subject = parts.next().map(clip);
            Some(Commit { id, seconds, first_parent: None, position: None, subject, dirty: None })
        };
        Ok(text.lines().filter_map(commit).collect())
    }

    /// Runs git in the clone, and returns what it prints. Nothing of the clone's configuration is executed.
    fn git<const N: usize>(&self, arguments: [&str; N]) -> Result<String, CommitError> {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.folder);
        command.args(["-c", "core.fsmonitor=false", "-c", "log.showSignature=false", "--no-pager"]);
        command.args(arguments).env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(CommitError::NoGit)?;
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_OUTPUT).read_to_end(&mut output).map_err(CommitError::NoGit)?;
        }
        // Git's own errors are shorter than a pipe: it does not wait for their reader.
        let mut message = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            stderr.take(4096).read_to_end(&mut message).map_err(CommitError::NoGit)?;
        }
        let status = child.wait().map_err(CommitError::NoGit)?;
        if status.success() {
            return Ok(String::from_utf8_lossy(&output).into_owned());
        }
        let message = String::from_utf8_lossy(&message);
        let message = message.lines().next().map_or_else(|| status.to_string(), clip);
        Err(CommitError::Failed { path: self.folder.clone(), message })
    }
}

/// Finds the commit of a run. Without `name` it is the one that is checked out in `folder`, with whether files differ.
///
/// # Errors
/// [`CommitError`] if there is no clone, or the name is neither a commit of it nor an id.
pub fn find(folder: &Path, name: Option<&str>) -> Result<Found, CommitError> {
    let Some(name) = name else {
        let clone = Clone::open(folder)?;
        let head = clone.resolve("HEAD")?;
        let unborn = || CommitError::Unknown { name: "HEAD".to_owned(), path: folder.to_owned() };
        let commit = clone.describe(&head.ok_or_else(unborn)?)?;
        let dirty = Some(clone.is_dirty()?);
        let note = clone.is_shallow.then(|| {
            "this clone is shallow, so the place of the commit among others is not known; `git fetch --unshallow` \
             before `history add` keeps it"
                .to_owned()
        });
        return Ok(Found { commit: Commit { dirty, ..commit }, note });
    };
    let alone = |why: String| {
        let id = name.to_ascii_lowercase();
        if !is_hex(&id) || !(MIN_DIGITS..=FULL_DIGITS[1]).contains(&id.len()) {
            return None;
        }
        let commit = Commit { id, seconds: None, first_parent: None, position: None, subject: None, dirty: None };
        Some(Found { commit, note: Some(why) })
    };
    let clone = match Clone::open(folder) {
        Ok(clone) => clone,
        Err(error) => {
            let why = "the commit is kept by its id alone, because no git clone is here; name one by --repo";
            return alone(why.to_owned()).ok_or(error);
        }
    };
    match clone.resolve(name)? {
        Some(id) => Ok(Found { commit: clone.describe(&id)?, note: None }),
        None => {
            let why = format!(
                "commit {} is not in {}, so it is kept by its id alone; fetch it before `history add`",
                clip(name),
                folder.display()
            );
            alone(why).ok_or_else(|| CommitError::Unknown { name: clip(name), path: folder.to_owned() })
        }
    }
}

/// Whether a text is a full id.
fn is_id(text: &str) -> bool {
    FULL_DIGITS.contains(&text.len()) && is_hex(text)
}

/// Whether a text has hexadecimal digits in lower case only.
pub(super) fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The name of a folder as that of a commit, if it can be one: `a1b2c3d` or `2026-11-30-a1b2c3d`.
#[must_use]
pub fn commit_in_name(name: &OsStr) -> Option<&str> {
    let last = name.to_str()?.rsplit(['-', '_', '.']).next()?;
    (is_hex(last) && (7..=FULL_DIGITS[1]).contains(&last.len()) && last.bytes().any(|it| it.is_ascii_lowercase()))
        .then_some(last)
}
