//! The section on workloads: bars of the headline workload, tables of kernels, predictions of the cost model, and
//! published figures.

use std::collections::BTreeMap;

use super::faster_options::state_faster_options;
use super::published::{PublishedFigure, list_figures};
use super::{HtmlError, NOTHING, clipped};
use crate::report::agreement;
use crate::report::claim::CLAIM;
use crate::report::floors::{PLACEMENT_RANGE, WORKLOAD_FLOOR};
use crate::report::plots::number::{exact, fixed};
use crate::report::plots::{self, Medium, Plot};
use crate::report::prediction_error::{
    PredictionError, factor, factor_text, is_within_bounds, state_coverage, state_likely_error,
};
use crate::report::schema::{Estimate, Report, WorkloadKernel, WorkloadResult};

/// The section.
pub(super) struct Workloads {
    /// Plot of the headline workload.
    pub plot: Option<Plot>,
    pub lines: Vec<Line>,
    pub mechanisms: Matrix,
    pub options: Matrix,
    /// Predictions of the cost model; `None` without a prediction.
    pub predictions: Option<Matrix>,
    /// How wrong the predictions of this report are.
    pub prediction_error: String,
    /// How many of them hold within their bounds, and how far their likely values are off.
    pub coverage: String,
    /// Kernel options that add instructions and take less time; empty if there are none.
    pub faster_options: String,
    /// Instructions above `inline`; `None` if they were not counted.
    pub instructions: Option<Matrix>,
    pub published: Vec<PublishedFigure>,
    /// When a published number agrees.
    pub agreement: String,
    /// Definitions of the floor and of the placement range.
    pub floor: &'static str,
    pub placement_range: &'static str,
    /// Reason why kernels stayed at the addresses that the linker chose; `None` if every block placed them anew.
    pub in_place: Option<String>,
}

/// Description of a workload.
pub(super) struct Line {
    pub name: String,
    pub unit: String,
    pub summary: String,
    pub source: String,
    pub inline: String,
    /// Instructions per unit, and per cycle if the machine has hardware counters.
    pub instructions: String,
    /// The floor in percent.
    pub floor: String,
    /// The placement range in percent.
    pub placement: String,
    pub calls: String,
    pub most_called: String,
}

/// Table of kernels by workloads.
pub(super) struct Matrix {
    pub workloads: Vec<String>,
    pub rows: Vec<Row>,
}

/// A kernel with its figure on every workload.
pub(super) struct Row {
    pub kernel: String,
    pub about: String,
    pub cells: Vec<Percent>,
}

/// A figure in percent.
pub(super) struct Percent {
    pub shown: String,
    /// The interval, the measurement of a prediction with the factor between the two, or the reason why there is no
    /// figure.
    pub below: String,
    pub resolved: bool,
}

/// The section; `None` for a report without workloads.
///
/// # Errors
/// When a plot cannot be drawn, or when the published figures do not parse.
pub(super) fn workloads(report: &Report) -> Result<Option<Workloads>, HtmlError> {
    if report.workloads.is_empty() {
        return Ok(None);
    }
    let about: BTreeMap<&str, &str> =
        report.catalogue.options.iter().map(|option| (option.name.as_str(), option.summary.as_str())).collect();
    let headline = report.workloads.iter().position(|workload| workload.name == CLAIM).unwrap_or(0);
    let any = |wanted: fn(&WorkloadKernel) -> bool| report.workloads.iter().flat_map(|it| &it.kernels).any(wanted);
    Ok(Some(Workloads {
        plot: plots::workload(report, headline, Medium::Page)?,
        lines: report.workloads.iter().map(describe).collect(),
        mechanisms: matrix(report, |kernel| kernel.option.is_none(), |_| String::new(), percent),
        options: matrix(
            report,
            |kernel| kernel.option.is_some(),
            |name| about.get(name).map_or_else(String::new, |text| clipped(text, 200)),
            percent,
        ),
        predictions: any(|kernel| kernel.predicted_percent.is_some())
            .then(|| matrix(report, |kernel| kernel.predicted_percent.is_some(), |_| String::new(), prediction)),
        prediction_error: PredictionError::of(report)
            .map_or_else(|| "No prediction of this report can be checked.".to_owned(), |it| it.sentence()),
        coverage: [state_coverage(report), state_likely_error(report)].join(" "),
        faster_options: state_faster_options(report).unwrap_or_default(),
        instructions: any(|kernel| kernel.instructions.is_some())
            .then(|| matrix(report, |_| true, |_| String::new(), instructions)),
        published: list_figures(report)?,
        agreement: agreement::rule(),
        floor: definition(WORKLOAD_FLOOR),
        placement_range: definition(PLACEMENT_RANGE),
        in_place: report
            .workloads
            .iter()
            .find_map(|workload| workload.in_place.as_deref())
            .map(|why| clipped(why, 200)),
    }))
}

/// The definition in a text of the form `name: definition`.
fn definition(words: &'static str) -> &'static str {
    words.split_once(": ").map_or(words, |(_, definition)| definition)
}

fn describe(workload: &WorkloadResult) -> Line {
    let mut called: Vec<(&String, &f64)> = workload.calls.iter().collect();
    called.sort_by(|a, b| b.1.total_cmp(a.1));
    let most = called.iter().take(4).map(|(op, calls)| format!("{} {}", clipped(op, 40), exact(**calls)));
    let cycles = workload.inline_cycles.map_or_else(|| NOTHING.to_owned(), |cycles| fixed(cycles.estimate, 0));
    let ns = workload.inline_ns.map_or_else(|| NOTHING.to_owned(), |ns| fixed(ns, 1));
    Line {
        name: clipped(&workload.name, 80),
        unit: clipped(&workload.unit, 80),
        summary: clipped(&workload.summary, 200),
        source: clipped(&workload.source, 200),
        inline: format!("{cycles} cycles, {ns} ns"),
        instructions: executed(workload),
        floor: workload.floor().map_or_else(|| NOTHING.to_owned(), |percent| fixed(percent, 2)),
        placement: workload.placement_range().map_or_else(|| NOTHING.to_owned(), |percent| fixed(percent, 2)),
        calls: exact(workload.calls.values().sum()),
        most_called: most.collect::<Vec<_>>().join(", "),
    }
}

fn executed(workload: &WorkloadResult) -> String {
    let counters = workload.inline_counters.as_ref();
    let events =
        counters.and_then(|c| Some((*c.get("instructions")?, *c.get("cycles").filter(|cycles| **cycles > 0.0)?)));
    let ipc = events
        .map_or_else(String::new, |(instructions, cycles)| format!(", {} per cycle", fixed(instructions / cycles, 2)));
    format!("{}{ipc}", workload.inline_instructions.map_or_else(|| NOTHING.to_owned(), exact))
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

fn matrix(
    report: &Report,
    wanted: impl Fn(&WorkloadKernel) -> bool,
    about: impl Fn(&str) -> String,
    shown: impl Fn(Option<&WorkloadKernel>) -> Percent,
) -> Matrix {
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
        cells: (0..report.workloads.len()).map(|index| shown(found.get(&(index, name.clone())).copied())).collect(),
        about: about(&name),
        kernel: name,
    };
    Matrix {
        workloads: report.workloads.iter().map(|workload| clipped(&workload.name, 80)).collect(),
        rows: names.into_iter().map(row).collect(),
    }
}

fn instructions(kernel: Option<&WorkloadKernel>) -> Percent {
    let counted = kernel.and_then(|kernel| kernel.instructions);
    let reason = || kernel.and_then(|kernel| kernel.instructions_absent.clone()).unwrap_or_default();
    Percent {
        shown: counted.map_or_else(|| NOTHING.to_owned(), |counted| fixed(counted.extra_percent, 2)),
        below: counted.map_or_else(|| clipped(&reason(), 200), |counted| exact(counted.per_unit)),
        resolved: counted.is_some(),
    }
}

fn prediction(kernel: Option<&WorkloadKernel>) -> Percent {
    let predicted = kernel.and_then(|kernel| kernel.predicted_percent);
    let measured = kernel.and_then(|kernel| kernel.overhead_percent);
    Percent {
        shown: match (kernel.and_then(|kernel| kernel.predicted_range_percent), predicted) {
            (Some(range), _) => format!("{} to {}", fixed(range.low, 1), fixed(range.high, 1)),
            (None, Some(percent)) => fixed(percent, 2),
            (None, None) => NOTHING.to_owned(),
        },
        below: predicted.zip(measured).map_or_else(String::new, |(_, measured)| {
            let factor = kernel.and_then(factor).map_or_else(String::new, |it| format!(" \u{d7}{}", factor_text(it)));
            let mark = if kernel.is_some_and(|kernel| kernel.resolved) { "" } else { "~" };
            let outside = match kernel.and_then(is_within_bounds) {
                Some(false) => ", outside",
                _ => "",
            };
            format!("{mark}{}{factor}{outside}", fixed(measured.estimate, 2))
        }),
        resolved: predicted.is_some(),
    }
}

fn percent(kernel: Option<&WorkloadKernel>) -> Percent {
    let Some((kernel, Estimate { estimate, low, high, .. })) =
        kernel.and_then(|kernel| Some((kernel, kernel.overhead_percent?)))
    else {
        let reason = kernel.and_then(|kernel| kernel.absent.clone()).unwrap_or_default();
        return Percent { shown: NOTHING.to_owned(), below: clipped(&reason, 200), resolved: false };
    };
    let mark = if kernel.resolved { "" } else { "~" };
    Percent {
        shown: format!("{mark}{}", fixed(estimate, 2)),
        below: format!("\u{b1}{}", fixed((high - low) / 2.0, 2)),
        resolved: kernel.resolved,
    }
}
