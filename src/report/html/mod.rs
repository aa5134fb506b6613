//! The page: one HTML file, made from a report alone. It needs neither the network nor scripts.
//!
//! Everything in a report is untrusted. The template engine escapes every string except the plots, which escape their
//! texts themselves. A content security policy backs both: the page loads nothing, and only its own script runs.

mod anchor;
mod carried;
mod cells;
mod costs;
mod counts;
mod distance;
mod facts;
mod faster;
mod faster_options;
mod finder;
mod first_screen;
mod kernel_time;
mod linux;
mod matters;
mod modelled;
mod oddities;
mod op_description;
mod published;
mod scatter;
pub(crate) mod script_hash;
mod stubs;
mod timeline;
mod trust;
mod ways;
mod workloads;

use std::collections::HashSet;

use askama::Template;
use thiserror::Error;

use crate::host::Status;
use crate::regime::Regime;
use crate::report::Report;
use crate::report::answer::Answer;
use crate::report::call_sites::CallSites;
use crate::report::over_ops::MEDIAN_OVER_OPS;
use crate::report::plots::answer::Width;
use crate::report::plots::grid::Grid;
use crate::report::plots::history::History;
use crate::report::plots::number::{NOTHING, clipped};
use crate::report::plots::{self, Medium, Plot, PlotError};
use crate::report::schema::Failure;
use crate::report::subject::{self, has_linux_ops};
use anchor::Anchors;
use facts::Fact;

/// Failure to make the page.
#[derive(Debug, Error)]
pub enum HtmlError {
    /// A plot failed.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The published figures, or the words for call sites, do not parse.
    #[error("a built-in file of this build cannot be read: {0}; build it again from an untouched source")]
    BuiltIn(#[from] toml::de::Error),
    /// The template failed.
    #[error("the page could not be written from its template: {0}; report.json holds the same numbers")]
    Template(#[from] askama::Error),
}

const SCRIPT: &str = concat!(include_str!("../templates/unfold.js"), include_str!("../templates/page.js"));

/// A step of the heat scale in the legend.
struct Step {
    index: usize,
    label: String,
}

pub use workloads::kernel_name;

struct FailureLine {
    worker: usize,
    comparison: String,
    message: String,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page {
    script: &'static str,
    script_source: String,
    warnings: Vec<String>,
    cpu: String,
    started: String,
    tool: String,
    preset: String,
    linux_ops: bool,
    sentences: first_screen::Sentences,
    answer: Option<Plot>,
    narrow_answer: Option<Plot>,
    trust: Vec<trust::Trust>,
    panel: Vec<Fact>,
    bad: Vec<facts::Checked>,
    unknown: Vec<facts::Checked>,
    fine: Vec<facts::Checked>,
    costs: Option<costs::Costs>,
    counted_ops: String,
    ladder: Option<Plot>,
    finder: Vec<finder::Found>,
    modelled: Vec<modelled::Part>,
    oddities: Vec<oddities::Oddity>,
    matters: Option<matters::Matters>,
    median_over_ops: &'static str,
    heatmaps: Vec<Plot>,
    numbers_in_cells: bool,
    steps: Vec<Step>,
    body: &'static str,
    ops: cells::Ops,
    mechanisms: Vec<String>,
    workers: usize,
    rounds: usize,
    window: String,
    sites: u64,
    confidence: String,
    pinned: String,
    plan: Vec<Fact>,
    machine: Vec<Fact>,
    mitigations: Vec<Fact>,
    history: Vec<Plot>,
    timeline: Option<timeline::Timeline>,
    scatter: Option<scatter::Scatter>,
    sequences: Vec<ways::CallSequence>,
    counts: Option<counts::Counts>,
    failures: Vec<FailureLine>,
    absences: Vec<Fact>,
    workloads: Option<workloads::Workloads>,
    kernel_time: Option<kernel_time::Section>,
    linux: Option<linux::Section>,
    beside: Option<Plot>,
}

/// The regimes of Linux's history that the page draws. Its table has all regimes.
const DRAWN_HISTORY: [Regime; 2] = [Regime::Throughput, Regime::Cold];

/// The page of a report.
///
/// # Errors
/// When a plot or the template fails. No content of a report causes that.
pub fn page(report: &Report) -> Result<String, HtmlError> {
    let grid = Grid::new(report);
    let answer = Answer::of(report, &grid);
    let op_anchors = Anchors::new("op", report.catalogue.ops.iter().map(|op| op.name.as_str()));
    let way_anchors = Anchors::new("way", report.catalogue.mechanisms.iter().map(|m| m.name.as_str()));
    let history = History::of(report, &grid);
    let words = CallSites::read()?;
    let plan = &report.run.plan;
    let page = Page {
        script: SCRIPT,
        script_source: script_hash::source(SCRIPT),
        warnings: first_screen::warnings(report, &grid),
        cpu: report.machine.cpu_model.as_deref().map_or_else(|| "an unknown CPU".to_owned(), |c| clipped(c, 120)),
        started: clipped(&report.run.started, 40),
        tool: clipped(&format!("{} {}", report.tool.name, report.tool.version), 80),
        preset: clipped(&plan.preset, 40),
        linux_ops: has_linux_ops(report),
        sentences: first_screen::sentences(report, &grid, &answer),
        answer: plots::answer(report, &grid, Medium::Page, Width::Wide)?,
        narrow_answer: plots::answer(report, &grid, Medium::Page, Width::Narrow)?,
        trust: trust::list_trust(report),
        panel: facts::panel(report),
        bad: facts::checks(report, Status::Warning),
        unknown: facts::checks(report, Status::Unknown),
        fine: facts::checks(report, Status::Ok),
        costs: costs::costs(&grid, &answer, &way_anchors, &words),
        counted_ops: costs::count_ops(&grid),
        ladder: plots::ladder(&grid, Medium::Page)?,
        finder: finder::find_entries(&grid, &way_anchors, &words),
        modelled: modelled::list_parts(report),
        oddities: oddities::list_oddities(report, &grid),
        matters: matters::matters(report, &grid, &op_anchors, &way_anchors),
        median_over_ops: MEDIAN_OVER_OPS,
        heatmaps: plots::heatmaps(&grid, Medium::Page)?,
        numbers_in_cells: plots::numbers_in_cells(grid.columns.len()),
        steps: plots::heatmap::legend_labels()
            .into_iter()
            .enumerate()
            .map(|(index, label)| Step { index, label })
            .collect(),
        body: grid.body.name(),
        ops: cells::ops(report, &op_anchors),
        mechanisms: list_mechanisms(report),
        workers: plan.workers,
        rounds: plan.rounds,
        window: plots::number::grouped(&plan.window_cycles.to_string()),
        sites: crate::regime::SITES,
        confidence: plots::number::fixed(plan.confidence * 100.0, 0),
        pinned: plan.cpu.map_or_else(|| "not pinned".to_owned(), |cpu| format!("pinned to CPU {cpu}")),
        plan: facts::plan(report),
        machine: facts::machine(&report.machine),
        mitigations: facts::mitigations(&report.machine),
        history: match &history {
            Some(history) => plots::draw_history(history, &grid, Medium::Page, &DRAWN_HISTORY)?,
            None => Vec::new(),
        },
        timeline: history.as_ref().map(|history| timeline::timeline(history, &way_anchors)),
        scatter: scatter::scatter(report),
        sequences: ways::list_sequences(report, &way_anchors),
        counts: counts::counts(report, &grid),
        failures: report.failures.iter().map(describe_failure).collect(),
        absences: report
            .absent
            .iter()
            .map(|a| Fact { name: clipped(&a.what, 80), value: clipped(&a.reason, 600) })
            .collect(),
        workloads: workloads::workloads(report)?,
        kernel_time: kernel_time::section(report),
        linux: linux::section(report),
        beside: plots::compare_kernels(report, Medium::Page)?,
    };
    Ok(page.render()?)
}

fn describe_failure(failure: &Failure) -> FailureLine {
    let comparison = failure.comparison.as_deref();
    FailureLine {
        worker: failure.worker,
        comparison: comparison.map_or_else(|| "between comparisons".to_owned(), |it| clipped(it, 200)),
        message: clipped(&failure.message, 600),
    }
}

/// The mechanisms of the cells with their states, each once, for the filter.
fn list_mechanisms(report: &Report) -> Vec<String> {
    let mut seen = HashSet::new();
    let columns = report.cells.iter().map(|cell| (cell.mechanism.as_str(), cell.state.as_deref()));
    columns.filter(|it| seen.insert(*it)).map(|(name, state)| subject::mechanism(name, state)).collect()
}

mod filters {
    //! Filters of the templates, in addition to the built-in ones.

    use askama::Values;

    /// A name, escaped, in which a line may break behind each underscore.
    #[askama::filter_fn]
    pub fn breakable(name: &str, _: &dyn Values) -> askama::Result<String> {
        let mut out = String::with_capacity(name.len() + 10);
        for c in name.chars() {
            match c {
                '&' => out.push_str("&#38;"),
                '<' => out.push_str("&#60;"),
                '>' => out.push_str("&#62;"),
                '"' => out.push_str("&#34;"),
                '\'' => out.push_str("&#39;"),
                '_' => out.push_str("_<wbr>"),
                c => out.push(c),
            }
        }
        Ok(out)
    }

    /// The caption of a heat map by its id: `heatmap-mmu` shows `pv_ops.mmu`.
    #[askama::filter_fn]
    pub fn group(id: &str, _: &dyn Values) -> askama::Result<String> {
        let group = id.strip_prefix("heatmap-").unwrap_or(id);
        Ok(if group == "user" { "the suite's own ops".to_owned() } else { format!("pv_ops.{group}") })
    }
}
