//! The files of a report: page, plots, document.

use std::path::PathBuf;

use super::schema::Report;

/// Why a page or plot could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {}

/// Everything made from a report but itself, with paths relative to its folder.
///
/// # Errors
/// Where a template or plot fails.
pub fn files(_report: &Report) -> Result<Vec<(PathBuf, Vec<u8>)>, RenderError> {
    Ok(Vec::new())
}
