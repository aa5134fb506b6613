//! Counts of kernels as tables and as JSON.

use std::io::Write;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};

use crate::cli::error::CliError;
use crate::cli::output::stdout;
use crate::report::linux::{Linux, LinuxCount, LinuxPrediction};

/// Number of hooks that a line names.
const MAX_HOOKS_SHOWN: usize = 6;
/// Smallest number of calls per unit that is shown: a smaller one would be rounded to 0.0.
const MIN_CALLS_SHOWN: f64 = 0.05;

/// Formats the content of `linux.json`.
pub fn json(linux: &Linux) -> Result<Vec<u8>, CliError> {
    let mut text = serde_json::to_vec_pretty(linux)?;
    text.push(b'\n');
    Ok(text)
}

/// Prints the content of `linux.json`.
pub(crate) fn print_json(linux: &Linux) -> Result<(), CliError> {
    Ok(stdout().write_all(&json(linux)?)?)
}

/// Prints instructions per unit of the first kernel, and the other kernels in percent above it.
pub fn print(linux: &Linux, predictions: &[LinuxPrediction]) -> Result<(), CliError> {
    let mut out = stdout();
    for kernel in &linux.kernels {
        let release = kernel.release.as_deref().map(|it| it.split(' ').take(3).collect::<Vec<_>>().join(" "));
        let sites = kernel.sites.map_or_else(|| "no pv_ops".to_owned(), |sites| format!("{sites} sites"));
        let append = if kernel.append.is_empty() { String::new() } else { format!(", {}", kernel.append) };
        writeln!(out, "{}: {}, {sites}{append}", kernel.name, release.as_deref().unwrap_or("unnamed"))?;
        if let Some(layout) = &kernel.layout {
            writeln!(out, "  pv_ops: {layout}")?;
        }
        if let Some(reason) = &kernel.uncounted {
            writeln!(out, "  calls and rounds not counted: {reason}")?;
        }
    }
    let Some(first) = linux.kernels.first() else { return Ok(()) };
    writeln!(
        out,
        "\ninstructions per unit of {}; other kernels in percent above it; {} phases",
        first.name, linux.phases
    )?;
    writeln!(
        out,
        "{}",
        make_table(
            linux,
            |count| count.percent.map(|percent| {
                let spread = (percent.high - percent.low) / 2.0;
                if spread < 0.005 {
                    format!("{:+.2}", percent.estimate)
                } else {
                    format!("{:+.2} ±{spread:.2}", percent.estimate)
                }
            }),
            |count| Some(count.per_unit.estimate)
        )
    )?;
    if linux.workloads.iter().any(|workload| workload.counts.iter().any(|count| count.as_one.is_some())) {
        writeln!(out, "\nthe same, with each rep instruction counted once")?;
        let percent = |count: &LinuxCount| count.percent_as_one.map(|percent| format!("{percent:+.2}"));
        writeln!(out, "{}", make_table(linux, percent, |count| count.as_one))?;
    }
    if linux.workloads.iter().any(|workload| !workload.calls.is_empty()) {
        writeln!(out, "\ncalls of hooks per unit")?;
    }
    for workload in linux.workloads.iter().filter(|workload| !workload.calls.is_empty()) {
        let mut calls: Vec<_> = workload.calls.iter().filter(|(_, calls)| **calls >= MIN_CALLS_SHOWN).collect();
        calls.sort_by(|a, b| b.1.total_cmp(a.1));
        let most: Vec<String> =
            calls.iter().take(MAX_HOOKS_SHOWN).map(|(op, calls)| format!("{op} {calls:.1}")).collect();
        writeln!(out, "  {}: {:.1}: {}", workload.name, workload.calls.values().sum::<f64>(), most.join(", "))?;
    }
    if !predictions.is_empty() {
        writeln!(out, "\ncost of these calls in cycles per unit above inline, by the cells of the report")?;
    }
    for it in predictions {
        let state = it.state.as_ref().map_or_else(String::new, |state| format!(" ({state})"));
        let from: Vec<String> =
            it.from.iter().take(3).map(|share| format!("{} {:.1}", share.op, share.cycles)).collect();
        let unknown =
            if it.unknown.is_empty() { String::new() } else { format!("; no cells of {}", it.unknown.join(", ")) };
        writeln!(
            out,
            "  {} {}{state}: {:.1}, from {}{unknown}",
            it.workload,
            it.mechanism,
            it.cycles,
            from.join(", ")
        )?;
    }
    Ok(())
}

fn make_table(
    linux: &Linux,
    percent: impl Fn(&LinuxCount) -> Option<String>,
    value: impl Fn(&LinuxCount) -> Option<f64>,
) -> Table {
    let mut table = Table::new();
    let names = linux.kernels.iter().map(|kernel| kernel.name.as_str());
    table.load_style(presets::NOTHING).set_header(["workload", "unit"].into_iter().chain(names));
    for workload in &linux.workloads {
        let cell = |(index, kernel): (usize, &crate::report::linux::LinuxKernel)| {
            let count = workload.counts.iter().find(|count| count.kernel == kernel.name);
            let shown = match index {
                0 => count.and_then(&value).map(|value| format!("{value:.1}")),
                _ => count.and_then(&percent),
            };
            shown.unwrap_or_else(|| "-".to_owned())
        };
        let cells = linux.kernels.iter().enumerate().map(cell);
        table.add_row([workload.name.clone(), workload.unit.clone()].into_iter().chain(cells));
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Prints the paths of the written files.
pub(crate) fn print_paths(folder: &Path, report: bool) -> Result<(), CliError> {
    let mut out = stdout();
    writeln!(out, "\n{}", folder.join("linux.json").display())?;
    if report {
        writeln!(out, "{}", folder.join("index.html").display())?;
    } else {
        writeln!(
            out,
            "there is no report to add the counts to; for page and cycles use `pvbench run`, then this command again"
        )?;
    }
    Ok(())
}
