//! A suite called as cargo and its test runners call a bench target, and compared with another build. The suites are
//! the programs of the examples.

mod sandbox;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Returns the program of an example, which cargo builds with the tests.
fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    this.parent().and_then(Path::parent).unwrap().join("examples").join(name)
}

/// Runs the suite `uart_hal` (ops `read` and `write`, workload `send_line`) in a folder, with arguments.
fn uart(folder: &Path, args: &[&str]) -> Output {
    Command::new(program("uart_hal")).args(args).current_dir(folder).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn said(output: &Output) -> String {
    stdout(output) + &String::from_utf8_lossy(&output.stderr)
}

/// Runs `uart_hal`, asserts exit code 0, and returns its output.
fn fine(folder: &Path, args: &[&str]) -> String {
    let output = uart(folder, args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", said(&output));
    stdout(&output)
}

/// Options that make a run of an example short enough for a test.
const SHORT: [&str; 6] = ["--workers", "2", "--layouts", "1", "--seed", "7"];

#[test]
fn the_list_has_the_format_of_nextest_and_no_ignored_benchmarks() {
    let folder = tempfile::tempdir().unwrap();
    let names = "read: benchmark\nwrite: benchmark\nsend_line: benchmark\n";
    assert_eq!(fine(folder.path(), &["--list", "--format", "terse"]), names);
    assert_eq!(fine(folder.path(), &["--list", "--format", "terse", "--bench"]), names);
    assert_eq!(fine(folder.path(), &["--list", "--format", "terse", "--ignored"]), "");
    assert_eq!(fine(folder.path(), &["--list", "--format=terse", "send"]), "send_line: benchmark\n");
    assert_eq!(fine(folder.path(), &["--list"]), format!("{names}\n0 tests, 3 benchmarks\n"));
}

#[test]
fn cargo_test_runs_each_benchmark_once_and_writes_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let all = "Testing read\nSuccess\nTesting write\nSuccess\nTesting send_line\nSuccess\n3 of uart_hal tried";
    for args in [
        &[][..],
        &["--test"],
        &["--test", "--bench"],
        &["--nocapture", "--test-threads", "1", "--quiet"],
        &["--test-threads=2", "--show-output", "--include-ignored", "--color", "never"],
        &["-Z", "unstable-options", "--report-time", "--format", "json", "--logfile", "log"],
    ] {
        assert!(fine(folder.path(), args).starts_with(all), "{args:?}");
    }
    let one = fine(folder.path(), &["write", "--exact", "--nocapture"]);
    assert!(one.starts_with("Testing write\nSuccess\n1 of uart_hal tried"), "{one}");
    assert!(!fine(folder.path(), &["--skip", "r"]).contains("Testing read"));
    for nothing in [&["nothing_like_it"][..], &["--ignored"], &["rea", "--exact"]] {
        assert!(fine(folder.path(), nothing).starts_with("0 of uart_hal tried"), "{nothing:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_failing_benchmark_fails_the_test_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program("uart_hal"));
    command.args(["write", "--exact"]).current_dir(folder.path());
    // A worker calls prctl first, its parent never does.
    sandbox::refuse(&mut command, &[sandbox::Refused(libc::SYS_prctl, None)]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("Testing write\nFailed\n"), "{}", said(&output));
    assert!(said(&output).contains("write: the worker ended with exit code 4"), "{}", said(&output));
}

#[test]
fn cargo_bench_writes_a_report_of_the_matching_benchmarks_to_the_folder_of_the_suite() {
    let folder = tempfile::tempdir().unwrap();
    let measured = |args: &[&str]| {
        fine(folder.path(), &[args, &SHORT, &["--bench"]].concat());
        let path = folder.path().join("reports/uart_hal/latest/report.json");
        let report = pvbench::report::read::report(&path).unwrap();
        let ops: Vec<String> = report.catalogue.ops.iter().map(|op| op.name.clone()).collect();
        (ops, report.workloads.iter().map(|workload| workload.name.clone()).collect::<Vec<_>>())
    };
    let quick = ["--mechanism", "table", "--regime", "throughput"];
    let both = measured(&[&["r"][..], &quick].concat());
    assert_eq!(both, (vec!["read".to_owned(), "write".to_owned()], vec![]));
    // Options of other targets have no effect.
    let args = [&["write", "--exact", "--save-baseline", "x", "--noplot", "--sample-size", "10"][..], &quick].concat();
    assert_eq!(measured(&args).0, ["write"]);
    assert_eq!(measured(&["send", "--mechanism", "table"]), (vec![], vec!["send_line".to_owned()]));
    let output = uart(folder.path(), &["nothing_like_it", "--bench"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), String::new()));
    assert!(said(&output).contains("so nothing is measured"), "{}", said(&output));
}

#[test]
fn cargo_bench_accepts_subcommands() {
    let folder = tempfile::tempdir().unwrap();
    assert!(fine(folder.path(), &["list", "ops", "--bench"]).contains("write"));
    assert!(fine(folder.path(), &["--help", "--bench"]).contains("Usage: uart_hal <COMMAND>"));
    assert_eq!(uart(folder.path(), &["gate", "--bench"]).status.code(), Some(2), "there is nothing to judge");
    let output = uart(folder.path(), &["--op", "read"]);
    assert_eq!(output.status.code(), Some(2), "options of run without run, and without cargo bench");
}

#[test]
fn messages_of_a_suite_name_its_own_commands() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("report.json"), "{").unwrap();
    let output = uart(folder.path(), &["report", "report.json"]);
    assert!(said(&output).contains("measure again with `uart_hal run`"), "{}", said(&output));
    let help = fine(folder.path(), &["run", "--help"]);
    assert!(help.contains("reports/uart_hal/latest") && help.contains("uart_hal run --quick"), "{help}");
}

#[test]
fn each_suite_of_a_package_has_its_own_folder_and_plots_of_older_reports_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let run = |suite: &str, args: &[&str]| {
        let mut command = Command::new(program(suite));
        let output = command.arg("run").args(args).args(SHORT).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{suite}: {}", said(&output));
    };
    let plots = |suite: &str| {
        let plots = folder.path().join("reports").join(suite).join("latest/plots");
        let entries = std::fs::read_dir(plots).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    run("uart_hal", &["--op", "write", "--mechanism", "table", "--regime", "throughput,pressure"]);
    run("allocator_hooks", &["--workload", "churn", "--mechanism", "table"]);
    assert!(plots("uart_hal").iter().any(|name| name == "regime-pressure.svg"), "{:?}", plots("uart_hal"));
    assert!(plots("allocator_hooks").iter().all(|name| !name.starts_with("regime")), "{:?}", plots("allocator_hooks"));
    std::fs::write(folder.path().join("reports/uart_hal/latest/plots/mine.svg"), "a user's own").unwrap();
    run("uart_hal", &["--op", "write", "--mechanism", "table", "--regime", "throughput"]);
    let left = plots("uart_hal");
    assert!(!left.iter().any(|name| name == "regime-pressure.svg"), "{left:?}");
    assert!(left.iter().any(|name| name == "mine.svg") && left.iter().any(|name| name == "ladder.svg"), "{left:?}");
}

#[test]
fn two_builds_of_a_suite_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let before = folder.path().join("before");
    std::fs::copy(program("uart_hal"), &before).unwrap();
    let args = ["ab", "--op", "write", "--mechanism", "table", "--regime", "throughput", "--all", "--baseline"];
    let output = uart(folder.path(), &[&args[..], &[before.to_str().unwrap()], &SHORT].concat());
    // With two workers the interval is wide, so nothing regressed.
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("write/native/table/throughput"), "{}", said(&output));
}

#[test]
fn a_baseline_that_is_not_a_build_of_the_suite_ends_with_2_and_names_the_suite() {
    let folder = tempfile::tempdir().unwrap();
    let ab = |baseline: &Path| {
        let output = uart(folder.path(), &["ab", "--quick", "--baseline", baseline.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        said(&output)
    };
    assert!(
        ab(&program("allocator_hooks"))
            .contains("is a build of suite allocator_hooks, but this program is a build of uart_hal")
    );
    assert!(ab(Path::new(env!("CARGO_BIN_EXE_pvbench"))).contains("is a build of suite pvbench"));
    assert!(ab(Path::new("/bin/true")).contains("is not a build of uart_hal: its --version names no suite"));
    assert!(ab(Path::new("/no/such/program")).contains("cannot run /no/such/program"));
    // A program that never ends is killed with its children.
    let endless = folder.path().join("endless");
    std::fs::write(&endless, "#!/bin/sh\nsleep 3600 & echo $! > \"$0.pid\"\nwait\n").unwrap();
    std::fs::set_permissions(&endless, std::fs::Permissions::from_mode(0o755)).unwrap();
    let began = Instant::now();
    assert!(ab(&endless).contains("did not end within 5 s"));
    assert!(began.elapsed() < Duration::from_secs(600), "it was waited for");
    let pid = std::fs::read_to_string(folder.path().join("endless.pid")).unwrap();
    // It was killed; how soon it is gone is the kernel's business.
    let is_gone = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
        status.is_empty() || status.contains("State:\tZ") || status.contains("State:\tX")
    };
    while !is_gone() {
        assert!(began.elapsed() < Duration::from_secs(600), "what it started was not ended");
        std::thread::yield_now();
    }
}
