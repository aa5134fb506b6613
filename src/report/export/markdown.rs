//! Export to tables in Markdown: mechanisms by regime, mechanisms by class of instruction, workloads by kernel.

use crate::op::InstructionMix;
use crate::regime::Regime;
use crate::report::Report;
use crate::report::over_ops::{MEDIAN_OVER_OPS, OverOps, unresolved_text};
use crate::report::plots::grid::Grid;
use crate::report::subject::{self, kernels};
use crate::stats::location::median;

/// The exported document.
#[must_use]
pub fn export(report: &Report) -> String {
    let cpu = report.machine.cpu_model.as_deref().map_or_else(|| "unknown CPU".to_owned(), subject::plain);
    let mut text = format!("## pvbench\n\n{}, {}", escaped(&cpu), escaped(&subject::plain(&report.run.started)));
    text.push_str(if report.run.complete { ".\n" } else { ": **incomplete**.\n" });
    write_cells(report, &mut text);
    write_mixes(report, &mut text);
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
        "\nOverhead over inline in core cycles per op: {MEDIAN_OVER_OPS} (range); < marks a median \
         that is not resolved: its size is less.\n\n\
         | mechanism |"
    ));
    regimes.iter().for_each(|regime| text.push_str(&format!(" {} |", regime.name())));
    text.push_str(&format!("\n|---|{}\n", "---:|".repeat(regimes.len())));
    let grid = Grid::new(report);
    for column in &grid.columns {
        let shown = regimes.iter().map(|regime| match OverOps::of(grid.cells_of(column, *regime)) {
            Some(over) => {
                let [low, _, middle, _, high] = over.five;
                let median = match over.median_is_resolved() {
                    true => format!("{middle:.2}"),
                    false => unresolved_text(over.median_interval(), over.typical_floor()),
                };
                format!("{median} ({low:.2} .. {high:.2})")
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

/// Writes the median instruction mix over the ops, with a row per mechanism and a column per class that occurs, in the
/// first regime that was counted.
fn write_mixes(report: &Report, text: &mut String) {
    let grid = Grid::new(report);
    let mixes = |regime: Regime| -> Vec<(String, InstructionMix)> {
        let median_of = |column| {
            let counted: Vec<[f64; InstructionMix::CLASSES]> =
                grid.cells_of(column, regime).into_iter().filter_map(|cell| Some(cell.mix?.values())).collect();
            let of_class = |class: usize| median(&counted.iter().map(|mix| mix[class]).collect::<Vec<f64>>());
            let mix = InstructionMix::from_values(std::array::from_fn(|class| of_class(class).unwrap_or(0.0)));
            (!counted.is_empty()).then(|| (subject::mechanism(column.mechanism, column.state), mix))
        };
        grid.columns.iter().filter_map(median_of).collect()
    };
    let Some((regime, mixes)) =
        Regime::ALL.into_iter().map(|regime| (regime, mixes(regime))).find(|(_, mixes)| !mixes.is_empty())
    else {
        return;
    };
    let occurs = |class: &usize| mixes.iter().any(|(_, mix)| mix.values()[*class] != 0.0);
    let classes: Vec<usize> = (0..InstructionMix::CLASSES).filter(occurs).collect();
    text.push_str(&format!(
        "\nInstructions per op in {} by class, median over ops: those of call site, mechanism and body together.\n\n\
         | mechanism |",
        regime.name()
    ));
    classes.iter().for_each(|class| text.push_str(&format!(" {} |", escaped(InstructionMix::NAMES[*class]))));
    text.push_str(&format!("\n|---|{}\n", "---:|".repeat(classes.len())));
    for (name, mix) in &mixes {
        let counts: Vec<String> = classes.iter().map(|class| mix.values()[*class].to_string()).collect();
        text.push_str(&format!("| {} | {} |\n", escaped(name), counts.join(" | ")));
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
