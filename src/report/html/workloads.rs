//! The section on workloads: bars and a table of kernels per workload, predictions of the cost model, and published
//! figures.

use std::collections::BTreeMap;

use super::published::{PublishedFigure, list_figures};
use super::{HtmlError, NOTHING, clipped};
use crate::report::floors::{PLACEMENT_RANGE, WORKLOAD_FLOOR};
use crate::report::plots::number::{exact, fixed, plural};
use crate::report::plots::{self, Medium, Plot};
use crate::report::schema::{Estimate, Report, WorkloadKernel, WorkloadResult};

/// The section.
pub(super) struct Workloads {
    /// Plot of the headline workload.
    pub first: Option<Plot>,
    pub plots: Vec<Plot>,
    pub lines: Vec<Line>,
    pub mechanisms: Matrix,
    pub options: Matrix,
    /// Instructions above `inline`; `None` if they were not counted.
    pub instructions: Option<Matrix>,
    pub published: Vec<PublishedFigure>,
    /// Definitions of the floor and of the placement range.
    pub floor: &'static str,
    pub placement_range: &'static str,
    /// Reason why kernels stayed at the addresses that the linker chose; `None` if every round placed them anew.
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
    pub interval: String,
    /// The prediction, or the reason why there is no figure.
    pub below: String,
    pub resolved: bool,
}

/// Name of the headline workload. The cost of paravirt_ops was argued about with it in 2009.
const HEADLINE: &str = "mmap_perf";

/// The headline workload, or the first workload if the report does not have it.
fn find_headline(report: &Report) -> Option<&WorkloadResult> {
    report.workloads.iter().find(|workload| workload.name == HEADLINE).or(report.workloads.first())
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
    let whole = find_headline(report).map_or("", |workload| &workload.name);
    let mut plots = plots::workloads(report, Medium::Page, whole)?;
    let first = plots.iter().position(|plot| plot.title.starts_with(&format!("{}:", clipped(whole, 40)))).unwrap_or(0);
    let counted = report.workloads.iter().flat_map(|workload| &workload.kernels).any(|k| k.instructions.is_some());
    Ok(Some(Workloads {
        first: if plots.is_empty() { None } else { Some(plots.remove(first)) },
        plots,
        lines: report.workloads.iter().map(describe).collect(),
        mechanisms: matrix(report, |kernel| kernel.option.is_none(), |_| String::new(), percent),
        options: matrix(
            report,
            |kernel| kernel.option.is_some(),
            |name| about.get(name).map_or_else(String::new, |text| clipped(text, 200)),
            percent,
        ),
        instructions: counted.then(|| matrix(report, |_| true, |_| String::new(), instructions)),
        published: list_figures(report)?,
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

/// The cost of pv_ops and of other kernel options on the headline workload, in a sentence; `None` if neither the table
/// nor patched sites have a resolved overhead.
pub(super) fn sentence(report: &Report) -> Option<String> {
    let workload = find_headline(report)?;
    let costs = [("with the table", "table", None), ("with patched sites", "site", Some("inline"))];
    let find = |workload: &WorkloadResult, mechanism: &str, state: Option<&str>| {
        let wanted = |k: &&WorkloadKernel| k.mechanism.as_deref() == Some(mechanism) && k.state.as_deref() == state;
        // An overhead that is not resolved is not a finding.
        workload.kernels.iter().find(wanted).filter(|kernel| kernel.resolved)?.overhead_percent
    };
    let words = costs.into_iter().filter_map(|(words, mechanism, state)| {
        let Estimate { estimate, low, high, .. } = find(workload, mechanism, state)?;
        let others: Vec<Estimate> =
            report.workloads.iter().filter_map(|workload| find(workload, mechanism, state)).collect();
        let count = others.len();
        let [least, most] = others.into_iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[least, most], other| {
            [least.min(other.estimate), most.max(other.estimate)]
        });
        let range = match (count, report.workloads.len()) {
            (1, _) => String::new(),
            (_, all) if all == count => {
                format!(", and from {} to {}% over {count} workloads", fixed(least, 2), fixed(most, 2))
            }
            (_, all) => format!(
                ", and from {} to {}% over the {count} of {all} workloads where it is resolved",
                fixed(least, 2),
                fixed(most, 2)
            ),
        };
        Some(format!("{}% [{}, {}] longer {words}{range}", fixed(estimate, 2), fixed(low, 2), fixed(high, 2)))
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() {
        return None;
    }
    let mut options: Vec<(&str, f64)> = workload
        .kernels
        .iter()
        .filter(|kernel| kernel.resolved)
        .filter_map(|kernel| Some((kernel.option.as_deref()?, kernel.overhead_percent?.estimate)))
        .collect();
    options.sort_by(|a, b| b.1.total_cmp(&a.1));
    let patched =
        find(workload, "site", Some("inline")).or(find(workload, "table", None)).map_or(0.0, |cost| cost.estimate);
    let above = options.iter().filter(|option| option.1 > patched).count();
    let other = options.first().map_or_else(String::new, |(name, percent)| {
        format!(
            "; {above} of the other kernel options {} more, and the most expensive one, {}, costs {}%",
            plural(above, "costs", "cost"),
            clipped(name, 40),
            fixed(*percent, 2)
        )
    });
    Some(format!(
        "On the workload {}, a model kernel that calls the hooks where Linux does takes {}{other}.",
        clipped(&workload.name, 40),
        words.join("; ")
    ))
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
        interval: counted.map_or_else(String::new, |counted| format!("{} instructions", exact(counted.per_unit))),
        below: if counted.is_none() { clipped(&reason(), 200) } else { String::new() },
        resolved: counted.is_some(),
    }
}

fn percent(kernel: Option<&WorkloadKernel>) -> Percent {
    let Some((kernel, Estimate { estimate, low, high, .. })) =
        kernel.and_then(|kernel| Some((kernel, kernel.overhead_percent?)))
    else {
        let reason = kernel.and_then(|kernel| kernel.absent.clone()).unwrap_or_default();
        return Percent {
            shown: NOTHING.to_owned(),
            interval: String::new(),
            below: clipped(&reason, 200),
            resolved: false,
        };
    };
    let predicted = kernel.predicted_percent.map_or_else(String::new, |predicted| {
        let difference = fixed(predicted - estimate, 2);
        format!("; predicted {}, {difference} points from the measurement", fixed(predicted, 2))
    });
    let floor = kernel.floor_percent.map_or_else(String::new, |floor| format!("; floor \u{b1}{}", fixed(floor, 2)));
    let limit = kernel.limit.map_or_else(String::new, |limit| format!("; not resolved, {}", limit.meaning()));
    Percent {
        shown: fixed(estimate, 2),
        interval: format!("{} to {}{floor}{limit}{predicted}", fixed(low, 2), fixed(high, 2)),
        below: kernel.predicted_percent.map_or_else(String::new, |percent| fixed(percent, 2)),
        resolved: kernel.resolved,
    }
}
