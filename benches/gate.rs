//! The time of the gate for a finished report of 10,000 cells, from the start of the process to its end. The target is
//! below 200 ms, so that it can run at every commit.

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};

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

/// Writes a synthetic report with the number of cells and layouts of a default run. Returns the number of cells.
fn write_report(path: &Path) -> usize {
    let mut report = support::synthetic_with(9, 6);
    report.machine = Machine::read(&Root::default());
    report.tool.version = env!("CARGO_PKG_VERSION").to_owned();
    report.cells.truncate(10_000);
    for cell in &mut report.cells {
        let Some(first) = cell.layouts.first().copied() else { continue };
        cell.layouts = (0..8).map(|at| LayoutEstimate { offset: at * 16, ..first }).collect();
    }
    let cells = report.cells.len();
    let document = write::json(&report).expect("a valid report");
    std::fs::write(path, document).expect("a temporary file");
    cells
}

fn gate(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (report, budgets) = (folder.path().join("report.json"), folder.path().join("budgets.toml"));
    let cells = write_report(&report);
    std::fs::write(&budgets, BUDGETS).expect("a temporary file");
    let run = |baseline: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvbench"));
        command.arg("gate").arg(&report).arg("--budget").arg(&budgets).stdout(Stdio::null());
        if baseline {
            command.arg("--baseline").arg(&report);
        }
        let status = command.status().expect("the program pvbench");
        assert!(matches!(status.code(), Some(0 | 1 | 3)), "{status}");
    };
    criterion.bench_function(&format!("gate/{cells} cells"), |bencher| bencher.iter(|| run(false)));
    criterion.bench_function(&format!("gate/{cells} cells, with a baseline"), |bencher| bencher.iter(|| run(true)));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = gate
}
criterion_main!(benches);
