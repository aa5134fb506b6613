//! The time of the gate for a finished report of 10,000 cells, from the start of the process to its end. The target is
//! below 200 ms, so that it can run at every commit.

#[path = "../tests/support/mod.rs"]
mod support;

use std::cell::LazyCell;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use pvbench::host::{Machine, Root};
use pvbench::report::schema::LayoutEstimate;
use pvbench::report::write;

/// Rules of all kinds; the last one matches all other cells.
const BUDGETS: &str = r#"
[[budget]]
op = "pte_*,set_*"
mechanism = "table,dyn"
overhead = "90 cycles"
level = "soft"

[[budget]]
mechanism = "flag,enum,direct"
regime = "throughput"
overhead = "60 cycles"
change = "90 cycles"

[[budget]]
mechanism = "*"
overhead = "2000 %"
"#;

/// Cells of the report, about as many as a default run has.
const CELLS: usize = 10_000;

/// Writes a synthetic report with the number of cells and layouts of a default run.
fn write_report(path: &Path) {
    let mut report = support::synthetic_with(9, 6);
    report.machine = Machine::read(&Root::default());
    report.tool.version = env!("CARGO_PKG_VERSION").to_owned();
    report.cells.truncate(CELLS);
    assert_eq!(report.cells.len(), CELLS, "the synthetic report has fewer cells than a default run");
    for cell in &mut report.cells {
        let Some(first) = cell.layouts.first().copied() else { continue };
        cell.layouts = (0..8).map(|at| LayoutEstimate { offset: at * 16, ..first }).collect();
    }
    let document = write::json(&report).expect("a valid report");
    std::fs::write(path, document).expect("a temporary file");
}

fn gate(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (report, budgets) = (folder.path().join("report.json"), folder.path().join("budgets.toml"));
    // Written for the first benchmark that runs: `--list` and other filters need no report.
    let inputs = LazyCell::new(|| {
        write_report(&report);
        std::fs::write(&budgets, BUDGETS).expect("a temporary file");
    });
    let run = |baseline: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvbench"));
        command.arg("gate").arg(&report).arg("--budget").arg(&budgets).stdout(Stdio::null());
        if baseline {
            command.arg("--baseline").arg(&report);
        }
        let status = command.status().expect("the program pvbench");
        assert!(matches!(status.code(), Some(0 | 1 | 3)), "{status}");
    };
    for (name, baseline) in [("", false), (", with a baseline", true)] {
        criterion.bench_function(&format!("gate/{CELLS} cells{name}"), |bencher| {
            LazyCell::force(&inputs);
            bencher.iter(|| run(baseline));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1));
    targets = gate
}
criterion_main!(benches);
