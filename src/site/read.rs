//! From the folders of histories to a model: two passes, so that no more than one run is whole in memory.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use super::gather::Gatherer;
use super::model::{Model, Skipped};
use crate::history::commits::CommitOrder;
use crate::history::event::{Events, RunName, StreamName};
use crate::history::events::{Detector, collect};
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
    /// The document of the events cannot be written.
    #[error("events.json was not written: {0}")]
    Json(#[from] serde_json::Error),
}

/// Reads histories as one. A run that is in several of them counts once. Damaged, foreign and newer files are left out
/// and listed in the model.
///
/// # Errors
/// If a folder holds no history, or cannot be read.
pub fn read(
    folders: &[PathBuf],
    order: impl FnOnce(&[&Header]) -> CommitOrder,
    accept: impl FnOnce(&mut Events),
) -> Result<Model, ReadError> {
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
        streams.entry(stream_of(&it.1.header)).or_default().push(it);
    }
    let (mut searched, mut found) = (Vec::new(), Vec::new());
    let (mut gatherer, mut names) = (Gatherer::default(), Names::default());
    for (name, mut runs) in streams {
        sort(&mut runs, &commits);
        let mut detector = Detector::default();
        // One thread reads ahead while the other searches: the search takes longer.
        thread::scope(|scope| {
            let (send, receive) = mpsc::sync_channel(MAX_READ_AHEAD);
            let (runs, names) = (&runs, &mut names);
            scope.spawn(move || {
                for (store, entry) in runs {
                    if send.send((entry, store.read(entry, names))).is_err() {
                        return;
                    }
                }
            });
            for (entry, run) in receive {
                match run {
                    Ok(run) => {
                        let stem = stem(&entry.path);
                        gatherer.add(&stem, &run);
                        detector.append(run_name(stem, &entry.header), &run);
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
    accept(&mut events);
    skipped.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(gatherer.finish(&commits, &events, skipped)?)
}

fn skip(folder: &Path, path: &Path, reason: String) -> Skipped {
    // The folder of a history may be a temporary one: its name says nothing to a reader of the site.
    let file = path.strip_prefix(folder).unwrap_or(path).display().to_string();
    let reason = reason.replace(&format!("{}/", folder.display()), "");
    Skipped { file, reason }
}

fn stream_of(header: &Header) -> StreamName {
    StreamName {
        machine_class: header.machine_class.clone(),
        suite: header.suite.clone(),
        preset: header.preset.clone(),
    }
}

/// The name of a run's file without the extension.
fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn run_name(stem: String, header: &Header) -> RunName {
    let commit = header.commit.as_ref().map(|commit| commit.id.clone());
    RunName { stem, commit, started: header.started.clone() }
}

/// Puts the runs of a stream in the order of its axis, as `history::events::order` does.
fn sort(runs: &mut Vec<&(Store, Entry)>, commits: &CommitOrder) {
    runs.sort_by(|a, b| {
        let key = |it: &(Store, Entry)| (it.1.header.started_seconds, stem(&it.1.path));
        key(a).cmp(&key(b))
    });
    let mut rank = 0;
    let mut ranked: Vec<(usize, &(Store, Entry))> = Vec::with_capacity(runs.len());
    for it in runs.iter() {
        rank = it.1.header.commit.as_ref().and_then(|commit| commits.rank(&commit.id)).unwrap_or(rank);
        ranked.push((rank, it));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    *runs = ranked.into_iter().map(|(_, it)| it).collect();
}
