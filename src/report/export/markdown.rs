//! Tables in Markdown: mechanisms by regime, workloads by kernel.

use crate::regime::Regime;
use crate::report::Report;
use crate::report::schema::Cell;
use crate::report::subject::{self, kernels};
use crate::stats::location::quantile;

/// The document.
#[must_use]
pub fn export(report: &Report) -> String {
    let cpu = report.machine.cpu_model.as_deref().map_or_else(|| "unknown CPU".to_owned(), subject::plain);
    let mut text = format!("## pvbench\n\n{}, {}", escaped(&cpu), escaped(&subject::plain(&report.run.started)));
    text.push_str(if report.run.complete { ".\n" } else { ": **incomplete**.\n" });
    cells(report, &mut text);
    workloads(report, &mut text);
    text
}

/// Per mechanism the median and the range over the ops, a column per regime.
fn cells(report: &Report, text: &mut String) {
    let regimes: Vec<Regime> =
        Regime::ALL.into_iter().filter(|regime| report.cells.iter().any(|cell| cell.regime == *regime)).collect();
    if regimes.is_empty() {
        return;
    }
    text.push_str("\nOverhead over inline in core cycles per op: median (range) over the ops.\n\n| mechanism |");
    regimes.iter().for_each(|regime| text.push_str(&format!(" {} |", regime.name())));
    text.push_str(&format!("\n|---|{}\n", "---:|".repeat(regimes.len())));
    let mut names: Vec<String> = Vec::new();
    for cell in &report.cells {
        let name = name(cell);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for wanted in names {
        let columns = regimes.iter().map(|regime| {
            let of = report.cells.iter().filter(|cell| cell.regime == *regime && name(cell) == wanted);
            let values: Vec<f64> = of.filter_map(|cell| Some(cell.overhead.as_ref()?.cycles.estimate)).collect();
            match [0.5, 0.0, 1.0].map(|q| quantile(&values, q)) {
                [Some(middle), Some(low), Some(high)] => format!("{middle:.2} ({low:.2} .. {high:.2})"),
                _ => "-".to_owned(),
            }
        });
        text.push_str(&format!("| {} | {} |\n", escaped(&wanted), columns.collect::<Vec<_>>().join(" | ")));
    }
    let unmeasured = report.cells.iter().filter(|cell| cell.overhead.is_none()).count();
    if unmeasured > 0 {
        let all = report.cells.len();
        text.push_str(&format!("\n{unmeasured} of {all} cells were not measured; `--format csv` has the reasons.\n"));
    }
}

fn name(cell: &Cell) -> String {
    subject::mechanism(&cell.mechanism, cell.state.as_deref())
}

/// Per workload and kernel the overhead with its interval.
fn workloads(report: &Report, text: &mut String) {
    if report.workloads.is_empty() {
        return;
    }
    text.push_str("\n| workload | overhead over inline, % | interval | floor, % |\n|---|---:|---:|---:|\n");
    for (workload, kernel) in kernels(report) {
        let name = escaped(&subject::of_kernel(workload, kernel));
        match &kernel.overhead_percent {
            Some(o) => text.push_str(&format!(
                "| {name} | {:.2} | {:.2} .. {:.2} | {:.2} |\n",
                o.estimate, o.low, o.high, workload.floor_percent
            )),
            None => {
                let absent = escaped(&subject::plain(kernel.absent.as_deref().unwrap_or_default()));
                text.push_str(&format!("| {name} | - | {absent} | |\n"));
            }
        }
    }
}

/// Text in which nothing is markup, on one line.
#[must_use]
pub fn escaped(text: &str) -> String {
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
