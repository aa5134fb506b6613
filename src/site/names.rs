//! Paths of pages. A name keeps its path as long as it lives, whatever else the history holds.

use sha2::{Digest as _, Sha256};

/// Most characters of a name that is a file name as it is.
const MAX_PLAIN_CHARS: usize = 80;
/// Prefix of file names that stand for names with special characters.
const HASHED: &str = "x-";

/// A kind of page, in a folder of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    /// An op.
    Op,
    /// A mechanism.
    Mechanism,
    /// A workload.
    Workload,
    /// A commit.
    Commit,
    /// A machine class.
    Machine,
    /// An event.
    Event,
    /// A run.
    Run,
}

impl Folder {
    /// The name of the folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Folder::Op => "op",
            Folder::Mechanism => "mechanism",
            Folder::Workload => "workload",
            Folder::Commit => "commit",
            Folder::Machine => "machine",
            Folder::Event => "event",
            Folder::Run => "run",
        }
    }

    /// The path of a page from the front page.
    #[must_use]
    pub fn page(self, name: &str) -> String {
        format!("{}/{}.html", self.name(), slug(name))
    }
}

/// A file name for a name: the name itself if it is plain, otherwise a hash of it. A name of a history is untrusted.
#[must_use]
pub fn slug(name: &str) -> String {
    let is_plain = (1..=MAX_PLAIN_CHARS).contains(&name.len())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-.".contains(&c))
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && !name.starts_with(HASHED);
    if is_plain { name.to_owned() } else { format!("{HASHED}{}", hash(name, 8)) }
}

/// The first bytes of the SHA-256 of a text, in hexadecimal digits.
#[must_use]
pub fn hash(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes()).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// The identifier of a part of a page for a list of names: `dyn-throughput`.
#[must_use]
pub fn anchor(prefix: &str, names: &[&str]) -> String {
    let joined = names.iter().filter(|name| !name.is_empty()).copied().collect::<Vec<_>>().join("-");
    format!("{prefix}-{}", slug(&joined))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_is_its_own_file_name_and_any_other_name_cannot_leave_the_folder() {
        assert_eq!(slug("pte_val"), "pte_val");
        for hostile in ["", ".", "..", "../up", "a/b", "<b>", "-rf", "x-0011223344556677", "é", &"a".repeat(100)] {
            let made = slug(hostile);
            assert!(made.len() == 18 && made.starts_with("x-"), "{hostile}: {made}");
        }
        assert_ne!(slug("a/b"), slug("a/c"));
        assert_eq!(Folder::Op.page("save_fl"), "op/save_fl.html");
    }
}
