//! The files that are made from a report: page and plots.

use std::path::PathBuf;

use super::html::{self, HtmlError};
use super::plots::{self, PlotError};
use super::schema::Report;

/// Failure to make a page or plot.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The page failed.
    #[error(transparent)]
    Page(#[from] HtmlError),
    /// A plot failed.
    #[error(transparent)]
    Plot(#[from] PlotError),
}

/// The page and the plots of a report, with paths relative to the report's folder.
///
/// # Errors
/// When a template or plot fails.
pub fn files(report: &Report) -> Result<Vec<(PathBuf, Vec<u8>)>, RenderError> {
    let mut files = Vec::new();
    for plot in plots::all(report)? {
        files.push((PathBuf::from("plots").join(plot.file_name), plot.svg.into_bytes()));
    }
    files.push(("index.html".into(), html::page(report)?.into_bytes()));
    Ok(files)
}
