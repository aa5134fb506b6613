//! The page: one HTML file, made from a report alone. It needs neither the network nor scripts.
//!
//! Everything in a report is untrusted. The template engine escapes every string except the plots, which escape their
//! texts themselves. A content security policy backs both: the page loads nothing, and only its own script runs.

mod anchor;
mod cells;
mod counts;
mod facts;
mod findings;
mod linux;
mod ops;
mod published;
mod scatter;
mod script_hash;
mod timeline;
mod ways;
mod workloads;

use std::collections::HashSet;

use askama::Template;
use thiserror::Error;

use crate::host::Status;
use crate::regime::Regime;
use crate::report::Report;
use crate::report::over_ops::MEDIAN_OVER_OPS;
use crate::report::plots::grid::Grid;
use crate::report::plots::history::History;
use crate::report::plots::number::{NOTHING, clipped};
use crate::report::plots::{self, Medium, Plot, PlotError};
use crate::report::subject::has_linux_ops;
use anchor::Anchors;
use facts::Fact;

/// Failure to make the page.
#[derive(Debug, Error)]
pub enum HtmlError {
    /// A plot failed.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The built-in published figures do not parse.
    #[error("the published figures of this build cannot be read: {0}; build it again from an untouched source")]
    Published(#[from] toml::de::Error),
    /// The template failed.
    #[error("the page could not be written from its template: {0}; report.json holds the same numbers")]
    Template(#[from] askama::Error),
}

const SCRIPT: &str = include_str!("../templates/page.js");

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
    sentences: Vec<String>,
    tiles: Vec<findings::Tile>,
    panel: Vec<Fact>,
    bad: Vec<facts::Checked>,
    unknown: Vec<facts::Checked>,
    fine: Vec<facts::Checked>,
    median_over_ops: &'static str,
    ladder: Option<Plot>,
    heatmaps: Vec<Plot>,
    numbers_in_cells: bool,
    linux_ops: bool,
    steps: Vec<Step>,
    regimes: Vec<Plot>,
    body: &'static str,
    workers: usize,
    rounds: usize,
    window: String,
    sites: u64,
    confidence: String,
    pinned: String,
    plan: Vec<Fact>,
    machine: Vec<Fact>,
    mitigations: Vec<Fact>,
    lines: cells::Lines,
    history: Vec<Plot>,
    timeline: Option<timeline::Timeline>,
    scatter: Option<scatter::Scatter>,
    ops: Vec<ops::OpGroup>,
    op_count: usize,
    sequences: Vec<ways::CallSequence>,
    counts: Option<counts::Counts>,
    mechanisms: Vec<String>,
    regime_names: Vec<&'static str>,
    failures: Vec<FailureLine>,
    absences: Vec<Fact>,
    workloads: Option<workloads::Workloads>,
    linux: Option<linux::Section>,
    beside: Option<Plot>,
}

/// The page of a report.
///
/// # Errors
/// When a plot or the template fails. No content of a report causes that.
pub fn page(report: &Report) -> Result<String, HtmlError> {
    let grid = Grid::new(report);
    let op_anchors = Anchors::new("op", report.catalogue.ops.iter().map(|op| op.name.as_str()));
    let way_anchors = Anchors::new("way", report.catalogue.mechanisms.iter().map(|m| m.name.as_str()));
    let lines = cells::lines(report, &op_anchors);
    let history = History::of(report, &grid);
    let mut mechanisms: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    for line in &lines.lines {
        if seen.insert(line.mechanism.as_str()) {
            mechanisms.push(line.mechanism.clone());
        }
    }
    let plan = &report.run.plan;
    let page = Page {
        script: SCRIPT,
        script_source: script_hash::source(SCRIPT),
        warnings: findings::warnings(report, &grid),
        cpu: report.machine.cpu_model.as_deref().map_or_else(|| "an unknown CPU".to_owned(), |c| clipped(c, 120)),
        started: clipped(&report.run.started, 40),
        tool: clipped(&format!("{} {}", report.tool.name, report.tool.version), 80),
        preset: clipped(&plan.preset, 40),
        scatter: scatter::scatter(report),
        sentences: list_findings(report, &grid),
        tiles: findings::tiles(report, &grid),
        panel: facts::panel(report),
        bad: facts::checks(report, Status::Warning),
        unknown: facts::checks(report, Status::Unknown),
        fine: facts::checks(report, Status::Ok),
        median_over_ops: MEDIAN_OVER_OPS,
        ladder: plots::ladder(&grid, Medium::Page)?,
        heatmaps: plots::heatmaps(&grid, Medium::Page)?,
        linux_ops: has_linux_ops(report),
        numbers_in_cells: plots::numbers_in_cells(grid.columns.len()),
        steps: plots::heatmap::legend_labels()
            .into_iter()
            .enumerate()
            .map(|(index, label)| Step { index, label })
            .collect(),
        regimes: plots::regimes(&grid, Medium::Page)?,
        body: grid.body.name(),
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
            Some(history) => plots::over_time(history, &grid, Medium::Page)?,
            None => Vec::new(),
        },
        timeline: history.as_ref().map(|history| timeline::timeline(history, &way_anchors)),
        ops: ops::groups(report, &op_anchors),
        op_count: report.catalogue.ops.len(),
        sequences: ways::list_sequences(report, &way_anchors),
        counts: counts::counts(report, &grid),
        mechanisms,
        regime_names: Regime::ALL.map(Regime::name).to_vec(),
        failures: report
            .failures
            .iter()
            .map(|f| FailureLine {
                worker: f.worker,
                comparison: f
                    .comparison
                    .as_deref()
                    .map_or_else(|| "between comparisons".to_owned(), |g| clipped(g, 200)),
                message: clipped(&f.message, 600),
            })
            .collect(),
        absences: report
            .absent
            .iter()
            .map(|a| Fact { name: clipped(&a.what, 80), value: clipped(&a.reason, 600) })
            .collect(),
        workloads: workloads::workloads(report)?,
        linux: linux::section(report),
        beside: plots::compare_kernels(report, Medium::Page)?,
        lines,
    };
    Ok(page.render()?)
}

/// The findings in sentences: on cells, then on workloads if there are any, then on the reliability of the run.
fn list_findings(report: &Report, grid: &Grid) -> Vec<String> {
    let mut sentences = findings::sentences(report, grid);
    if let Some(sentence) = workloads::sentence(report) {
        sentences.insert(sentences.len().saturating_sub(1), sentence);
    }
    sentences
}

mod filters {
    //! Filters of the templates, in addition to the built-in ones.

    use askama::Values;

    /// The caption of a heat map by its id: `heatmap-mmu` shows `pv_ops.mmu`.
    #[askama::filter_fn]
    pub fn group(id: &str, _: &dyn Values) -> askama::Result<String> {
        let group = id.strip_prefix("heatmap-").unwrap_or(id);
        Ok(if group == "user" { "the suite's own ops".to_owned() } else { format!("pv_ops.{group}") })
    }

    /// The attribute of a table cell that spans `rows` rows; empty for one row.
    #[askama::filter_fn]
    pub fn over(rows: &usize, _: &dyn Values) -> askama::Result<String> {
        Ok(if *rows > 1 { format!(" rowspan={rows}") } else { String::new() })
    }
}
