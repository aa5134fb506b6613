//! The section on workloads: a table of kernels per workload, and how each figure stands to the cost model.

use std::collections::BTreeMap;

use super::{NOTHING, clipped};
use crate::report::plots::number::fixed;
use crate::report::schema::{Estimate, Report, Workload, WorkloadKernel};

/// The section.
pub(super) struct Workloads {
    pub lines: Vec<Line>,
    pub mechanisms: Matrix,
    pub options: Matrix,
}

/// A workload, as it is described.
pub(super) struct Line {
    pub name: String,
    pub unit: String,
    pub summary: String,
    pub source: String,
    pub inline: String,
    /// The most that kernels from one source differ by, in percent.
    pub floor: String,
    pub calls: String,
    pub most_called: String,
}

/// Kernels against workloads.
pub(super) struct Matrix {
    pub workloads: Vec<String>,
    pub rows: Vec<Row>,
}

/// A kernel on every workload.
pub(super) struct Row {
    pub kernel: String,
    pub about: String,
    pub cells: Vec<Percent>,
}

/// A figure.
pub(super) struct Percent {
    pub shown: String,
    pub interval: String,
    pub predicted: String,
    pub resolved: bool,
}

/// `None` for a report without workloads.
pub(super) fn workloads(report: &Report) -> Option<Workloads> {
    if report.workloads.is_empty() {
        return None;
    }
    let about: BTreeMap<&str, &str> =
        report.catalogue.options.iter().map(|option| (option.name.as_str(), option.summary.as_str())).collect();
    Some(Workloads {
        lines: report.workloads.iter().map(line).collect(),
        mechanisms: matrix(report, |kernel| kernel.option.is_none(), |_| String::new()),
        options: matrix(
            report,
            |kernel| kernel.option.is_some(),
            |name| about.get(name).map_or_else(String::new, |text| clipped(text, 200)),
        ),
    })
}

fn line(workload: &Workload) -> Line {
    let mut called: Vec<(&String, &f64)> = workload.calls.iter().collect();
    called.sort_by(|a, b| b.1.total_cmp(a.1));
    let most = called.iter().take(4).map(|(op, calls)| format!("{} {}", clipped(op, 40), fixed(**calls, 1)));
    let cycles = workload.inline_cycles.map_or_else(|| NOTHING.to_owned(), |cycles| fixed(cycles.estimate, 0));
    let ns = workload.inline_ns.map_or_else(|| NOTHING.to_owned(), |ns| fixed(ns, 1));
    Line {
        name: clipped(&workload.name, 80),
        unit: clipped(&workload.unit, 80),
        summary: clipped(&workload.summary, 200),
        source: clipped(&workload.source, 200),
        inline: format!("{cycles} cycles, {ns} ns"),
        floor: fixed(workload.floor_percent, 2),
        calls: fixed(workload.calls.values().sum(), 1),
        most_called: most.collect::<Vec<_>>().join(", "),
    }
}

/// The name of a kernel in tables.
pub fn kernel_name(kernel: &WorkloadKernel) -> String {
    match (&kernel.mechanism, &kernel.state, &kernel.option) {
        (Some(mechanism), Some(state), _) => format!("{} ({})", clipped(mechanism, 60), clipped(state, 20)),
        (Some(mechanism), None, _) => clipped(mechanism, 60),
        (None, _, Some(option)) => clipped(option, 60),
        (None, ..) => NOTHING.to_owned(),
    }
}

fn matrix(report: &Report, wanted: impl Fn(&WorkloadKernel) -> bool, about: impl Fn(&str) -> String) -> Matrix {
    let mut names: Vec<String> = Vec::new();
    let mut found: BTreeMap<(usize, String), &WorkloadKernel> = BTreeMap::new();
    for (index, workload) in report.workloads.iter().enumerate() {
        for kernel in workload.kernels.iter().filter(|kernel| wanted(kernel)) {
            let name = kernel_name(kernel);
            if !names.contains(&name) {
                names.push(name.clone());
            }
            found.insert((index, name), kernel);
        }
    }
    let row = |name: String| Row {
        cells: (0..report.workloads.len()).map(|index| percent(found.get(&(index, name.clone())).copied())).collect(),
        about: about(&name),
        kernel: name,
    };
    Matrix {
        workloads: report.workloads.iter().map(|workload| clipped(&workload.name, 80)).collect(),
        rows: names.into_iter().map(row).collect(),
    }
}

fn percent(kernel: Option<&WorkloadKernel>) -> Percent {
    let Some((kernel, Estimate { estimate, low, high })) =
        kernel.and_then(|kernel| Some((kernel, kernel.overhead_percent?)))
    else {
        let reason = kernel.and_then(|kernel| kernel.absent.clone()).unwrap_or_default();
        return Percent {
            shown: NOTHING.to_owned(),
            interval: clipped(&reason, 200),
            predicted: String::new(),
            resolved: false,
        };
    };
    Percent {
        shown: fixed(estimate, 2),
        interval: format!("{} to {}", fixed(low, 2), fixed(high, 2)),
        predicted: kernel.predicted_percent.map_or_else(String::new, |percent| fixed(percent, 2)),
        resolved: kernel.resolved,
    }
}
