//! The events of a store: its runs are read one after the other, so that memory holds one run at a time.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Detector, collect};
use crate::history::accepted::{AcceptedError, AcceptedEvents};
use crate::history::commits::CommitOrder;
use crate::history::event::{Events, RunName, StreamName};
use crate::history::names::Names;
use crate::history::store::{Entry, Skipped, Store};

/// What was found in a store.
pub struct Found {
    /// The events, marked by who accepted them.
    pub events: Events,
    /// Files that could not be read any more, with the reasons.
    pub skipped: Vec<Skipped>,
    /// Lines of `accepted.toml` whose events were not found.
    pub unknown: Vec<String>,
}

/// The name of a run of a store.
#[must_use]
pub fn run_name(entry: &Entry) -> RunName {
    let stem = entry.path.file_stem().map_or_else(String::new, |it| it.to_string_lossy().into_owned());
    let commit = entry.header.commit.as_ref().map(|it| it.id.clone());
    RunName { stem, commit, started: entry.header.started.clone() }
}

/// The stream of a run of a store.
#[must_use]
pub fn stream_name(entry: &Entry) -> StreamName {
    let header = &entry.header;
    StreamName {
        machine_class: header.machine_class.clone(),
        suite: header.suite.clone(),
        preset: header.preset.clone(),
    }
}

/// Searches the runs of a stream.
pub fn search(store: &Store, entries: &[&Entry], commits: &CommitOrder, skipped: &mut Vec<Skipped>) -> Detector {
    let mut names = Names::default();
    let mut detector = Detector::default();
    let facts: Vec<_> = entries.iter().map(|it| (run_name(it), &it.header)).collect();
    for at in super::order(&facts, commits) {
        match store.read(entries[at], &mut names) {
            Ok(run) => detector.append(facts[at].0.clone(), &run),
            Err(error) => {
                skipped.push(Skipped { path: PathBuf::from(&entries[at].path), reason: error.to_string() });
            }
        }
    }
    detector
}

/// Finds the events among some runs of a store.
///
/// # Errors
/// [`AcceptedError`] if `accepted.toml` cannot be read.
pub fn find(store: &Store, entries: &[Entry], commits: &CommitOrder) -> Result<Found, AcceptedError> {
    let accepted = AcceptedEvents::read(store.folder())?;
    let mut streams: BTreeMap<StreamName, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        streams.entry(stream_name(entry)).or_default().push(entry);
    }
    let (mut searched, mut events, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for (name, entries) in streams {
        let detector = search(store, &entries, commits, &mut skipped);
        searched.push(detector.stream(&name));
        events.extend(detector.events(&name, commits));
    }
    let mut events = collect(searched, events);
    let unknown = accepted.mark(&mut events);
    Ok(Found { events, skipped, unknown })
}
