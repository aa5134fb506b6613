//! Plots as SVG, drawn from a report alone.
//!
//! The page shows the same drawings that [`all`] returns as files. A file has a style of its own, so that it follows
//! light and dark mode wherever it is opened. A drawing in the page uses the style of the page.

mod canvas;
mod comparison;
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
    /// Identifier in the page: `ladder`, `heatmap-mmu`, `regime-latency`.
    pub id: String,
    /// Name of the file, which ends in `.svg`.
    pub file_name: String,
    /// Title of the plot.
    pub title: String,
    /// Description of the plot in words, with the key numbers.
    pub description: String,
    /// The SVG document.
    pub svg: String,
}

/// Failure to draw a plot.
#[derive(Debug, Error)]
pub enum PlotError {
    /// plotters failed.
    #[error("a plot could not be drawn: {0}; report.json holds the same numbers")]
    Draw(String),
    /// The built-in published figures do not parse.
    #[error("the published figures of this build cannot be read: {0}; build it again from an untouched source")]
    Published(#[from] toml::de::Error),
}

/// Destination of a plot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    /// A file, which needs a style and a legend of its own.
    File,
    /// The page, which has both.
    Page,
}

/// All plots of a report as files; empty for a report without a measured cell.
///
/// # Errors
/// When a plot cannot be drawn.
pub fn all(report: &Report) -> Result<Vec<Plot>, PlotError> {
    let grid = Grid::new(report);
    let mut plots: Vec<Plot> = ladder(&grid, Medium::File)?.into_iter().collect();
    plots.extend(heatmaps(&grid, Medium::File)?);
    plots.extend(regimes(&grid, Medium::File)?);
    if let Some(history) = History::of(report, &grid) {
        plots.extend(over_time(&history, &grid, Medium::File)?);
    }
    plots.extend(workloads(report, Medium::File, "")?);
    plots.extend(compare_kernels(report, Medium::File)?);
    Ok(plots)
}

/// Bars for each workload: mechanisms and kernel options, ranked. The page shows kernel options only for the workload
/// called `whole`, for lack of room; files show them for every workload.
pub(crate) fn workloads(report: &Report, medium: Medium, whole: &str) -> Result<Vec<Plot>, PlotError> {
    let plot = |(index, result): (usize, &crate::report::schema::WorkloadResult)| {
        let options = medium == Medium::File || result.name == whole;
        workload::plot(index, result, medium, options).transpose()
    };
    report.workloads.iter().enumerate().filter_map(plot).collect()
}

/// Bars of real kernels, the model kernel and publications; `None` without real kernels.
pub(crate) fn compare_kernels(report: &Report, medium: Medium) -> Result<Option<Plot>, PlotError> {
    comparison::plot(report, medium)
}

/// The ladder of mechanisms; `None` if nothing was measured in throughput.
pub(crate) fn ladder(grid: &Grid, medium: Medium) -> Result<Option<Plot>, PlotError> {
    ladder::plot(grid, medium)
}

/// A heat map per group of ops.
pub(crate) fn heatmaps(grid: &Grid, medium: Medium) -> Result<Vec<Plot>, PlotError> {
    heatmap::plots(grid, medium)
}

/// For each measured regime, the distribution of overheads per mechanism.
pub(crate) fn regimes(grid: &Grid, medium: Medium) -> Result<Vec<Plot>, PlotError> {
    regimes::plots(grid, medium)
}

/// For each regime of a history, the steps of Linux's history.
pub(crate) fn over_time(history: &History, grid: &Grid, medium: Medium) -> Result<Vec<Plot>, PlotError> {
    history::plots(history, grid, medium)
}

/// Whether a heat map of this many mechanisms has room for numbers in its cells.
#[must_use]
pub(crate) fn numbers_in_cells(mechanisms: usize) -> bool {
    mechanisms <= heatmap::MAX_WITH_NUMBERS
}

impl Plot {
    fn new(id: &str, title: String, description: String, svg: String) -> Self {
        Self { id: id.to_owned(), file_name: format!("{id}.svg"), title, description, svg }
    }
}
