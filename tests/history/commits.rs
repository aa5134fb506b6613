//! Commits of runs, by clones that git made.

use std::fs;
use std::path::Path;

use pvbench::history::commit::Clone;
use pvbench::history::commits::CommitOrder;
use pvbench::history::kept::Header;

use crate::{Case, made, read, stderr};

fn headers(case: &Case, history: &str) -> Vec<Header> {
    case.files(history).iter().map(|file| read(file).header).collect()
}

#[test]
fn the_commit_that_is_checked_out_is_kept_with_what_orders_it() {
    let case = Case::new();
    let ids = case.commits("project", &[1_764_500_000, 1_764_500_100]);
    case.report("a/report.json", 1);
    case.report("b/report.json", 2);
    case.done(&["history", "add", "a", "--to", "h", "--repo", "project"]);
    fs::write(case.path("project/file"), "changed").unwrap();
    case.done(&["history", "add", "b", "--to", "h", "--repo", "project"]);
    let headers = headers(&case, "h");
    let commit = headers[0].commit.clone().unwrap();
    assert_eq!((&commit.id, commit.first_parent.as_ref()), (&ids[1], Some(&ids[0])));
    assert_eq!((commit.seconds, commit.position), (Some(1_764_500_100), Some(2)));
    assert_eq!((commit.subject.as_deref(), commit.dirty), (Some("Change 1"), Some(false)));
    assert_eq!(headers[1].commit.as_ref().unwrap().dirty, Some(true));
    let table = case.done(&["history", "list", "--from", "h"]);
    assert!(table.contains(&format!("{}*", &ids[1][..12])) && table.contains("Change 1"), "{table}");
}

#[test]
fn a_commit_by_name_is_that_of_the_clone_and_one_that_it_lacks_is_kept_by_its_id() {
    let case = Case::new();
    let ids = case.commits("project", &[1_764_500_000, 1_764_500_100]);
    case.git("project", &["tag", "v1", &ids[0]]);
    (1..=4).for_each(|second| case.report(&format!("{second}/report.json"), second));
    let add = |report: &str, commit: &str| {
        case.run(&["history", "add", report, "--to", "h", "--repo", "project", "--commit", commit])
    };
    assert_eq!(add("1", "v1").status.code(), Some(0));
    assert_eq!(headers(&case, "h")[0].commit.as_ref().unwrap().id, ids[0]);
    let output = add("2", "0123456789abcdef0123456789abcdef01234567");
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("is not in project"), "{}", stderr(&output));
    let unknown = &headers(&case, "h")[1].commit.clone().unwrap();
    assert_eq!((unknown.seconds, unknown.position, unknown.subject.as_ref()), (None, None, None));
    for bad in ["no-such-tag", "0123", "--all", "-1"] {
        let commit = format!("--commit={bad}");
        let output = case.run(&["history", "add", "3", "--to", "h", "--repo", "project", &commit]);
        assert_eq!(output.status.code(), Some(2), "{bad}: {}", stderr(&output));
    }
    let output = case.run(&["history", "add", "3", "--to", "h", "--repo", "nowhere"]);
    assert_eq!(output.status.code(), Some(2));
    let output = case.run(&["history", "add", "4", "--to", "h"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("kept without one"), "{}", stderr(&output));
    assert!(case.files("h").iter().any(|file| crate::name(file).contains("Z-none-")));
}

#[test]
fn the_first_parent_line_orders_commits_with_unmeasured_ones_and_clocks_that_went_back() {
    let case = Case::new();
    let mut ids = case.commits("project", &[100, 300, 200, 400]);
    // A branch that was merged: its commit is not on the line.
    case.git("project", &["checkout", "-q", "-b", "side", &ids[1]]);
    case.git_at("project", 250, &["commit", "-q", "--allow-empty", "-m", "Aside"]);
    let aside = case.git("project", &["rev-parse", "HEAD"]);
    case.git("project", &["checkout", "-q", "main"]);
    case.git_at("project", 500, &["merge", "-q", "--no-ff", "-m", "Merge", "side"]);
    ids.push(case.git("project", &["rev-parse", "HEAD"]));
    for (second, commit) in [&ids[4], &ids[0], &ids[2], &aside].into_iter().enumerate() {
        case.report("r/report.json", second as u32);
        case.done(&["history", "add", "r", "--to", "h", "--repo", "project", "--commit", commit]);
    }
    let headers = headers(&case, "h");
    let clone = Clone::open(&case.path("project")).unwrap();
    let order = CommitOrder::from_clone(&clone, "main", &headers).unwrap();
    let on_line: Vec<&str> =
        order.commits().iter().filter(|it| it.is_on_line).map(|it| it.commit.id.as_str()).collect();
    assert_eq!(on_line, ids.iter().map(String::as_str).collect::<Vec<_>>());
    let measured = order.commits().iter().filter(|it| it.is_on_line && it.is_measured).count();
    assert_eq!(measured, 3);
    assert_eq!(order.count_between(&ids[0], &ids[4]), Some(4), "three commits of the range were not measured");
    assert!(order.notes.iter().any(|note| note.contains("not on the first-parent line")), "{:?}", order.notes);
    assert!(order.notes.iter().any(|note| note.contains("the clock went back")), "{:?}", order.notes);
    // Without a clone the headers tell the same.
    let alone = CommitOrder::from_headers(&headers);
    let rank = |id: &String| alone.rank(id).unwrap();
    assert!(rank(&ids[0]) < rank(&ids[2]) && rank(&ids[2]) < rank(&ids[4]));
    assert_eq!(alone.count_between(&ids[0], &ids[4]), Some(4));
}

#[test]
fn a_shallow_clone_gives_no_places_and_takes_those_of_runs_from_a_whole_one() {
    let case = Case::new();
    let ids = case.commits("project", &[100, 200, 300, 400]);
    let from = format!("file://{}", case.path("project").display());
    case.git(".", &["clone", "-q", "--depth", "2", &from, "shallow"]);
    case.report("1/report.json", 1);
    case.report("2/report.json", 2);
    let output = case.run(&["history", "add", "1", "--to", "h", "--repo", "shallow"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("shallow"), "{}", stderr(&output));
    let one = headers(&case, "h");
    assert_eq!(one[0].commit.as_ref().map(|it| (it.id.clone(), it.position)), Some((ids[3].clone(), None)));
    let clone = Clone::open(&case.path("shallow")).unwrap();
    assert!(clone.is_shallow());
    let order = CommitOrder::from_clone(&clone, "HEAD", &one).unwrap();
    assert_eq!(order.commits().len(), 2);
    assert!(order.notes[0].contains("the clone is shallow"), "{:?}", order.notes);
    case.done(&["history", "add", "2", "--to", "h", "--repo", "project", "--commit", &ids[1]]);
    case.report("3/report.json", 3);
    case.done(&["history", "add", "3", "--to", "h", "--repo", "project", "--commit", &ids[2]]);
    let order = CommitOrder::from_clone(&clone, "HEAD", &headers(&case, "h")).unwrap();
    assert_eq!(order.count_between(&ids[1], &ids[3]), Some(2), "{order:?}");
}

#[test]
fn folders_of_reports_are_imported_with_the_commits_that_they_are_named_after() {
    let case = Case::new();
    let ids = case.commits("project", &[100, 200]);
    case.report(&format!("old/{}/report.json", &ids[0][..10]), 1);
    case.report(&format!("old/2026-11-30-{}/deep/run.json", &ids[1]), 2);
    case.report("old/other/report.json", 3);
    fs::write(case.path("old/other.json"), "{}").unwrap();
    let first = r#"{"schema": "pvbench.report/1", "tool": {"name": "pvbench", "version": "0.0.9"}}"#;
    fs::write(case.path("old/first.json"), first).unwrap();
    let output = case.run(&["history", "import", "old", "--to", "h", "--repo", "project"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("first.json is left out") && said.contains("pvbench.report/1"), "{said}");
    assert!(!said.contains("other.json"), "{said}");
    let output = String::from_utf8(output.stdout).unwrap();
    assert!(output.ends_with("3 runs added, 0 already there, 1 reports left out\n"), "{output}");
    let commits: Vec<Option<String>> =
        headers(&case, "h").into_iter().map(|header| header.commit.map(|commit| commit.id)).collect();
    assert_eq!(commits, [Some(ids[0].clone()), Some(ids[1].clone()), None]);
    assert!(
        case.done(&["history", "import", "old", "--to", "h", "--repo", "project"]).contains("0 runs added, 3 already")
    );
    fs::create_dir(case.path("empty")).unwrap();
    assert_eq!(case.run(&["history", "import", "empty", "--to", "h"]).status.code(), Some(2));
    assert_eq!(case.run(&["history", "import", "nowhere", "--to", "h"]).status.code(), Some(2));
}

#[test]
fn a_report_of_an_older_build_is_kept_without_the_facts_that_it_lacks() {
    let case = Case::new();
    let mut old = made(1);
    (old.tool.suite, old.tool.rustc, old.machine.boot_id) = (None, None, None);
    old.machine.threads_per_core = None;
    case.write_report("a/report.json", &old);
    case.done(&["history", "add", "a", "--to", "h"]);
    let header = headers(&case, "h").remove(0);
    assert_eq!((header.suite.as_str(), &header.tool.rustc, &header.boot_id), ("pvbench", &None, &None));
    assert!(Path::new(&header.machine_class).file_name().is_some_and(|it| it == header.machine_class.as_str()));
}
