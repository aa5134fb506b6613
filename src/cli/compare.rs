//! `pvbench compare`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::Done;
use super::error;
use super::exit::Exit;
use super::gate::warn_of_build;
use super::output::{self, Unwritten, stdout};
use crate::gate::compare::Conclusion;
use crate::gate::{comparable, compare, terminal};
use crate::report::read;

pub const EXAMPLES: &str = "Example:
  pvbench compare old/report.json new/report.json

Overheads are compared, which were measured against inline within each run. What cannot be compared is listed with the
reason. Exit code 1: something regressed; 3: it cannot be told, for nothing was compared, B lacks what A measured, or a
report is incomplete.";

/// Options of `compare`.
#[derive(Args)]
pub struct CompareArgs {
    /// The report to compare with
    #[arg(value_name = "A.json")]
    before: PathBuf,
    /// The report that is compared
    #[arg(value_name = "B.json")]
    after: PathBuf,
    /// Compare times although CPU model, microcode, mitigations or version of pvbench differ
    #[arg(long)]
    across_machines: bool,
    /// As JSON, into a file; - for standard output, instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Show what did not change, too
    #[arg(long)]
    all: bool,
}

/// Says what changed.
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

/// Prints a comparison, and says how to end.
pub(super) fn show(comparison: &compare::ReportComparison, json: Option<&std::path::Path>, all: bool) -> Done {
    let mut unwritten = Unwritten::default();
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
