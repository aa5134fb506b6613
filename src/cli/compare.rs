//! `pvbench compare`: compares two reports.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::Done;
use super::error;
use super::exit::Exit;
use super::gate::warn_of_build;
use super::output::{self, FailedWrites, stdout};
use crate::gate::compare::Conclusion;
use crate::gate::{comparable, compare, terminal};
use crate::report::read;

pub(crate) const EXAMPLES: &str = "Example:
  pvbench compare old/report.json new/report.json

Overheads are compared: each was measured against inline within its own run. Everything that was not compared is listed
with the reason. Exit code 1: something regressed; 3: inconclusive, because nothing was compared, B lacks cells of A for
a stated reason, or a report is incomplete.";

/// Options of `compare`.
#[derive(Args)]
pub struct CompareArgs {
    /// The older report
    #[arg(value_name = "A.json")]
    before: PathBuf,
    /// The newer report
    #[arg(value_name = "B.json")]
    after: PathBuf,
    /// Compare times even if CPU model, microcode, mitigations or version of pvbench differ
    #[arg(long)]
    across_machines: bool,
    /// Write the comparison as JSON to FILE; - writes it to standard output instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also show unchanged cells and workloads
    #[arg(long)]
    all: bool,
}

/// Prints the changes between two reports.
pub fn compare(args: &CompareArgs) -> Done {
    args.json.as_deref().map(output::prepare).transpose()?;
    let (before, after) = (read::report(&args.before)?, read::report(&args.after)?);
    [&before, &after].into_iter().for_each(warn_of_build);
    let mut differences = comparable::between(&after, &before);
    if args.across_machines {
        differences.iter().for_each(|difference| error::warn(difference));
        differences.clear();
    }
    let comparison = compare::compare(&before, &after, differences);
    show(&comparison, args.json.as_deref(), args.all)
}

/// Prints a comparison, and returns the exit code that follows from it.
pub(super) fn show(comparison: &compare::ReportComparison, json: Option<&std::path::Path>, all: bool) -> Done {
    let mut unwritten = FailedWrites::default();
    if let Some(path) = json
        && let Some(mut text) = unwritten.note(serde_json::to_vec_pretty(comparison))
    {
        text.push(b'\n');
        unwritten.note(output::file(path, &text));
    }
    if !json.is_some_and(output::is_stdout) {
        write!(stdout(), "{}", terminal::comparison(comparison, all))?;
    }
    Ok(unwritten.ended(match comparison.conclusion() {
        Conclusion::Regressed => Exit::Exceeded,
        Conclusion::Inconclusive => Exit::Inconclusive,
        Conclusion::Fine => Exit::Fine,
    }))
}
