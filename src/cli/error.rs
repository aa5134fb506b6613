//! Errors of the command line: their messages and exit codes.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::exit::Exit;
use super::predict::CountsError;
use super::words;
#[cfg(feature = "audit")]
use crate::audit::page::PageError;
use crate::gate::budget::BudgetError;
use crate::host::PinError;
#[cfg(feature = "linux")]
use crate::linux::error::LinuxError;
use crate::measure::explain::ExplainError;
#[cfg(feature = "linux")]
use crate::replay::ReplayError;
use crate::report::export::ExportError;
use crate::report::read::ReadError;
use crate::report::render::RenderError;
use crate::report::write::WriteError;
use crate::run::process::ParentError;
use crate::run::samples::SamplesError;
use crate::run::worker::WorkerError;
use crate::select::FilterError;
use crate::suite::SuiteError;

/// An error that ends a command.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The suite cannot be measured.
    #[error(transparent)]
    Suite(#[from] SuiteError),
    /// A name or glob matches nothing.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Options contradict each other or are out of range.
    #[error("{0}")]
    Usage(String),
    /// Benchmarks of a test run failed.
    #[error("{0}")]
    Benchmarks(String),
    /// A report cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file of counts cannot be used.
    #[error(transparent)]
    Counts(#[from] CountsError),
    /// A budget file cannot be used.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// A binary of a budget file cannot be judged.
    #[cfg(feature = "audit")]
    #[error(transparent)]
    Binary(#[from] crate::gate::binaries::BinaryError),
    /// A binary cannot be audited.
    #[cfg(feature = "audit")]
    #[error(transparent)]
    Audit(#[from] crate::audit::AuditError),
    /// A program to be audited cannot be run.
    #[cfg(feature = "audit")]
    #[error(transparent)]
    Process(#[from] crate::audit::process::ProcessError),
    /// The counts of a run and a binary cannot be joined.
    #[cfg(feature = "audit")]
    #[error(transparent)]
    Join(#[from] crate::audit::join::JoinError),
    /// An export failed.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The page or a plot cannot be rendered.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The site of a history cannot be built.
    #[error(transparent)]
    Site(crate::site::SiteError),
    /// The instructions of an op cannot be shown.
    #[error(transparent)]
    Explain(#[from] ExplainError),
    /// The page of an audit cannot be rendered.
    #[error(transparent)]
    #[cfg(feature = "audit")]
    AuditPage(#[from] PageError),
    /// Instructions of a kernel cannot be counted.
    #[error(transparent)]
    #[cfg(feature = "linux")]
    Linux(#[from] LinuxError),
    /// A recording cannot be replayed.
    #[error(transparent)]
    #[cfg(feature = "linux")]
    Replay(#[from] ReplayError),
    /// A history cannot be read or written.
    #[error(transparent)]
    History(#[from] super::history::HistoryError),
    /// A samples file cannot be written or read.
    #[error(transparent)]
    Samples(#[from] SamplesError),
    /// Workers cannot be started.
    #[error(transparent)]
    Parent(#[from] ParentError),
    /// A CPU cannot be pinned to.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// This process is a worker, and failed.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A signal arrived before anything was measured.
    #[error("interrupted; nothing was written")]
    Interrupted,
    /// A run ended before anything could be judged.
    #[error("nothing was judged because the run is incomplete: {reason}; run the gate again")]
    Unjudged {
        /// Why the run ended.
        reason: String,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// JSON cannot be written.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl CliError {
    /// Returns the exit code of the error.
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
            #[cfg(feature = "audit")]
            CliError::Audit(_) | CliError::Binary(_) | CliError::Join(_) => Exit::Usage,
            CliError::Explain(ExplainError::NoSuchState { .. } | ExplainError::Absent { .. }) => Exit::Usage,
            CliError::Write(error) if error.is_usage() => Exit::Usage,
            CliError::History(error) => error.exit(),
            #[cfg(feature = "linux")]
            CliError::Linux(error) if error.is_usage() => Exit::Usage,
            #[cfg(feature = "linux")]
            CliError::Replay(error) if error.is_usage() => Exit::Usage,
            CliError::Pin(_) | CliError::Worker(WorkerError::Pin(_)) => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

/// Prints an error to standard error; in colour on a terminal unless `NO_COLOR` is set.
pub fn print(error: &CliError) {
    print_line("error", AnsiColor::Red, &error.to_string());
}

/// Prints a warning to standard error.
pub(crate) fn warn(message: &str) {
    print_line("warning", AnsiColor::Yellow, message);
}

/// Prints a plain line to standard error.
pub fn note(message: &str) {
    // A closed standard error has no reader to tell.
    let _ = writeln!(anstream::stderr(), "{}", words::message(message));
}

fn print_line(word: &str, color: AnsiColor, message: &str) {
    let message = words::message(message);
    let style = Style::new().bold().fg_color(Some(color.into()));
    // A closed standard error has no reader to tell.
    let _ = writeln!(anstream::stderr(), "{style}{word}:{style:#} {message}");
}
