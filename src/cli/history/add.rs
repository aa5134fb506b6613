//! `pvbench history add`: keeps runs.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{HistoryError, Target, report_in, show};
use crate::cli::Done;
use crate::cli::error::{self, CliError};
use crate::cli::exit::Exit;
use crate::cli::output::stdout;
use crate::history::commit::{self, CommitError};
use crate::history::keep::keep;
use crate::history::kept::Commit;
use crate::history::store::{Added, Store};
use crate::report::read;

pub(super) const EXAMPLES: &str = "Examples:
  pvbench history add reports/latest              the commit that is checked out here
  pvbench history add report.json --commit v1.2.0 --repo ../project
  pvbench history add reports/*/report.json --to history

A run that is in the history already stays as it is. Nothing in a history is ever rewritten.";

/// Options of `history add`.
#[derive(Args)]
pub struct AddArgs {
    /// Reports, or folders that hold report.json
    #[arg(value_name = "REPORT", required = true)]
    reports: Vec<PathBuf>,
    #[command(flatten)]
    target: Target,
    /// The commit that was measured (default: the one that is checked out)
    #[arg(long, value_name = "COMMIT")]
    commit: Option<String>,
    /// A folder of the clone that has the commit (default: this folder)
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
}

/// Adds each report, and goes on after one that cannot be added.
pub fn add(args: &AddArgs) -> Done {
    let commit = find_commit(args)?;
    let store = Store::new(&args.target.to);
    let mut exit = Exit::Fine;
    for report in &args.reports {
        if let Err(error) = add_report(&store, &report_in(report), commit.clone()) {
            error::print(&error);
            exit = exit.worse(error.exit());
        }
    }
    Ok(exit)
}

/// The commit of the runs. Outside of a clone there is none, unless the options name one.
fn find_commit(args: &AddArgs) -> Result<Option<Commit>, CliError> {
    let folder = args.repo.as_deref().unwrap_or(Path::new("."));
    match commit::find(folder, args.commit.as_deref()) {
        Ok(found) => {
            if let Some(note) = found.note {
                error::warn(&note);
            }
            Ok(Some(found.commit))
        }
        Err(CommitError::NoClone { .. } | CommitError::NoGit(_) | CommitError::Unknown { .. })
            if args.commit.is_none() && args.repo.is_none() =>
        {
            error::warn(
                "no commit is checked out here, so the run is kept without one; name it by --commit and --repo",
            );
            Ok(None)
        }
        Err(error) => Err(CliError::History(error.into())),
    }
}

/// Adds a report, and says where it is.
pub(super) fn add_report(store: &Store, path: &Path, commit: Option<Commit>) -> Result<Added, CliError> {
    let report = read::report(path)?;
    let run = keep(&report, commit).map_err(|cause| HistoryError::Report { path: path.to_owned(), cause })?;
    let added = store.add(&run)?;
    let (cells, workloads) = (run.cells.len(), run.workloads.len());
    let done = if added.is_new { "added" } else { "already there" };
    // Writes to standard output do not fail; lost output is reported at the end.
    let _ = writeln!(stdout(), "{done}: {} ({cells} cells, {workloads} workloads)", show(&added.path));
    Ok(added)
}
