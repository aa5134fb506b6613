//! `pvbench history`: the runs of a project over its commits. Each subcommand has a file.

mod accept;
mod add;
mod events;
mod export;
mod import;
mod list;
mod machine;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::Done;
use super::error::{self, CliError};
use super::exit::Exit;
use crate::history::accepted::AcceptedError;
use crate::history::commit::CommitError;
use crate::history::keep::NoTime;
use crate::history::store::{Entry, Listing, Skipped, Store, StoreError};
use crate::report::subject::{plain, reason};
use crate::select::select;

pub(crate) const EXAMPLES: &str = "Examples:
  pvbench history add reports/latest              this run, of the commit that is checked out
  pvbench history list
  pvbench history events                          what changed, by how much, and why
  pvbench history import old-reports/             a folder of older reports
  pvbench history export --format csv > runs.csv
  pvbench history machine alias amd-25-17-1-kvm-smt1 amd-25-17-1-kvm-smt2

A history is a folder with a small file per run. To merge two of them, copy the files of one into the other.";

/// Folder of a history if no option names one. It holds all suites of a project.
const FOLDER: &str = "reports/history";

/// Maximum number of warnings about files that are left out.
const MAX_WARNINGS: usize = 20;

/// Options of `history`.
#[derive(Args)]
pub struct HistoryArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Keep runs in a history
    #[command(after_help = add::EXAMPLES)]
    Add(add::AddArgs),
    /// List the runs of a history
    #[command(after_help = list::EXAMPLES)]
    List(list::ListArgs),
    /// Keep the reports of folders in a history
    #[command(after_help = import::EXAMPLES)]
    Import(import::ImportArgs),
    /// Write the values of a history as one table
    #[command(after_help = export::EXAMPLES)]
    Export(export::ExportArgs),
    /// Show what changed between the runs of a history
    #[command(after_help = events::EXAMPLES)]
    Events(events::EventsArgs),
    /// Accept an event, with who and why
    #[command(after_help = accept::EXAMPLES)]
    Accept(accept::AcceptArgs),
    /// Change what the machines of a history count as
    #[command(after_help = machine::EXAMPLES)]
    Machine(machine::MachineArgs),
}

/// Runs a subcommand.
pub fn history(args: &HistoryArgs) -> Done {
    match &args.command {
        Command::Add(args) => add::add(args),
        Command::List(args) => list::list(args),
        Command::Import(args) => import::import(args),
        Command::Export(args) => export::export(args),
        Command::Events(args) => events::events(args),
        Command::Accept(args) => accept::accept(args),
        Command::Machine(args) => machine::machine(args),
    }
}

/// The history that a command writes to.
#[derive(Args)]
struct Target {
    /// Folder of the history
    #[arg(long, value_name = "DIR", default_value = FOLDER)]
    to: PathBuf,
}

/// The history that a command reads, and what of it.
#[derive(Args)]
struct Source {
    /// Folder of the history
    #[arg(long, value_name = "DIR", default_value = FOLDER)]
    from: PathBuf,
    /// Machine classes: globs, separated by commas or in repeated options
    #[arg(long, value_name = "GLOB")]
    machine: Vec<String>,
}

impl Source {
    /// The store with the chosen runs, after warnings about files that are left out.
    fn open(&self) -> Result<(Store, Vec<Entry>), CliError> {
        let store = Store::new(&self.from);
        let Listing { entries, skipped } = store.list()?;
        warn_of(&skipped);
        let classes: Vec<&str> = entries.iter().map(|entry| entry.header.machine_class.as_str()).collect();
        let chosen = select("machine class", &self.machine, &classes)?;
        let mut entries: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
        let entries = chosen.into_iter().filter_map(|index| entries.get_mut(index)?.take()).collect();
        Ok((store, entries))
    }
}

/// Warns of files that are left out: the first ones by name, the others by number.
fn warn_of(skipped: &[Skipped]) {
    for Skipped { path, reason: why } in skipped.iter().take(MAX_WARNINGS) {
        error::warn(&format!("{} is left out: {}", show(path), reason(why)));
    }
    if let Some(more) = skipped.len().checked_sub(MAX_WARNINGS).filter(|more| *more > 0) {
        error::warn(&format!("{more} more files are left out"));
    }
}

/// A path from a folder that others write to, without control characters.
fn show(path: &Path) -> String {
    reason(&path.display().to_string())
}

/// The file of a report: a folder stands for its report.json.
fn report_in(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("report.json") } else { path.to_owned() }
}

/// A commit as a table has it.
fn short(id: &str) -> String {
    plain(&id.chars().take(12).collect::<String>())
}

/// An error of a history, with its exit code.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The commit cannot be found.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The accepted events cannot be read or changed.
    #[error(transparent)]
    Accepted(#[from] AcceptedError),
    /// A report cannot be kept.
    #[error("{}: {cause}", path.display())]
    Report {
        /// Its path.
        path: PathBuf,
        /// The cause.
        cause: NoTime,
    },
    /// The table cannot be written.
    #[error("the table cannot be written: {0}")]
    Table(String),
}

impl HistoryError {
    /// The exit code.
    pub(super) fn exit(&self) -> Exit {
        match self {
            HistoryError::Store(StoreError::Write(error)) if !error.is_usage() => Exit::Failed,
            HistoryError::Store(StoreError::Alias(crate::history::aliases::AliasError::Write(error)))
                if !error.is_usage() =>
            {
                Exit::Failed
            }
            HistoryError::Accepted(AcceptedError::Write(error)) if !error.is_usage() => Exit::Failed,
            HistoryError::Table(_) => Exit::Failed,
            _ => Exit::Usage,
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        CliError::History(error.into())
    }
}
