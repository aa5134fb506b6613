//! `machines.toml`: machine classes that count as one, such as before and after a change of the hypervisor's name.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;

use super::machine_class::is_machine_class;
use crate::report::write::{self, WriteError};

/// Name of the file, beside `runs/`.
pub const FILE: &str = "machines.toml";
/// Maximum size of the file in bytes: a thousand aliases.
const MAX_BYTES: u64 = 256 << 10;
/// The table of the file.
const TABLE: &str = "[alias]";
/// The file before its first alias.
const NEW_FILE: &str = "# Machine classes that count as another one: class = the one that it counts as.\n[alias]\n";

/// `machines.toml` cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AliasError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {what}; mend the line, or remove the file", path.display())]
    Malformed {
        /// Its path.
        path: PathBuf,
        /// The fault.
        what: String,
    },
    /// A name is no machine class.
    #[error("{name:?} is no machine class; `pvbench history list` shows those of a history, as amd-25-17-1-kvm-smt2")]
    NoClass {
        /// The name.
        name: String,
    },
    /// The alias would lead in a circle.
    #[error("{from} cannot count as {to}: {to} counts as {from} already; remove that line of {FILE} first")]
    Circle {
        /// The class.
        from: String,
        /// What it should count as.
        to: String,
    },
    /// The class counts as another one.
    #[error("{from} counts as {to} already; change that line of {FILE} by hand")]
    Taken {
        /// The class.
        from: String,
        /// What it counts as.
        to: String,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    alias: BTreeMap<String, String>,
}

/// Machine classes that count as another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aliases {
    /// What each class counts as.
    by_class: BTreeMap<String, String>,
}

impl Aliases {
    /// Reads the aliases of a store; a missing file has none.
    ///
    /// # Errors
    /// [`AliasError`] if the file cannot be read, is malformed, or leads in a circle.
    pub fn read(store: &Path) -> Result<Self, AliasError> {
        let path = store.join(FILE);
        Self::parse(&path, &read_text(&path)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, AliasError> {
        let malformed = |what: String| AliasError::Malformed { path: path.to_owned(), what };
        let document: Document = toml::from_str(text).map_err(|error| malformed(first_lines(&error.to_string())))?;
        let aliases = Aliases { by_class: document.alias };
        for (from, to) in &aliases.by_class {
            if let Some(name) = [from, to].into_iter().find(|name| !is_machine_class(name)) {
                let name: String = name.chars().take(80).collect();
                return Err(malformed(format!("{name:?} is no machine class")));
            }
            if aliases.follow(from).is_none() {
                return Err(malformed(format!("{from} leads in a circle")));
            }
        }
        Ok(aliases)
    }

    /// What a class counts as in the end; itself without an alias.
    #[must_use]
    pub fn resolve<'a>(&'a self, class: &'a str) -> &'a str {
        // A file with a circle was refused.
        self.follow(class).unwrap_or(class)
    }

    /// The end of the chain that a class begins; `None` if the chain is a circle.
    fn follow<'a>(&'a self, class: &'a str) -> Option<&'a str> {
        let mut found = class;
        // As many steps as there are aliases lead out of every chain that is no circle.
        for _ in 0..=self.by_class.len() {
            match self.by_class.get(found) {
                Some(next) => found = next,
                None => return Some(found),
            }
        }
        None
    }

    /// Lets the class `from` count as `to`, and keeps all other lines of the file. Returns whether that is new.
    ///
    /// # Errors
    /// [`AliasError`]: the file is as before.
    pub fn add(store: &Path, from: &str, to: &str) -> Result<bool, AliasError> {
        if let Some(name) = [from, to].into_iter().find(|name| !is_machine_class(name)) {
            return Err(AliasError::NoClass { name: name.chars().take(80).collect() });
        }
        let path = store.join(FILE);
        // Two commands at once change the file one after the other. Without locks, the last one wins.
        let lock = File::open(store).map_err(|source| AliasError::Unreadable { path: store.to_owned(), source })?;
        let _ = flock(&lock, FlockOperation::LockExclusive);
        let text = read_text(&path)?;
        let aliases = Self::parse(&path, &text)?;
        if let Some(known) = aliases.by_class.get(from) {
            let is_same = known == to;
            let taken = || AliasError::Taken { from: from.to_owned(), to: known.clone() };
            return if is_same { Ok(false) } else { Err(taken()) };
        }
        if from == to || aliases.resolve(to) == from {
            return Err(AliasError::Circle { from: from.to_owned(), to: to.to_owned() });
        }
        let text = insert(if text.is_empty() { NEW_FILE } else { &text }, &format!("{from} = \"{to}\"\n"));
        Self::parse(&path, &text)?;
        write::file(&path, text.as_bytes())?;
        Ok(true)
    }
}

/// Inserts a line behind the head of the table, which is added if it is missing.
fn insert(text: &str, line: &str) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    match lines.iter().position(|line| line.trim() == TABLE) {
        Some(head) => lines.insert(head + 1, line),
        None => lines.extend(["\n", TABLE, "\n", line]),
    }
    lines.concat()
}

fn read_text(path: &Path) -> Result<String, AliasError> {
    let unreadable = |source| AliasError::Unreadable { path: path.to_owned(), source };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(unreadable(error)),
        Ok(found) if !found.is_file() || found.len() > MAX_BYTES => {
            return Err(AliasError::Malformed { path: path.to_owned(), what: "it is no list of aliases".to_owned() });
        }
        Ok(_) => {}
    }
    fs::read_to_string(path).map_err(unreadable)
}

/// The lines of an error of TOML that name the place and the fault.
fn first_lines(error: &str) -> String {
    error.lines().take(6).collect::<Vec<_>>().join(" ").chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "amd-25-17-1-kvm-smt1";
    const B: &str = "amd-25-17-1-kvm-smt2";
    const C: &str = "amd-25-17-1-metal-smt2";

    #[test]
    fn an_alias_leads_to_the_end_of_its_chain_and_is_kept_beside_what_a_user_wrote() {
        let store = tempfile::tempdir().unwrap();
        assert_eq!(Aliases::read(store.path()).unwrap(), Aliases::default());
        assert!(Aliases::add(store.path(), A, B).unwrap());
        assert!(!Aliases::add(store.path(), A, B).unwrap(), "it is there already");
        let path = store.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap() + "# moved to bare metal in May\n";
        fs::write(&path, text).unwrap();
        assert!(Aliases::add(store.path(), B, C).unwrap());
        let aliases = Aliases::read(store.path()).unwrap();
        assert_eq!([A, B, C].map(|class| aliases.resolve(class)), [C, C, C]);
        assert!(fs::read_to_string(&path).unwrap().contains("# moved to bare metal in May\n"));
    }

    #[test]
    fn an_alias_that_contradicts_another_one_is_refused_and_the_file_stays() {
        let store = tempfile::tempdir().unwrap();
        Aliases::add(store.path(), A, B).unwrap();
        let before = fs::read_to_string(store.path().join(FILE)).unwrap();
        assert!(matches!(Aliases::add(store.path(), B, A), Err(AliasError::Circle { .. })));
        assert!(matches!(Aliases::add(store.path(), B, B), Err(AliasError::Circle { .. })));
        assert!(matches!(Aliases::add(store.path(), A, C), Err(AliasError::Taken { .. })));
        assert!(matches!(Aliases::add(store.path(), "../x", C), Err(AliasError::NoClass { .. })));
        assert_eq!(fs::read_to_string(store.path().join(FILE)).unwrap(), before);
    }

    #[test]
    fn a_file_that_is_no_list_of_aliases_is_refused() {
        for text in [
            "x",
            "[alias]\na = 1",
            "[other]\n",
            "[alias]\n\"../x\" = \"y\"",
            "[alias]\na = \"b\"\nb = \"a\"",
            "[alias]\na = \"b\"\nb = \"c\"\nc = \"b\"",
            "[alias]\na = \"a\"",
        ] {
            let store = tempfile::tempdir().unwrap();
            fs::write(store.path().join(FILE), text).unwrap();
            assert!(matches!(Aliases::read(store.path()), Err(AliasError::Malformed { .. })), "{text}");
        }
    }
}
