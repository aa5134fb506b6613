//! Export of a report to the formats of other tools. Each format has a file of its own.

pub mod bmf;
pub mod csv;
pub mod gab;
pub mod markdown;

use clap::ValueEnum;

use super::Report;
use super::subject::kernels;

/// An export format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Bencher Metric Format: JSON for `bencher run --adapter json`
    Bmf,
    /// github-action-benchmark: JSON for `tool: customSmallerIsBetter`
    Gab,
    /// CSV: one line per cell and per workload on a kernel
    Csv,
    /// Markdown: tables for a summary or a page
    Markdown,
}

/// Failure to export a report.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The export could not be written as JSON.
    #[error("cannot write the export as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The export could not be written as CSV.
    #[error("cannot write the export as CSV: {0}")]
    Csv(#[from] ::csv::Error),
}

/// The text of a report in a format.
///
/// # Errors
/// An [`ExportError`] from the writer of the format.
pub fn export(report: &Report, format: Format) -> Result<Vec<u8>, ExportError> {
    match format {
        Format::Bmf => bmf::export(report),
        Format::Gab => gab::export(report),
        Format::Csv => csv::export(report),
        Format::Markdown => Ok(markdown::export(report).into_bytes()),
    }
}

/// The number of cells and kernels of workloads that a format leaves out, because they have no number.
#[must_use]
pub fn left_out(report: &Report, format: Format) -> usize {
    let cells = report.cells.iter();
    let workloads = kernels(report);
    match format {
        Format::Bmf => {
            cells.filter(|cell| cell.overhead.is_none() && cell.instructions.is_none()).count()
                + workloads.filter(|(_, of)| of.overhead_percent.is_none() && of.overhead_cycles.is_none()).count()
        }
        Format::Gab => {
            cells.filter(|cell| cell.overhead.is_none() || cell.native_cycles.is_none()).count()
                + workloads
                    .filter(|(of, kernel)| of.inline_cycles.is_none() || kernel.overhead_cycles.is_none())
                    .count()
        }
        Format::Csv | Format::Markdown => 0,
    }
}
