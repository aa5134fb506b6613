//! The files of a report: page and plots.

use std::path::PathBuf;

use super::html::{self, HtmlError};
use super::plots::{self, PlotError};
use super::schema::Report;

/// Why a page or plot could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The page.
    #[error(transparent)]
    Page(#[from] HtmlError),
    /// A plot.
    #[error(transparent)]
    Plot(#[from] PlotError),
}

/// Everything made from a report but itself, with paths relative to its folder.
///
/// # Errors
/// Where a template or plot fails.
pub fn files(report: &Report) -> Result<Vec<(PathBuf, Vec<u8>)>, RenderError> {
    let mut files = Vec::new();
    for plot in plots::all(report)? {
        files.push((PathBuf::from("plots").join(plot.file_name), plot.svg.into_bytes()));
    }
    files.push(("index.html".into(), html::page(report)?.into_bytes()));
    Ok(files)
}
