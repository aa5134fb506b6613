//! `accepted.toml`: events that somebody explained or accepted, with who and why.
//!
//! ```toml
//! [[accepted]]
//! event = "ev-0123456789ab"
//! who = "Ada"
//! why = "the table is checked now: 2 cycles for safety"
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::event::{Accepted, Events, State};
use crate::report::write::{self, WriteError};

/// Name of the file, beside `runs/`.
pub const FILE: &str = "accepted.toml";
/// Maximum size of the file in bytes: some thousand lines.
const MAX_BYTES: u64 = 1 << 20;
/// Maximum number of characters of a name or a reason.
const MAX_CHARS: usize = 500;

/// `accepted.toml` cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AcceptedError {
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
    /// The text is empty or too long.
    #[error("--{option} needs 1 to {MAX_CHARS} characters")]
    Text {
        /// The option.
        option: &'static str,
    },
    /// The event has a line already.
    #[error("{event} is accepted by {who} already; change that line of {FILE} by hand")]
    Taken {
        /// The event.
        event: String,
        /// Who accepted it.
        who: String,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    accepted: Vec<Line>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    event: String,
    who: String,
    why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    when: Option<String>,
    /// Whether the cause is known, and not only the change accepted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    explained: bool,
}

/// The events that somebody explained or accepted.
#[derive(Clone, Debug, Default)]
pub struct AcceptedEvents {
    by_event: BTreeMap<String, (State, Accepted)>,
}

impl AcceptedEvents {
    /// Reads the file of a store; a missing one has none.
    ///
    /// # Errors
    /// [`AcceptedError`] if the file cannot be read or is malformed.
    pub fn read(store: &Path) -> Result<Self, AcceptedError> {
        let path = store.join(FILE);
        Self::parse(&path, &read_text(&path)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, AcceptedError> {
        let malformed = |what: String| AcceptedError::Malformed { path: path.to_owned(), what };
        let document: Document = toml::from_str(text).map_err(|error| malformed(error.message().to_owned()))?;
        let mut by_event = BTreeMap::new();
        for line in document.accepted {
            let state = if line.explained { State::Explained } else { State::Accepted };
            let accepted =
                Accepted { who: clip(&line.who), why: clip(&line.why), when: line.when.as_deref().map(clip) };
            by_event.insert(line.event, (state, accepted));
        }
        Ok(AcceptedEvents { by_event })
    }

    /// Marks the events that have a line. Events that are gone stay so. Returns the lines whose events are not there.
    pub fn mark(&self, events: &mut Events) -> Vec<String> {
        for event in &mut events.events {
            if let Some((state, accepted)) = self.by_event.get(&event.id)
                && event.state != State::Gone
            {
                event.state = *state;
                event.accepted = Some(accepted.clone());
            }
        }
        let is_there = |id: &&String| events.events.iter().any(|event| event.id == **id);
        self.by_event.keys().filter(|id| !is_there(id)).cloned().collect()
    }
}

/// Adds a line for an event, and keeps all other lines of the file as they are.
///
/// # Errors
/// [`AcceptedError`]: the file is as before.
pub fn accept(store: &Path, event: &str, accepted: &Accepted, explained: bool) -> Result<(), AcceptedError> {
    for (option, text) in [("who", &accepted.who), ("why", &accepted.why)] {
        if text.trim().is_empty() || text.chars().count() > MAX_CHARS {
            return Err(AcceptedError::Text { option });
        }
    }
    let path = store.join(FILE);
    // Two commands at once change the file one after the other.
    let lock = File::open(store).map_err(|source| AcceptedError::Unreadable { path: store.to_owned(), source })?;
    let _ = flock(&lock, FlockOperation::LockExclusive);
    let mut text = read_text(&path)?;
    if let Some((_, known)) = AcceptedEvents::parse(&path, &text)?.by_event.get(event) {
        return Err(AcceptedError::Taken { event: event.to_owned(), who: known.who.clone() });
    }
    // A text in JSON is one in TOML, too: control characters are escaped in both.
    let quoted = |text: &str| serde_json::Value::from(clip(text)).to_string();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text += &format!(
        "[[accepted]]\nevent = {}\nwho = {}\nwhy = {}\n",
        quoted(event),
        quoted(&accepted.who),
        quoted(&accepted.why)
    );
    if let Some(when) = &accepted.when {
        text += &format!("when = {}\n", quoted(when));
    }
    if explained {
        text += "explained = true\n";
    }
    write::file(&path, text.as_bytes())?;
    Ok(())
}

fn clip(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).take(MAX_CHARS).collect()
}

fn read_text(path: &Path) -> Result<String, AcceptedError> {
    let unreadable = |source: io::Error| AcceptedError::Unreadable { path: path.to_owned(), source };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(unreadable(error)),
        Ok(found) if !found.is_file() || found.len() > MAX_BYTES => {
            let what = "it is no plain file of at most 1 MB".to_owned();
            return Err(AcceptedError::Malformed { path: path.to_owned(), what });
        }
        Ok(_) => {}
    }
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text)).map_err(unreadable)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(who: &str, why: &str) -> Accepted {
        Accepted { who: who.to_owned(), why: why.to_owned(), when: None }
    }

    #[test]
    fn an_accepted_event_is_read_back_and_other_lines_stay() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "# our changes\n").unwrap();
        accept(folder.path(), "ev-1", &by("Ada", "checks \"bounds\"\u{7}"), false).unwrap();
        accept(folder.path(), "ev-2", &by("Bob", "moved"), true).unwrap();
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(text.starts_with("# our changes\n"), "{text}");
        let read = AcceptedEvents::read(folder.path()).unwrap();
        assert_eq!(read.by_event["ev-1"].0, State::Accepted);
        assert_eq!(read.by_event["ev-1"].1.why, "checks \"bounds\"");
        assert_eq!(read.by_event["ev-2"].0, State::Explained);
        let again = accept(folder.path(), "ev-1", &by("Eve", "me, too"), false);
        assert!(matches!(again, Err(AcceptedError::Taken { .. })));
        assert!(matches!(accept(folder.path(), "ev-3", &by("", "x"), false), Err(AcceptedError::Text { .. })));
    }

    #[test]
    fn a_malformed_file_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["[[accepted]]\nevent = 1\n", "accepted = 3", "\u{0}", "[[accepted]]\nevent = \"a\"\n"] {
            fs::write(folder.path().join(FILE), text).unwrap();
            let read = AcceptedEvents::read(folder.path());
            assert!(matches!(read, Err(AcceptedError::Malformed { .. })), "{text:?}");
            assert!(accept(folder.path(), "ev-1", &by("Ada", "why"), false).is_err());
            assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), text);
        }
    }
}
