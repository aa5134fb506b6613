//! The page of an op, a mechanism or a workload: what changed in it, its newest values, a plot per series.

use askama::Template;

use super::super::context::{Context, EventRow, Link, RunRow};
use super::Frame;
use super::trends::{Row, Trend};

/// Most runs in the table of runs of such a page: as many as its plots have links.
const MAX_RUNS: usize = super::super::trend::MAX_SINGLE_RUNS;

/// What is shown of a machine.
pub struct Part {
    /// Its anchor.
    pub id: String,
    /// The machine.
    pub machine: Link,
    /// How to read it.
    pub note: String,
    /// Heading of the first plots.
    pub lead_title: &'static str,
    /// The first plots, above the table: what changed, or the medians.
    pub lead: Vec<Trend>,
    /// Columns of the table.
    pub heads: Vec<String>,
    /// Rows of the table.
    pub rows: Vec<Row>,
    /// The other plots, in folded groups.
    pub groups: Vec<Group>,
    /// The newest runs.
    pub runs: Vec<RunRow>,
    /// Number of older runs.
    pub more_runs: usize,
}

/// Plots that are folded together.
pub struct Group {
    /// What they are of.
    pub title: String,
    /// Whether they are shown without a click.
    pub is_open: bool,
    /// The plots.
    pub trends: Vec<Trend>,
}

/// The page.
#[derive(Template)]
#[template(path = "site_series.html")]
pub struct SeriesPage<'a> {
    /// What all pages have.
    pub frame: &'a Frame<'a>,
    /// The way to the front page.
    pub root: &'static str,
    /// Warnings.
    pub warnings: Vec<String>,
    /// `op`, `mechanism` or `workload`.
    pub kind: &'static str,
    /// The name of the subject.
    pub name: String,
    /// The subject in a line.
    pub summary: String,
    /// What a row of the table is.
    pub row_word: &'static str,
    /// Changes that touch it.
    pub events: Vec<EventRow>,
    /// A part per machine.
    pub parts: Vec<Part>,
    /// Whether tables of runs name the machine.
    pub show_machine: bool,
}

/// The newest runs of a machine, and the number of others.
pub fn newest_runs(context: &Context, machine: usize) -> (Vec<RunRow>, usize) {
    let Some(it) = context.model.machines.get(machine) else { return (Vec::new(), 0) };
    let rows: Vec<RunRow> = it.runs.iter().rev().take(MAX_RUNS).filter_map(|run| context.run_row(*run)).collect();
    let more = it.runs.len().saturating_sub(rows.len());
    (rows, more)
}

/// How to read the plots.
pub const HOW_TO_READ: &str = "Overhead above inline in core cycles per op, with twice its standard error. Each of the \
    newest points is a run and a link; older runs are in groups: a dot at the median, a bar from the lowest to the \
    highest. Ring: a change. Shaded: the floor around the newest level.";

/// How to read the plots of a workload.
pub const HOW_TO_READ_PERCENT: &str = "Time above inline in percent, with twice its standard error. Each of the newest \
    points is a run and a link; older runs are in groups: a dot at the median, a bar from the lowest to the highest. \
    Ring: a change. Shaded: the floor around the newest level.";
