//! The examples run as their pages describe.

use std::path::PathBuf;
use std::process::{Command, Output};

use pvbench::report::Report;

/// Runs the program of an example, which cargo builds with the tests.
fn example(name: &str, args: &[&str]) -> Output {
    let this = std::env::current_exe().unwrap();
    let program: PathBuf = this.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name);
    Command::new(program).args(args).output().unwrap()
}

fn report(name: &str, args: &[&str]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let short = ["--workers", "2", "--layouts", "1", "--seed", "7", "--out", folder.path().to_str().unwrap()];
    let output = example(name, &[&["run"], args, &short].concat());
    assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let report = pvbench::report::read::report(&folder.path().join("report.json")).unwrap();
    assert!(report.failures.is_empty(), "{name}: {:?}", report.failures);
    report
}

#[test]
fn the_tables_of_the_examples_are_measured() {
    for (name, ops) in [("uart_hal", 2), ("allocator_hooks", 3), ("trace_hook", 2)] {
        let report = report(name, &["--op", "*", "--mechanism", "table,dyn", "--regime", "throughput"]);
        assert_eq!(report.catalogue.ops.len(), ops, "{name}");
        let without = report.cells.iter().filter(|cell| cell.overhead.is_none()).count();
        assert_eq!(without, 0, "{name}");
        // No body is a call even inline; the report would list it.
        let called = report.absent.iter().any(|absence| absence.what.contains("in place"));
        assert!(!called, "{name}: {:?}", report.absent);
    }
}

#[test]
fn the_workloads_of_the_examples_have_the_same_result_with_every_mechanism() {
    for (name, workload) in [("uart_hal", "send_line"), ("allocator_hooks", "churn")] {
        let report = report(name, &["--workload", workload, "--mechanism", "table,flag,site"]);
        assert!(report.workloads[0].kernels.iter().all(|kernel| kernel.overhead_percent.is_some()), "{name}");
    }
}

#[test]
fn a_mechanism_of_the_example_is_measured_with_the_built_in_ones() {
    let report = report("trace_hook", &["--op", "event", "--mechanism", "flag,listener", "--regime", "throughput"]);
    let mechanisms: Vec<&str> = report.catalogue.mechanisms.iter().map(|mechanism| mechanism.name.as_str()).collect();
    assert_eq!(mechanisms, ["inline", "flag", "listener"]);
}
