//! Failure to make a site.

use crate::report::plots::PlotError;
use crate::report::write::WriteError;

/// Failure to make a site.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// A plot failed.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// A template failed.
    #[error("a page of the site could not be written from its template: {0}; the history is untouched")]
    Template(#[from] askama::Error),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The document of the events could not be written.
    #[error("events.json was not written: {0}")]
    Json(#[from] serde_json::Error),
    /// A thread that renders pages ended early.
    #[error("a thread that renders pages ended early; the old site is untouched; build it again")]
    Thread,
}
