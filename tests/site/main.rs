//! The site of a history: its files, and its pages in headless Chromium.

#[path = "../chromium/mod.rs"]
mod chromium;

mod access;
mod browser;
mod files;
#[path = "../support/made_history.rs"]
mod made;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pvbench::history::commits::CommitOrder;
use pvbench::site::{Gatherer, Model, Options, Repository, Skipped, Written, build};

/// Number of ops of made histories.
const OPS: usize = 5;

/// The model of a made history.
fn model(runs: usize) -> Model {
    model_with(runs, Vec::new())
}

/// The model of a made history, from which these files were left out.
fn model_with(runs: usize, skipped: Vec<Skipped>) -> Model {
    let mut made = made::Made::new(runs, OPS);
    let mut gatherer = Gatherer::default();
    let mut headers = Vec::new();
    for run in 0..runs {
        let kept = made.run(run);
        gatherer.add(&made::Made::stem(run), &kept);
        headers.push(kept.header);
    }
    let commits = CommitOrder::from_headers(&headers);
    gatherer.finish(&commits, &made.events(), skipped).expect("a model")
}

fn options() -> Options {
    Options {
        title: "a <b>project</b>".to_owned(),
        repository: Some(Repository::new("https://github.com/owner/name").expect("an address")),
        address: None,
        reports: BTreeMap::new(),
    }
}

fn site(model: &Model, folder: &Path) -> Written {
    build(model, &options(), folder).expect("a site")
}

/// All files below a folder with their contents, by their paths.
fn read_all(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(&path).expect("text");
                files.insert(path.strip_prefix(folder).expect("within").to_owned(), text);
            }
        }
    }
    files
}
