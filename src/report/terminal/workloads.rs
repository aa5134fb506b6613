//! Workloads on kernels with each mechanism and option.

use super::width::{Columns, Lines, Overflow};
use super::{fixed, mark, reason};
use crate::report::Report;
use crate::report::floors::{PLACEMENT_RANGE, WORKLOAD_FLOOR};
use crate::report::html::kernel_name;
use crate::report::plots::grid::finite;
use crate::report::schema::{WorkloadKernel, WorkloadResult};
use crate::report::subject::plain;

/// Adds a table of kernels by workloads; of one workload also a line per kernel.
pub(super) fn add(report: &Report, lines: &mut Lines) {
    if report.workloads.is_empty() {
        return;
    }
    lines.skip();
    lines.say("workloads: time above the same kernel with inline, in percent; ~ means not resolved");
    match &report.workloads[..] {
        [only] => add_kernels(only, lines),
        all => add_matrix(all, lines),
    }
    lines.say(WORKLOAD_FLOOR);
    lines.say(PLACEMENT_RANGE);
    for workload in &report.workloads {
        for kernel in &workload.kernels {
            if let Some(absent) = &kernel.absent {
                let (name, kernel) = (plain(&workload.name), kernel_name(kernel));
                lines.say(&format!("not measured: {name} with {kernel}: {}", reason(absent)));
            }
        }
    }
}

/// Kernels by workloads.
fn add_matrix(workloads: &[WorkloadResult], lines: &mut Lines) {
    let mut kernels: Vec<String> = Vec::new();
    for kernel in workloads.iter().flat_map(|workload| &workload.kernels) {
        let name = kernel_name(kernel);
        if !kernels.contains(&name) {
            kernels.push(name);
        }
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    for name in kernels {
        let of = |workload: &WorkloadResult| {
            let kernel = workload.kernels.iter().find(|kernel| kernel_name(kernel) == name);
            kernel.map_or_else(|| "-".to_owned(), shown)
        };
        rows.push(std::iter::once(name.clone()).chain(workloads.iter().map(of)).collect());
    }
    let mut add_row = |name: &str, of: &dyn Fn(&WorkloadResult) -> Option<f64>| {
        let figures = workloads.iter().map(|workload| of(workload).map_or_else(|| "-".to_owned(), fixed));
        rows.push(std::iter::once(name.to_owned()).chain(figures).collect());
    };
    add_row("floor", &WorkloadResult::floor);
    add_row("placement range", &WorkloadResult::placement_range);
    let names: Vec<String> = workloads.iter().map(|workload| plain(&workload.name)).collect();
    let header: Vec<&str> = std::iter::once("kernel").chain(names.iter().map(String::as_str)).collect();
    let numbers = workloads.len();
    lines.tabulate(&Columns { header: &header, rows: &rows, names: 1, numbers, overflow: Overflow::Split });
}

/// The kernels of one workload, each with its interval.
fn add_kernels(workload: &WorkloadResult, lines: &mut Lines) {
    lines.say(&format!("{}: {}", plain(&workload.name), reason(&workload.summary)));
    let row = |kernel: &WorkloadKernel| {
        let percent = kernel.overhead_percent.and_then(finite);
        let instructions = kernel.instructions.map(|counted| fixed(counted.extra_percent));
        vec![
            kernel_name(kernel),
            shown(kernel),
            percent.map_or_else(|| "-".to_owned(), |it| format!("{} .. {}", fixed(it.low), fixed(it.high))),
            kernel.floor_percent.map_or_else(|| "-".to_owned(), fixed),
            instructions.unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let rows: Vec<Vec<String>> = workload.kernels.iter().map(row).collect();
    let header = ["kernel", "percent", "interval", "floor", "instructions, percent"];
    lines.tabulate(&Columns { header: &header, rows: &rows, names: 1, numbers: 4, overflow: Overflow::Stack });
    let percent = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{}%", fixed(value)));
    let [floor, range] = [workload.floor(), workload.placement_range()].map(percent);
    lines.say(&format!("floor {floor}, placement range {range}, {} kernel placements", workload.placements));
}

/// The overhead of a kernel in percent.
fn shown(kernel: &WorkloadKernel) -> String {
    let percent = kernel.overhead_percent.and_then(finite);
    percent.map_or_else(|| "-".to_owned(), |it| format!("{}{}", mark(kernel.resolved), fixed(it.estimate)))
}
