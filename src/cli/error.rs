//! Errors of the command line: what to print, and which exit code they are.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::exit::Exit;
use super::predict::CountsError;
use super::words;
use crate::gate::budget::BudgetError;
use crate::host::PinError;
#[cfg(feature = "linux")]
use crate::linux::error::LinuxError;
use crate::measure::explain::ExplainError;
use crate::measure::parent::ParentError;
use crate::measure::worker::WorkerError;
use crate::report::export::ExportError;
use crate::report::read::ReadError;
use crate::report::render::RenderError;
use crate::report::write::WriteError;
use crate::run::samples::SamplesError;
use crate::select::FilterError;
use crate::suite::SuiteError;

/// Anything that ends a command.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A suite that cannot be measured.
    #[error(transparent)]
    Suite(#[from] SuiteError),
    /// A name that is not there.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Options that do not go together or are out of range.
    #[error("{0}")]
    Usage(String),
    /// Benchmarks that do not work.
    #[error("{0}")]
    Benchmarks(String),
    /// A report that cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Counts that cannot be used.
    #[error(transparent)]
    Counts(#[from] CountsError),
    /// Budgets that cannot be used.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// An export that cannot be made.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A file that cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A page that cannot be made.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Instructions that cannot be shown.
    #[error(transparent)]
    Explain(#[from] ExplainError),
    /// Kernels that cannot be counted.
    #[error(transparent)]
    #[cfg(feature = "linux")]
    Linux(#[from] LinuxError),
    /// Samples that cannot be kept or read.
    #[error(transparent)]
    Samples(#[from] SamplesError),
    /// Workers that cannot be run.
    #[error(transparent)]
    Parent(#[from] ParentError),
    /// A CPU that cannot be had.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// A worker's own end.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// Stopped by a signal before anything was measured.
    #[error("interrupted; nothing was written")]
    Interrupted,
    /// A run that ended before anything could be judged.
    #[error("nothing was judged, as the run is incomplete: {reason}; run the gate again")]
    Unjudged {
        /// Why it ended.
        reason: String,
    },
    /// Standard output.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// JSON for standard output.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl CliError {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            CliError::Suite(_)
            | CliError::Filter(_)
            | CliError::Usage(_)
            | CliError::Read(_)
            | CliError::Samples(_)
            | CliError::Counts(_)
            | CliError::Budget(_) => Exit::Usage,
            CliError::Explain(ExplainError::NoSuchState { .. } | ExplainError::Absent { .. }) => Exit::Usage,
            CliError::Write(error) if error.is_usage() => Exit::Usage,
            #[cfg(feature = "linux")]
            CliError::Linux(error) if error.is_usage() => Exit::Usage,
            CliError::Pin(_) | CliError::Worker(WorkerError::Pin(_)) => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

/// Prints an error to standard error; in colour on a terminal unless NO_COLOR says otherwise.
pub fn print(error: &CliError) {
    say("error", AnsiColor::Red, &error.to_string());
}

/// Prints a warning to standard error.
pub fn warn(message: &str) {
    say("warning", AnsiColor::Yellow, message);
}

/// Prints a line to standard error that is neither.
pub fn note(message: &str) {
    // As below.
    let _ = writeln!(anstream::stderr(), "{}", words::message(message));
}

fn say(word: &str, color: AnsiColor, message: &str) {
    let message = words::message(message);
    let style = Style::new().bold().fg_color(Some(color.into()));
    // If standard error is closed there is nobody left to tell.
    let _ = writeln!(anstream::stderr(), "{style}{word}:{style:#} {message}");
}
