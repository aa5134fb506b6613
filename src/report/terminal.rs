//! The summary that a run prints at its end: the ladder of mechanisms per regime, the workloads, the floors and the
//! failures.

use comfy_table::{CellAlignment, Table, presets};

use super::floors::{PLACEMENT_RANGE, WORKLOAD_FLOOR};
use super::html::kernel_name;
use super::over_ops::{MEDIAN_OVER_OPS, OverOps};
use super::plots::grid::Grid;
use super::schema::{Report, Unavailable, WorkloadResult};
use super::subject;
use super::verdict::unresolved;
use crate::host::Check;
use crate::regime::Regime;

/// The summary as plain text, with lines of up to about 100 columns.
#[must_use]
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |content: String| {
        text.push_str(&content);
        text.push('\n');
    };
    if !report.run.complete {
        line("INCOMPLETE: part of the plan was not measured".to_owned());
    }
    if report.tool.build == "debug" {
        line("DEBUG BUILD: all times include debug assertions and overflow checks".to_owned());
    }
    if let Some(Check { detail, advice, .. }) = report.unoptimised() {
        line(format!("UNOPTIMISED: {detail}; {}", advice.as_deref().unwrap_or_default()));
    }
    // These come above the tables, because `inline` is not a valid baseline for the ops in question.
    let (bad_baselines, absent): (Vec<&Unavailable>, Vec<&Unavailable>) =
        report.absent.iter().partition(|absence| absence.is_of_baseline());
    for absence in bad_baselines {
        line(format!("WARNING: no {}: {}", absence.what, absence.reason));
    }
    let grid = Grid::new(report);
    for regime in Regime::ALL {
        if report.cells.iter().all(|cell| cell.regime != regime) {
            continue;
        }
        line(format!("\n{}: {}", regime.name(), regime.summary()));
        line(format!("overhead over inline, core cycles per op: {MEDIAN_OVER_OPS}; ~ means not resolved"));
        line(ladder_table(&grid, regime).to_string());
        for (limit, cells) in unresolved(report, regime) {
            line(format!("not resolved: {cells} by {}: {}", limit.word(), limit.meaning()));
        }
    }
    if !report.workloads.is_empty() {
        line("\nworkloads: time above the same kernel with inline, in percent; ~ means not resolved".to_owned());
        line(workload_table(report).to_string());
        line(WORKLOAD_FLOOR.to_owned());
        line(PLACEMENT_RANGE.to_owned());
    }
    if let Some(floor) = &report.floor {
        line("\nfloor: inline compared with its own copy, in cycles per cycle of the op (at least one)".to_owned());
        for floor in &report.floors {
            line(format!("  {}: {:.5}, from {} comparisons", floor.regime.name(), floor.cycles, floor.comparisons));
        }
        if report.floors.is_empty() {
            line(format!("  {:.5}, from {} comparisons", floor.cycles, floor.comparisons));
        }
    }
    if let Some(calibration) = &report.calibration {
        line(format!(
            "core: {:.2} GHz ({} clock); shared with another thread in {:.0}% of the rounds",
            calibration.core_ghz.median,
            calibration.clock,
            calibration.contended_share * 100.0
        ));
        if let Some(reason) = &calibration.clock_reason {
            line(format!("clock: {reason}"));
        }
    }
    line(format!("seed: {}", report.run.seed));
    for absence in absent {
        line(format!("no {}: {}", absence.what, absence.reason));
    }
    for failure in &report.failures {
        let comparison = failure.comparison.as_deref().unwrap_or("between comparisons");
        line(format!("failed: worker {} at {comparison}: {}", failure.worker, failure.message));
    }
    text
}

/// Kernels by workloads.
fn workload_table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut kernels: Vec<String> = Vec::new();
    for kernel in report.workloads.iter().flat_map(|workload| &workload.kernels) {
        let name = kernel_name(kernel);
        if !kernels.contains(&name) {
            kernels.push(name);
        }
    }
    table.set_header(std::iter::once("kernel").chain(report.workloads.iter().map(|workload| workload.name.as_str())));
    for name in kernels {
        let of = |workload: &WorkloadResult| {
            let kernel = workload.kernels.iter().find(|kernel| kernel_name(kernel) == name);
            match kernel.and_then(|kernel| Some((kernel, kernel.overhead_percent?))) {
                Some((kernel, o)) => format!("{}{:.2}", if kernel.resolved { "" } else { "~" }, o.estimate),
                None => "-".to_owned(),
            }
        };
        let figures: Vec<String> = report.workloads.iter().map(of).collect();
        table.add_row(std::iter::once(name).chain(figures));
    }
    let shown = |percent: Option<f64>| percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.2}"));
    let mut row = |name: &str, of: &dyn Fn(&WorkloadResult) -> Option<f64>| {
        let figures = report.workloads.iter().map(|workload| shown(of(workload)));
        table.add_row(std::iter::once(name.to_owned()).chain(figures));
    };
    row("floor", &WorkloadResult::floor);
    row("placement range", &WorkloadResult::placement_range);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The mechanisms and states of a regime over the ops, in the order of the page.
fn ladder_table(grid: &Grid, regime: Regime) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["mechanism", "median", "middle half", "range", "resolved", "bimodal"]);
    for column in &grid.columns {
        let Some(over) = OverOps::of(grid.cells_of(column, regime)) else { continue };
        let [low, q1, middle, q3, high] = over.five;
        let bimodal = over.cells.iter().filter(|cell| !cell.modes.is_empty()).count();
        table.add_row([
            subject::mechanism(column.mechanism, column.state),
            format!("{}{middle:.2}", if over.median_is_resolved() { "" } else { "~" }),
            format!("{q1:.2} .. {q3:.2}"),
            format!("{low:.2} .. {high:.2}"),
            format!("{} of {}", over.resolved, over.cells.len()),
            format!("{bimodal}"),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
