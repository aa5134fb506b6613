//! Plots as SVG, drawn from a report alone.
//!
//! [`all`] returns every plot as a file, with a style of its own, so that it follows light and dark mode wherever it is
//! opened. The page shows some of them in its own style and with fewer elements, because its tables have the values.

pub(crate) mod answer;
pub(crate) mod canvas;
mod comparison;
pub(crate) mod grid;
pub(crate) mod heatmap;
pub(crate) mod history;
mod ladder;
pub(crate) mod number;
mod regimes;
mod scale;
mod spread;
pub(crate) mod text_width;
mod themed;
mod workload;

use thiserror::Error;

use crate::regime::Regime;
use crate::report::Report;
use answer::Width;
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
    let mut plots: Vec<Plot> = answer(report, &grid, Medium::File, Width::Wide)?.into_iter().collect();
    plots.extend(ladder(&grid, Medium::File)?);
    plots.extend(heatmaps(&grid, Medium::File)?);
    plots.extend(regimes(&grid)?);
    if let Some(history) = History::of(report, &grid) {
        plots.extend(draw_history(&history, &grid, Medium::File, &Regime::ALL)?);
    }
    plots.extend(workloads(report)?);
    plots.extend(compare_kernels(report, Medium::File)?);
    Ok(plots)
}

/// What each way to a body costs, hot and cold; `None` if none of the ways was measured so.
pub(crate) fn answer(report: &Report, grid: &Grid, medium: Medium, width: Width) -> Result<Option<Plot>, PlotError> {
    answer::plot(report, grid, medium, width)
}

/// Bars for each workload: mechanisms and kernel options, ranked.
fn workloads(report: &Report) -> Result<Vec<Plot>, PlotError> {
    (0..report.workloads.len()).filter_map(|index| workload(report, index, Medium::File).transpose()).collect()
}

/// Bars for the workload with this index; `None` if the report has no such workload, or if nothing was measured.
pub(crate) fn workload(report: &Report, index: usize, medium: Medium) -> Result<Option<Plot>, PlotError> {
    report.workloads.get(index).map_or(Ok(None), |result| workload::plot(index, result, medium))
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
fn regimes(grid: &Grid) -> Result<Vec<Plot>, PlotError> {
    regimes::plots(grid, Medium::File)
}

/// For each of these regimes, the steps of Linux's history.
pub(crate) fn draw_history(
    history: &History,
    grid: &Grid,
    medium: Medium,
    regimes: &[Regime],
) -> Result<Vec<Plot>, PlotError> {
    history::plots(history, grid, medium, regimes)
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
