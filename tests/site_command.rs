//! `pvbench site`: from the folder of a history to its pages.

#[path = "support/made_history.rs"]
#[allow(dead_code)]
mod made;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use made::Made;
use pvbench::history::store::Store;

const OPS: usize = 5;

fn store(folder: &Path, runs: usize) -> PathBuf {
    let path = folder.join("history");
    let (store, mut made) = (Store::new(&path), Made::new(runs, OPS));
    for run in 0..runs {
        store.add(&made.run(run)).unwrap();
    }
    path
}

fn site(args: &[&Path], more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pvbench")).arg("site").args(args).args(more).output().unwrap()
}

fn build(history: &Path, out: &Path, more: &[&str]) -> Output {
    site(&[history, Path::new("--out"), out], more)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The stems of the runs of a history, oldest first.
fn stems(history: &Path) -> Vec<String> {
    let classes = fs::read_dir(history.join("runs")).unwrap();
    let files = classes.flat_map(|class| fs::read_dir(class.unwrap().path()).unwrap());
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut stems: Vec<String> = files.map(|file| stem(file.unwrap().path())).collect();
    stems.sort();
    stems
}

#[test]
fn a_site_names_the_planted_changes_and_a_second_build_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (history, out) = (store(folder.path(), 60), folder.path().join("public"));
    let first = build(&history, &out, &["--repository", "https://github.com/owner/name"]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    assert_eq!(text(&first.stderr), "");
    let front = fs::read_to_string(out.join("index.html")).unwrap();
    assert!(front.contains("table in throughput"), "the step of the table is found");
    assert!(front.contains("pte_val"), "and the step of one op");
    assert!(front.contains("https://github.com/owner/name/compare/"));
    for stem in stems(&history) {
        assert!(out.join(format!("run/{stem}.html")).is_file(), "{stem}");
    }
    let again = build(&history, &out, &["--repository", "https://github.com/owner/name"]);
    assert!(text(&again.stdout).contains(" 0 changed, 0 removed"), "{}", text(&again.stdout));
}

#[test]
fn a_damaged_file_is_named_and_the_other_runs_are_complete() {
    let folder = tempfile::tempdir().unwrap();
    let (history, out) = (store(folder.path(), 6), folder.path().join("public"));
    let damaged = history.join("runs").join(made::CLASSES[0].0).join(format!("{}.pvr", stems(&history)[0]));
    let whole = fs::read(&damaged).unwrap();
    fs::write(&damaged, &whole[..whole.len() / 2]).unwrap();
    fs::write(damaged.with_file_name("notes.pvr"), "not a run").unwrap();
    let output = build(&history, &out, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let warned = text(&output.stderr);
    assert!(warned.contains("notes.pvr") && warned.contains(&stems(&history)[0]), "{warned}");
    let front = fs::read_to_string(out.join("index.html")).unwrap();
    assert!(front.contains("2 files were left out") && front.contains("notes.pvr"));
    assert_eq!(fs::read_dir(out.join("run")).unwrap().count(), 5);
}

#[test]
fn several_histories_are_one_and_a_run_of_both_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let (one, other) = (store(&one, 6), store(&other, 8));
    let out = folder.path().join("public");
    let output = site(&[&one, &other, Path::new("--out"), &out], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let names: std::collections::BTreeSet<String> = stems(&one).into_iter().chain(stems(&other)).collect();
    assert_eq!(fs::read_dir(out.join("run")).unwrap().count(), names.len());
}

#[test]
fn an_empty_history_has_a_readable_page_and_a_missing_one_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (history, out) = (folder.path().join("history"), folder.path().join("public"));
    let missing = build(&history, &out, &[]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(!out.join("index.html").exists());
    fs::create_dir_all(history.join("runs")).unwrap();
    let empty = build(&history, &out, &[]);
    assert_eq!(empty.status.code(), Some(0), "{}", text(&empty.stderr));
    assert!(fs::read_to_string(out.join("index.html")).unwrap().contains("There is no run yet"));
}

#[test]
fn reports_within_the_site_are_linked_and_others_are_bad_usage() {
    let folder = tempfile::tempdir().unwrap();
    let (history, out) = (store(folder.path(), 3), folder.path().join("public"));
    let stem = stems(&history).remove(0);
    fs::create_dir_all(out.join("reports").join(&stem)).unwrap();
    fs::write(out.join("reports").join(&stem).join("index.html"), "a report").unwrap();
    let inside = out.join("reports");
    let output = build(&history, &out, &["--reports", inside.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let run = fs::read_to_string(out.join(format!("run/{stem}.html"))).unwrap();
    assert!(run.contains(&format!("../reports/{stem}/index.html")));
    assert_eq!(fs::read_to_string(out.join("reports").join(&stem).join("index.html")).unwrap(), "a report");
    let outside = build(&history, &out, &["--reports", folder.path().to_str().unwrap()]);
    assert_eq!(outside.status.code(), Some(2));
}

#[test]
fn an_address_that_is_none_is_bad_usage() {
    let folder = tempfile::tempdir().unwrap();
    let (history, out) = (store(folder.path(), 2), folder.path().join("public"));
    for (option, value) in [("--repository", "javascript:alert(1)"), ("--url", "\"><script>")] {
        let output = build(&history, &out, &[option, value]);
        assert_eq!(output.status.code(), Some(2), "{option}: {}", text(&output.stderr));
        assert!(!out.join("index.html").exists());
    }
}
