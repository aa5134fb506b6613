//! What a run prints at its end: the ladder of mechanisms per regime, and how far to trust it.

use comfy_table::{CellAlignment, Table, presets};

use super::html::kernel_name;
use super::schema::{Absence, Cell, Report, Workload};
use crate::host::Check;
use crate::regime::Regime;
use crate::stats::location::{median, quantile};

/// The summary as plain text, lines at most about 100 columns wide.
#[must_use]
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |content: String| {
        text.push_str(&content);
        text.push('\n');
    };
    if !report.run.complete {
        line("INCOMPLETE: not everything that was planned was measured".to_owned());
    }
    if report.tool.build == "debug" {
        line("DEBUG BUILD: debug assertions and overflow checks are part of what was measured".to_owned());
    }
    if let Some(Check { detail, advice, .. }) = report.unoptimised() {
        line(format!("UNOPTIMISED: {detail}; {}", advice.as_deref().unwrap_or_default()));
    }
    // Above the tables: what they are held against is no baseline there.
    let (out_of_place, absent): (Vec<&Absence>, Vec<&Absence>) =
        report.absent.iter().partition(|absence| absence.is_of_baseline());
    for absence in out_of_place {
        line(format!("WARNING: no {}: {}", absence.what, absence.reason));
    }
    for regime in Regime::ALL {
        let cells: Vec<&Cell> = report.cells.iter().filter(|cell| cell.regime == regime).collect();
        if cells.is_empty() {
            continue;
        }
        line(format!("\n{}: {}", regime.name(), regime.summary()));
        line("overhead over inline, core cycles per op, over the ops".to_owned());
        line(ladder(report, &cells).to_string());
    }
    if !report.workloads.is_empty() {
        line("\nworkloads: time above the same kernel with inline, in percent; ~ where the same kernel at other places differs as much"
            .to_owned());
        line(workloads(report).to_string());
    }
    if let Some(floor) = &report.floor {
        line(format!(
            "\nfloor: {:.4} cycles per cycle of the op, at least one: 95% of {} comparisons of inline with its own copy lie within",
            floor.cycles, floor.groups
        ));
    }
    if let Some(calibration) = &report.calibration {
        line(format!(
            "core: {:.2} GHz ({} clock); shared with another thread in {:.0}% of the rounds",
            calibration.core_ghz.estimate,
            calibration.clock,
            calibration.disturbed_share * 100.0
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
        let group = failure.group.as_deref().unwrap_or("between groups");
        line(format!("failed: worker {} at {group}: {}", failure.worker, failure.message));
    }
    text
}

fn workloads(report: &Report) -> Table {
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
        let of = |workload: &Workload| {
            let kernel = workload.kernels.iter().find(|kernel| kernel_name(kernel) == name);
            match kernel.and_then(|kernel| Some((kernel, kernel.overhead_percent?))) {
                Some((kernel, o)) => format!("{}{:.2}", if kernel.resolved { "" } else { "~" }, o.estimate),
                None => "-".to_owned(),
            }
        };
        let figures: Vec<String> = report.workloads.iter().map(of).collect();
        table.add_row(std::iter::once(name).chain(figures));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn ladder(report: &Report, cells: &[&Cell]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["mechanism", "median", "middle half", "range", "resolved", "bimodal"]);
    for mechanism in &report.catalogue.mechanisms {
        let own: Vec<&&Cell> = cells.iter().filter(|cell| cell.mechanism == mechanism.name).collect();
        let values: Vec<f64> = own.iter().filter_map(|cell| cell.overhead).map(|o| o.cycles.estimate).collect();
        let at = |q| quantile(&values, q);
        let (Some(middle), Some(low), Some(q1), Some(q3), Some(high)) =
            (median(&values), at(0.0), at(0.25), at(0.75), at(1.0))
        else {
            continue;
        };
        let resolved = own.iter().filter(|cell| cell.resolved).count();
        let bimodal = own.iter().filter(|cell| !cell.modes.is_empty()).count();
        table.add_row([
            mechanism.name.clone(),
            format!("{middle:.2}"),
            format!("{q1:.2} .. {q3:.2}"),
            format!("{low:.2} .. {high:.2}"),
            format!("{resolved} of {}", own.len()),
            format!("{bimodal}"),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
