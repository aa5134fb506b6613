//! The section on real kernels.

use super::{NOTHING, clipped};
use crate::report::Report;
use crate::report::linux::{Linux, LinuxCount, LinuxKernel, LinuxPrediction, LinuxWorkload};
use crate::report::plots::number::{exact, fixed, grouped};
use crate::report::prediction_error::PredictionError;

/// Maximum number of hooks that are named in a list.
const MAX_NAMED_HOOKS: usize = 5;
/// Minimum number of calls per unit for a hook to be named. Fewer calls would round to 0.0.
const MIN_CALLS_PER_UNIT: f64 = 0.05;

/// The section.
pub(super) struct Section {
    pub method: String,
    pub kernels: Vec<Kernel>,
    pub first: String,
    pub others: Vec<String>,
    pub rows: Vec<Row>,
    pub calls: Vec<Calls>,
    pub predictions: Vec<Prediction>,
    /// How wrong such predictions are on the workloads of this report; empty if none can be checked.
    pub prediction_error: String,
}

/// Description of a kernel.
pub(super) struct Kernel {
    pub name: String,
    pub release: String,
    pub sites: String,
    pub append: String,
    pub uncounted: String,
}

/// A workload with its counts.
pub(super) struct Row {
    pub workload: String,
    pub summary: String,
    pub unit: String,
    pub first: String,
    pub others: Vec<Percent>,
}

/// Instructions of a kernel above the first kernel, in percent.
pub(super) struct Percent {
    pub shown: String,
    pub spread: String,
    pub as_one: String,
}

/// Calls of hooks per unit of a workload.
pub(super) struct Calls {
    pub workload: String,
    pub all: String,
    pub most: String,
}

/// Predicted cost of the calls in core cycles.
pub(super) struct Prediction {
    pub workload: String,
    pub mechanism: String,
    pub cycles: String,
    pub from: String,
    pub unknown: String,
}

/// The section; `None` for a report without real kernels.
pub(super) fn section(report: &Report) -> Option<Section> {
    let linux = report.linux.as_ref()?;
    let names = linux.kernels.iter().map(|kernel| clipped(&kernel.name, 60));
    Some(Section {
        method: method(linux),
        kernels: linux.kernels.iter().map(kernel).collect(),
        first: linux.kernels.first().map_or_else(|| NOTHING.to_owned(), |kernel| clipped(&kernel.name, 60)),
        others: names.skip(1).collect(),
        rows: linux.workloads.iter().map(|workload| row(linux, workload)).collect(),
        calls: linux.workloads.iter().filter(|workload| !workload.calls.is_empty()).map(calls).collect(),
        predictions: linux.predictions.iter().map(prediction).collect(),
        prediction_error: PredictionError::of(report).map_or_else(String::new, |it| it.sentence()),
    })
}

fn method(linux: &Linux) -> String {
    format!(
        "QEMU {}, CPU model {}, {} boots of each kernel at different phases of the timer tick, {} repetitions of each \
         workload (the first, a quarter as long, is dropped), {}% of the default number of units",
        clipped(&linux.qemu, 40),
        clipped(&linux.cpu, 40),
        linux.phases,
        linux.reps,
        linux.scale_percent
    )
}

fn kernel(kernel: &LinuxKernel) -> Kernel {
    Kernel {
        name: clipped(&kernel.name, 60),
        release: kernel.release.as_deref().map_or_else(|| NOTHING.to_owned(), |release| clipped(release, 90)),
        sites: kernel.sites.map_or_else(|| "none".to_owned(), |sites| grouped(&sites.to_string())),
        append: clipped(&kernel.append, 80),
        uncounted: kernel.uncounted.as_deref().map_or_else(String::new, |reason| clipped(reason, 200)),
    }
}

fn row(linux: &Linux, workload: &LinuxWorkload) -> Row {
    let of = |kernel: &LinuxKernel| workload.counts.iter().find(|count| count.kernel == kernel.name);
    let first = linux.kernels.first().and_then(of);
    Row {
        workload: clipped(&workload.name, 60),
        summary: clipped(&workload.summary, 200),
        unit: clipped(&workload.unit, 40),
        first: first.map_or_else(|| NOTHING.to_owned(), |count| exact(count.per_unit.estimate)),
        others: linux.kernels.iter().skip(1).map(|kernel| percent(of(kernel))).collect(),
    }
}

fn percent(count: Option<&LinuxCount>) -> Percent {
    let found = count.and_then(|count| count.percent);
    Percent {
        shown: found.map_or_else(|| NOTHING.to_owned(), |percent| fixed(percent.estimate, 2)),
        spread: found.map_or_else(String::new, |it| format!("{} to {}", fixed(it.low, 2), fixed(it.high, 2))),
        as_one: count.and_then(|count| count.percent_as_one).map_or_else(String::new, |percent| fixed(percent, 2)),
    }
}

fn calls(workload: &LinuxWorkload) -> Calls {
    let mut calls: Vec<_> = workload.calls.iter().filter(|(_, calls)| **calls >= MIN_CALLS_PER_UNIT).collect();
    calls.sort_by(|a, b| b.1.total_cmp(a.1));
    let most: Vec<String> = calls
        .iter()
        .take(MAX_NAMED_HOOKS)
        .map(|(op, calls)| format!("{} {}", clipped(op, 40), exact(**calls)))
        .collect();
    Calls { workload: clipped(&workload.name, 60), all: exact(workload.calls.values().sum()), most: most.join(", ") }
}

fn prediction(it: &LinuxPrediction) -> Prediction {
    let state = it.state.as_deref().map_or_else(String::new, |state| format!(" ({})", clipped(state, 20)));
    let from: Vec<String> = it
        .from
        .iter()
        .take(MAX_NAMED_HOOKS)
        .map(|share| format!("{} {} ({} calls)", clipped(&share.op, 40), fixed(share.cycles, 1), exact(share.calls)))
        .collect();
    Prediction {
        workload: clipped(&it.workload, 60),
        mechanism: format!("{}{state}", clipped(&it.mechanism, 60)),
        cycles: fixed(it.cycles, 1),
        from: from.join(", "),
        unknown: it.unknown.iter().take(MAX_NAMED_HOOKS).map(|op| clipped(op, 40)).collect::<Vec<_>>().join(", "),
    }
}
