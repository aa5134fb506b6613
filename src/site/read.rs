//! From the folders of histories to a model: two passes, so that no more than one run is whole in memory.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use super::gather::Gatherer;
use super::model::{Model, Skipped};
use crate::history::accepted::{AcceptedError, AcceptedEvents};
use crate::history::commits::CommitOrder;
use crate::history::event::{RunName, StreamName};
use crate::history::events::stored::{run_name, stream_name};
use crate::history::events::{self, Detector, collect};
use crate::history::kept::Header;
use crate::history::names::Names;
use crate::history::store::{Entry, Store, StoreError};

/// Runs that are read ahead of the search. A run has three megabytes in memory.
const MAX_READ_AHEAD: usize = 3;

/// A history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The lines of those who accepted events cannot be read.
    #[error(transparent)]
    Accepted(#[from] AcceptedError),
    /// The document of the events cannot be written.
    #[error("events.json was not written: {0}")]
    Json(#[from] serde_json::Error),
}

/// Reads histories as one. A run that is in several of them counts once. Damaged, foreign and newer files are left out
/// and listed in the model.
///
/// # Errors
/// If a folder holds no history, or a file of it that must be read cannot be.
pub fn read(folders: &[PathBuf], order: impl FnOnce(&[&Header]) -> CommitOrder) -> Result<Model, ReadError> {
    let (mut entries, mut skipped) = (Vec::new(), Vec::new());
    let mut known = HashSet::new();
    for folder in folders {
        let store = Store::new(folder);
        let listing = store.list()?;
        skipped.extend(listing.skipped.into_iter().map(|it| skip(folder, &it.path, it.reason)));
        let new = listing.entries.into_iter().filter(|entry| known.insert(entry.digest));
        entries.extend(new.map(|entry| (store.clone(), entry)));
    }
    let mut broken = Vec::new();
    let headers: Vec<&Header> = entries.iter().map(|(_, entry)| &entry.header).collect();
    let commits = order(&headers);
    let mut streams: BTreeMap<StreamName, Vec<&(Store, Entry)>> = BTreeMap::new();
    for it in &entries {
        streams.entry(stream_name(&it.1)).or_default().push(it);
    }
    let (mut searched, mut found) = (Vec::new(), Vec::new());
    let (mut gatherer, mut names) = (Gatherer::default(), Names::default());
    for (name, runs) in streams {
        let facts: Vec<(RunName, &Header)> = runs.iter().map(|it| (run_name(&it.1), &it.1.header)).collect();
        let order = events::order(&facts, &commits);
        let mut detector = Detector::default();
        // One thread reads ahead while the other searches: the search takes longer.
        thread::scope(|scope| {
            let (send, receive) = mpsc::sync_channel(MAX_READ_AHEAD);
            let (runs, names) = (&runs, &mut names);
            scope.spawn(move || {
                for at in order {
                    let (store, entry) = runs[at];
                    if send.send((at, entry, store.read(entry, names))).is_err() {
                        return;
                    }
                }
            });
            for (at, entry, run) in receive {
                match run {
                    Ok(run) => {
                        gatherer.add(&facts[at].0.stem, &run);
                        detector.append(facts[at].0.clone(), &run);
                    }
                    // The header is whole and the cells are not.
                    Err(error) => broken.push((entry, error.to_string())),
                }
            }
        });
        searched.push(detector.stream(&name));
        found.extend(detector.events(&name, &commits));
    }
    for (entry, reason) in broken {
        let folder = folders.iter().find(|folder| entry.path.starts_with(folder));
        skipped.push(skip(folder.map_or(Path::new(""), PathBuf::as_path), &entry.path, reason));
    }
    let mut events = collect(searched, found);
    for folder in folders {
        AcceptedEvents::read(folder)?.mark(&mut events);
    }
    skipped.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(gatherer.finish(&commits, &events, skipped)?)
}

fn skip(folder: &Path, path: &Path, reason: String) -> Skipped {
    // The folder of a history may be a temporary one: its name says nothing to a reader of the site.
    let file = path.strip_prefix(folder).unwrap_or(path).display().to_string();
    let reason = reason.replace(&format!("{}/", folder.display()), "");
    Skipped { file, reason }
}
