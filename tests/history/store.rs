//! Additions: twice, at once, on a full disk, killed; files that are no runs of this build.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::sandbox::{Refused, refuse_with};
use crate::{Case, made, name, read, stderr};

#[test]
fn a_run_is_added_once_under_the_name_of_its_content() {
    let case = Case::new();
    case.report("a/report.json", 1);
    let first = case.done(&["history", "add", "a", "--to", "h", "--commit", "0123456789ABCDEF"]);
    assert!(first.starts_with("added: h/runs/amd-26-2-1-kvm-smt2/20261130T191701Z-0123456789ab-"), "{first}");
    let files = case.files("h");
    let before = fs::read(&files[0]).unwrap();
    let again = case.done(&["history", "add", "a/report.json", "--to", "h", "--commit", "0123456789abcdef"]);
    assert!(again.starts_with("already there: "), "{again}");
    assert_eq!((case.files("h"), fs::read(&files[0]).unwrap()), (files.clone(), before.clone()));
    // Another history gives the same file: copies of it merge without a conflict.
    case.done(&["history", "add", "a", "--to", "other", "--commit", "0123456789abcdef"]);
    let other = case.files("other");
    assert_eq!((name(&other[0]), fs::read(&other[0]).unwrap()), (name(&files[0]), before));
    let run = read(&files[0]);
    assert_eq!(run.cells.len(), made(1).cells.len());
    assert_eq!((run.header.suite.as_str(), run.header.preset.as_str()), ("pvbench", made(1).run.plan.preset.as_str()));
    assert!(run.header.boot_id.is_some() && run.header.machine.boot_id.is_none());
}

#[test]
fn a_run_has_one_commit() {
    let case = Case::new();
    case.report("a/report.json", 1);
    case.done(&["history", "add", "a", "--to", "h", "--commit", "aaaaaaaaaaaa"]);
    let output = case.run(&["history", "add", "a", "--to", "h", "--commit", "bbbbbbbbbbbb"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("of commit aaaaaaaaaaaa"), "{}", stderr(&output));
    assert_eq!(case.files("h").len(), 1);
}

#[test]
fn a_suite_of_ones_own_and_texts_with_markup_are_kept_as_they_are() {
    let case = Case::new();
    let mut report = made(1);
    report.tool.suite = Some("uart".to_owned());
    report.machine.cpu_model = Some("<script>alert(1)</script>\u{1b}[31m".to_owned());
    report.workloads[0].name = "<b>load</b>".to_owned();
    case.write_report("a/report.json", &report);
    case.report("b/report.json", 1);
    case.done(&["history", "add", "a", "b", "--to", "h"]);
    assert_eq!(case.files("h").len(), 2, "suites of one second stand beside each other");
    let table = case.done(&["history", "list", "--from", "h"]);
    assert!(table.contains("uart") && table.contains("pvbench") && !table.contains('\u{1b}'), "{table}");
    let json: serde_json::Value =
        serde_json::from_str(&case.done(&["history", "list", "--from", "h", "--json"])).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 2);
    let models: Vec<&str> =
        json.as_array().unwrap().iter().filter_map(|it| it["machine"]["cpu_model"].as_str()).collect();
    assert!(models.contains(&"<script>alert(1)</script>\u{1b}[31m"), "{models:?}");
    assert!(case.files("h").iter().any(|file| &*read(file).workloads[0].name == "<b>load</b>"));
}

#[test]
fn one_bad_report_does_not_keep_the_others_from_being_added() {
    let case = Case::new();
    case.report("good/report.json", 1);
    case.report("late/report.json", 2);
    fs::create_dir(case.path("bad")).unwrap();
    fs::write(case.path("bad/report.json"), r#"{"schema":"pvbench.report/1","tool":{"name":"p","version":"0"}}"#)
        .unwrap();
    let output = case.run(&["history", "add", "good", "bad", "late", "--to", "h"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("pvbench.report/1"), "{}", stderr(&output));
    assert_eq!(case.files("h").len(), 2);
    let mut no_time = made(3);
    no_time.run.started = "yesterday".to_owned();
    case.write_report("bad/report.json", &no_time);
    let output = case.run(&["history", "add", "bad", "--to", "h"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("run.started is no time"), "{}", stderr(&output));
}

#[test]
fn files_that_are_no_runs_are_named_and_left_out_and_asked_for_by_name_they_end_with_2() {
    let case = Case::new();
    (1..=3).for_each(|second| case.report(&format!("{second}/report.json"), second));
    case.done(&["history", "add", "1", "2", "3", "--to", "h"]);
    let files = case.files("h");
    let class = files[0].parent().unwrap();
    let good = fs::read(&files[0]).unwrap();
    let mut newer = good.clone();
    newer[16] = 9;
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let others = [
        ("newer.pvr", newer, "version 9"),
        ("damaged.pvr", damaged, "damaged"),
        ("cut.pvr", good[..good.len() / 2].to_vec(), "damaged"),
        ("empty.pvr", Vec::new(), "not a run file"),
        ("copy.pvr", good.clone(), "the same run"),
        ("notes.txt", b"notes".to_vec(), "not a run file"),
    ];
    for (name, bytes, _) in &others {
        fs::write(class.join(name), bytes).unwrap();
    }
    fs::write(class.join(".hidden"), "x").unwrap();
    let before: Vec<Vec<u8>> = others.iter().map(|(name, ..)| fs::read(class.join(name)).unwrap()).collect();
    let output = case.run(&["history", "list", "--from", "h"]);
    assert_eq!(output.status.code(), Some(0));
    let warnings = stderr(&output);
    for (name, _, reason) in &others {
        let line = warnings.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {warnings}"));
        assert!(line.contains("is left out") && line.contains(reason), "{line}");
    }
    assert!(!warnings.contains("hidden"), "{warnings}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("\n3 runs"), "the copy does not count twice");
    for name in ["newer.pvr", "damaged.pvr", "cut.pvr", "empty.pvr"] {
        let output = case.run(&["history", "list", class.join(name).to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(stderr(&output).contains(name), "{}", stderr(&output));
    }
    let after: Vec<Vec<u8>> = others.iter().map(|(name, ..)| fs::read(class.join(name)).unwrap()).collect();
    assert!(before == after, "nothing is rewritten");
    let output = case.run(&["history", "list", "--from", "nowhere"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no history is here"), "{}", stderr(&output));
}

#[test]
fn commands_at_once_lose_no_run_and_make_none_twice() {
    let case = Case::new();
    (0..6).for_each(|second| case.report(&format!("{second}/report.json"), second));
    let all = ["0", "1", "2", "3", "4", "5"];
    let mut running = Vec::new();
    for shift in 0..4 {
        let mut reports = all;
        reports.rotate_left(shift);
        let arguments = [&["history", "add", "--to", "h"], &reports[..]].concat();
        running.push(case.pvbench(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    }
    let mut added = 0;
    for command in running {
        let output = command.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        added += String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with("added")).count();
    }
    assert_eq!((case.files("h").len(), added), (6, 6));
    assert!(case.done(&["history", "list", "--from", "h"]).contains("\n6 runs"));
}

#[test]
fn a_full_disk_leaves_the_history_as_it_was() {
    let case = Case::new();
    (1..=2).for_each(|second| case.report(&format!("{second}/report.json"), second));
    case.done(&["history", "add", "1", "--to", "h"]);
    let before = case.files("h");
    let adding = case.pvbench(&["history", "add", "2", "--to", "h"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 1; exec \"$@\"", "sh"]).arg(adding.get_program()).args(adding.get_args());
    limited.current_dir(case.folder.path());
    // The signal of the limit is ignored, as a disk sends none.
    // SAFETY: `signal` is a plain system call, which is allowed between fork and exec.
    unsafe {
        limited.pre_exec(|| {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            Ok(())
        })
    };
    let output = limited.output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert_eq!(case.files("h"), before);
    for call in [libc::SYS_fsync, libc::SYS_fdatasync] {
        let mut full = case.pvbench(&["history", "add", "2", "--to", "h"]);
        refuse_with(&mut full, &[Refused(call, None)], libc::ENOSPC);
        let output = full.output().unwrap();
        if output.status.code() == Some(0) {
            continue;
        }
        assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
        assert!(case.files("h").len() <= 2);
    }
    case.done(&["history", "add", "2", "--to", "h"]);
    assert!(case.done(&["history", "list", "--from", "h"]).contains("\n2 runs"));
}

#[test]
fn a_killed_command_leaves_no_run_or_the_whole_run() {
    let case = Case::new();
    case.report("a/report.json", 1);
    let began = Instant::now();
    case.done(&["history", "add", "a", "--to", "warm"]);
    let usual = began.elapsed();
    let mut outcomes = BTreeSet::new();
    for step in 0..24 {
        let history = format!("h{step}");
        let mut command = case.pvbench(&["history", "add", "a", "--to", &history]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The time of the kill is what the test is about.
        std::thread::sleep(usual * step / 20 + Duration::from_micros(500));
        child.kill().unwrap();
        child.wait().unwrap();
        let files = case.files(&history);
        assert!(files.len() <= 1);
        files.iter().for_each(|file| assert!(!read(file).cells.is_empty()));
        outcomes.insert(files.len());
        // The next command finds nothing in its way.
        case.done(&["history", "add", "a", "--to", &history]);
        assert_eq!(case.files(&history).len(), 1);
        let output = case.run(&["history", "list", "--from", &history]);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "temporary files are no runs");
    }
    assert!(outcomes.contains(&0), "some commands were killed before the end");
}

#[test]
fn machine_classes_that_are_one_have_one_name() {
    let case = Case::new();
    case.report("a/report.json", 1);
    let mut other = made(2);
    other.machine.threads_per_core = Some(1);
    case.write_report("b/report.json", &other);
    case.done(&["history", "add", "a", "b", "--to", "h"]);
    let classes = |case: &Case| {
        let json: serde_json::Value =
            serde_json::from_str(&case.done(&["history", "list", "--from", "h", "--json"])).unwrap();
        let class = |run: &serde_json::Value| run["machine_class"].as_str().unwrap().to_owned();
        json.as_array().unwrap().iter().map(class).collect::<Vec<_>>()
    };
    assert_eq!(classes(&case), ["amd-26-2-1-kvm-smt1", "amd-26-2-1-kvm-smt2"]);
    let alias = ["history", "machine", "alias", "amd-26-2-1-kvm-smt1", "amd-26-2-1-kvm-smt2", "--to", "h"];
    assert!(case.done(&alias).starts_with("added to h/machines.toml"));
    assert!(case.done(&alias).starts_with("already in h/machines.toml"));
    assert_eq!(classes(&case), ["amd-26-2-1-kvm-smt2"; 2]);
    let back = ["history", "machine", "alias", "amd-26-2-1-kvm-smt2", "amd-26-2-1-kvm-smt1", "--to", "h"];
    assert_eq!(case.run(&back).status.code(), Some(2));
    assert!(case.done(&["history", "list", "--from", "h", "--machine", "*smt2"]).contains("\n2 runs"));
    assert_eq!(case.run(&["history", "list", "--from", "h", "--machine", "*smt1"]).status.code(), Some(2));
    fs::write(case.path("h/machines.toml"), "[alias]\na = \"b\"\nb = \"a\"\n").unwrap();
    let output = case.run(&["history", "list", "--from", "h"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("circle"), "{}", stderr(&output));
}
