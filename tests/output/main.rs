//! Verdicts survive failures of the output: exit codes, files, standard output.

mod files;
#[path = "../sandbox/mod.rs"]
mod sandbox;
mod show;
mod stdout;
#[path = "../support/mod.rs"]
mod support;
mod temporary;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pvbench::host::{Machine, Root};
use pvbench::regime::Regime;
use pvbench::report::schema::{Cell, Estimate, Instructions, LayoutEstimate, Overhead};
use pvbench::report::{Report, write};

/// Exit codes of the gate, each with a bound that leads to it: `table` is 2.98 to 3.02 cycles above `inline`.
const VERDICTS: [(i32, &str); 3] = [(0, "4 cycles"), (1, "2 cycles"), (3, "3 cycles")];

fn pvbench() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pvbench"))
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{}: {}", output.status, stderr(output)))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn around(estimate: f64, half: f64) -> Estimate {
    let standard_error = half / 2.093_024_1;
    Estimate { estimate, standard_error, degrees_of_freedom: 19.0, low: estimate - half, high: estimate + half }
}

fn measured(cell: &mut Cell, cycles: f64, half: f64) {
    cell.overhead = Some(Overhead {
        cycles: around(cycles, half),
        ns: around(cycles / 4.0, half / 4.0),
        ratio: around(1.0 + cycles, half),
    });
    cell.absent = None;
    cell.instructions = Some(Instructions { per_op: 4.0, extra: 2.0 });
    cell.native_cycles = Some(1.0);
    let layout = |offset| LayoutEstimate { offset, cycles: around(cycles, half), workers: 20 };
    cell.layouts = [0, 29, 64].map(layout).to_vec();
    (cell.layout_range, cell.floor_cycles, cell.modes) = (Some(0.0), Some(0.01), Vec::new());
    cell.noise_cycles = Some(0.01);
}

/// A folder with a report of this machine: every op in throughput, `table` at `cycles` above `inline`.
struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let case = Case { folder: tempfile::tempdir().unwrap() };
        case.report("report.json", 3.0, true);
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn report(&self, name: &str, cycles: f64, complete: bool) -> PathBuf {
        let mut report: Report = support::synthetic();
        let wanted = |cell: &Cell| ["inline", "table"].contains(&cell.mechanism.as_str());
        report.cells.retain(|cell| wanted(cell) && cell.regime == Regime::Throughput);
        for cell in &mut report.cells {
            let (cycles, half) = if cell.mechanism == "table" { (cycles, 0.02) } else { (0.0, 0.001) };
            measured(cell, cycles, half);
        }
        report.machine = Machine::read(&Root::default());
        report.tool.version = env!("CARGO_PKG_VERSION").to_owned();
        report.run.complete = complete;
        let path = self.path(name);
        fs::write(&path, write::json(&report).unwrap()).unwrap();
        path
    }

    /// The gate on the report, with all its output.
    fn gate(&self, bound: &str) -> Command {
        let budgets = self.path("budgets.toml");
        fs::write(&budgets, format!("[[budget]]\nmechanism = \"table\"\noverhead = \"{bound}\"\n")).unwrap();
        let mut command = pvbench();
        command.env_remove("GITHUB_STEP_SUMMARY").arg("gate").arg(self.path("report.json"));
        command.arg("--all").arg("--budget").arg(budgets);
        command
    }
}

/// Reads a whole verdict file and returns its exit code.
fn verdict(path: &Path) -> u64 {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    value["exit_code"].as_u64().unwrap()
}
