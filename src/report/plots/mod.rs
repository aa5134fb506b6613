//! Plots as SVG, drawn from a report alone.
//!
//! The page shows the same drawings that [`all`] gives as files. A file carries its own style, so that it follows light
//! and dark mode wherever it is opened; in the page the style is the page's.

mod beside;
mod canvas;
pub(crate) mod grid;
pub(crate) mod heatmap;
pub(crate) mod history;
mod ladder;
pub(crate) mod number;
mod regimes;
mod scale;
mod spread;
mod text_width;
mod workload;

use thiserror::Error;

use crate::report::Report;
use grid::Grid;
use history::History;

/// A finished plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Its name in the page: `ladder`, `heatmap-mmu`, `regime-latency`.
    pub id: String,
    /// The name of its file: the id and `.svg`.
    pub file_name: String,
    /// What it shows, in a few words.
    pub title: String,
    /// What it shows in words, with the key numbers.
    pub description: String,
    /// The SVG document.
    pub svg: String,
}

/// Why a plot could not be drawn.
#[derive(Debug, Error)]
pub enum PlotError {
    /// plotters refused.
    #[error("a plot could not be drawn: {0}; report.json holds the same numbers")]
    Draw(String),
    /// The list of published figures is broken.
    #[error("the published figures of this build cannot be read: {0}; build it again from an untouched source")]
    Published(#[from] toml::de::Error),
}

/// What a plot is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file of its own: with style and legend.
    File,
    /// A page that has both.
    Page,
}

/// All plots of a report as files. A report without a measured cell has none.
pub fn all(report: &Report) -> Result<Vec<Plot>, PlotError> {
    let grid = Grid::new(report);
    let mut plots: Vec<Plot> = ladder(&grid, Place::File)?.into_iter().collect();
    plots.extend(heatmaps(&grid, Place::File)?);
    plots.extend(regimes(&grid, Place::File)?);
    if let Some(history) = History::of(report, &grid) {
        plots.extend(over_time(&history, &grid, Place::File)?);
    }
    plots.extend(workloads(report, Place::File, "")?);
    plots.extend(beside(report, Place::File)?);
    Ok(plots)
}

/// Bars for each workload: mechanisms and kernel options, ranked. A page has room for all of them once, for the workload
/// called `whole`, and for those of pv_ops with the others.
pub(crate) fn workloads(report: &Report, place: Place, whole: &str) -> Result<Vec<Plot>, PlotError> {
    let plot = |(index, of): (usize, &crate::report::schema::Workload)| {
        let options = place == Place::File || of.name == whole;
        workload::plot(index, of, place, options).transpose()
    };
    report.workloads.iter().enumerate().filter_map(plot).collect()
}

/// Real kernel, model kernel and publications side by side; absent without real kernels.
pub(crate) fn beside(report: &Report, place: Place) -> Result<Option<Plot>, PlotError> {
    beside::plot(report, place)
}

/// The ladder of mechanisms; absent where no throughput was measured.
pub(crate) fn ladder(grid: &Grid, place: Place) -> Result<Option<Plot>, PlotError> {
    ladder::plot(grid, place)
}

/// A heat map per group of ops.
pub(crate) fn heatmaps(grid: &Grid, place: Place) -> Result<Vec<Plot>, PlotError> {
    heatmap::plots(grid, place)
}

/// A distribution per mechanism for each regime that was measured.
pub(crate) fn regimes(grid: &Grid, place: Place) -> Result<Vec<Plot>, PlotError> {
    regimes::plots(grid, place)
}

/// The steps of Linux's history for each regime that has them.
pub(crate) fn over_time(history: &History, grid: &Grid, place: Place) -> Result<Vec<Plot>, PlotError> {
    history::plots(history, grid, place)
}

/// Whether cells of a grid of this many mechanisms have room for their numbers.
#[must_use]
pub(crate) fn numbers_in_cells(mechanisms: usize) -> bool {
    mechanisms <= heatmap::MOST_WITH_NUMBERS
}

impl Plot {
    fn new(id: &str, title: String, description: String, svg: String) -> Self {
        Self { id: id.to_owned(), file_name: format!("{id}.svg"), title, description, svg }
    }
}
