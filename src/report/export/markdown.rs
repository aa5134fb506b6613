//! Export to tables in Markdown: mechanisms by regime, workloads by kernel.

use crate::regime::Regime;
use crate::report::Report;
use crate::report::over_ops::{MEDIAN_OVER_OPS, OverOps};
use crate::report::plots::grid::Grid;
use crate::report::subject::{self, kernels};

/// The exported document.
#[must_use]
pub fn export(report: &Report) -> String {
    let cpu = report.machine.cpu_model.as_deref().map_or_else(|| "unknown CPU".to_owned(), subject::plain);
    let mut text = format!("## pvbench\n\n{}, {}", escaped(&cpu), escaped(&subject::plain(&report.run.started)));
    text.push_str(if report.run.complete { ".\n" } else { ": **incomplete**.\n" });
    write_cells(report, &mut text);
    write_workloads(report, &mut text);
    text
}

/// Writes median and range over the ops, with a row per mechanism and a column per regime.
fn write_cells(report: &Report, text: &mut String) {
    let regimes: Vec<Regime> =
        Regime::ALL.into_iter().filter(|regime| report.cells.iter().any(|cell| cell.regime == *regime)).collect();
    if regimes.is_empty() {
        return;
    }
    text.push_str(&format!(
        "\nOverhead over inline in core cycles per op: {MEDIAN_OVER_OPS} (range); \\~ means not resolved.\n\n\
         | mechanism |"
    ));
    regimes.iter().for_each(|regime| text.push_str(&format!(" {} |", regime.name())));
    text.push_str(&format!("\n|---|{}\n", "---:|".repeat(regimes.len())));
    let grid = Grid::new(report);
    for column in &grid.columns {
        let shown = regimes.iter().map(|regime| match OverOps::of(grid.cells_of(column, *regime)) {
            Some(over) => {
                let [low, _, middle, _, high] = over.five;
                let open = if over.median_is_resolved() { "" } else { "\\~" };
                format!("{open}{middle:.2} ({low:.2} .. {high:.2})")
            }
            None => "-".to_owned(),
        });
        let name = subject::mechanism(column.mechanism, column.state);
        text.push_str(&format!("| {} | {} |\n", escaped(&name), shown.collect::<Vec<_>>().join(" | ")));
    }
    let unmeasured = report.cells.iter().filter(|cell| cell.overhead.is_none()).count();
    if unmeasured > 0 {
        let all = report.cells.len();
        text.push_str(&format!("\n{unmeasured} of {all} cells were not measured; `--format csv` lists the reasons.\n"));
    }
}

/// Writes the overhead of each workload and kernel with its interval.
fn write_workloads(report: &Report, text: &mut String) {
    if report.workloads.is_empty() {
        return;
    }
    text.push_str("\n| workload | overhead over inline, % | interval | floor, % |\n|---|---:|---:|---:|\n");
    for (workload, kernel) in kernels(report) {
        let name = escaped(&subject::of_kernel(workload, kernel));
        match &kernel.overhead_percent {
            Some(o) => text.push_str(&format!(
                "| {name} | {}{:.2} | {:.2} .. {:.2} | {:.2} |\n",
                if kernel.resolved { "" } else { "\\~" },
                o.estimate,
                o.low,
                o.high,
                kernel.floor_percent.unwrap_or(workload.floor_percent)
            )),
            None => {
                let absent = escaped(&subject::plain(kernel.absent.as_deref().unwrap_or_default()));
                text.push_str(&format!("| {name} | - | {absent} | |\n"));
            }
        }
    }
}

/// A text on one line, with all Markdown and HTML escaped.
#[must_use]
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '\\' | '*' | '_' | '`' | '[' | ']' | '#' | '~' => escaped.extend(['\\', c]),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
