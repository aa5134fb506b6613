//! `pvbench history import`: keeps the reports of folders.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Target, add, show};
use crate::cli::Done;
use crate::cli::error::{self, CliError};
use crate::cli::exit::Exit;
use crate::cli::output::stdout;
use crate::history::commit::{self, Clone};
use crate::history::kept::Commit;
use crate::history::store::Store;

pub(super) const EXAMPLES: &str = "Examples:
  pvbench history import old-reports/
  pvbench history import ci-artefacts/ --repo ../project --to history

Every report.json and other report below the folders is added. If a folder on the way to it has a name that ends with a
commit of the clone (a1b2c3d, 2026-11-30-a1b2c3d), the run gets that commit; otherwise it has none.";

/// Maximum depth of folders.
const MAX_DEPTH: usize = 16;
/// Maximum number of files that are looked at.
const MAX_FILES: usize = 1_000_000;
/// What every report has in its first bytes.
const MARK: &[u8] = b"\"pvbench.report/";
/// Number of these bytes.
const HEAD_BYTES: u64 = 256;

/// Options of `history import`.
#[derive(Args)]
pub struct ImportArgs {
    /// Folders with reports
    #[arg(value_name = "DIR", required = true)]
    folders: Vec<PathBuf>,
    #[command(flatten)]
    target: Target,
    /// A folder of the clone that has the commits (default: this folder)
    #[arg(long, value_name = "DIR", default_value = ".")]
    repo: PathBuf,
}

/// Adds every report of the folders. Reports that cannot be read are named and left out.
pub fn import(args: &ImportArgs) -> Done {
    let clone = Clone::open(&args.repo).ok();
    let store = Store::new(&args.target.to);
    let (mut new, mut known, mut left_out) = (0, 0, 0);
    for folder in &args.folders {
        let mut reports = Vec::new();
        find_reports(folder, MAX_DEPTH, &mut reports)
            .map_err(|source| CliError::Usage(format!("{}: {source}", folder.display())))?;
        reports.sort();
        for report in reports {
            let commit = clone.as_ref().and_then(|clone| commit_on_the_way(clone, folder, &report));
            match add::add_report(&store, &report, commit) {
                Ok(added) if added.is_new => new += 1,
                Ok(_) => known += 1,
                // A report that is bad is left out. A disk that is full ends the command.
                Err(error) if error.exit() == Exit::Usage => {
                    error::warn(&format!("{} is left out: {error}", show(&report)));
                    left_out += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
    let _ = writeln!(stdout(), "{new} runs added, {known} already there, {left_out} reports left out");
    if new + known == 0 {
        return Err(CliError::Usage("no report was found; name folders with report.json files".to_owned()));
    }
    Ok(Exit::Fine)
}

/// Finds the reports below a folder. Links are not followed.
fn find_reports(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() && depth > 0 {
            find_reports(&path, depth - 1, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|it| it == "json") && is_report(&path) {
            found.push(path);
        }
        if found.len() > MAX_FILES {
            return Err(std::io::Error::other(format!("more than {MAX_FILES} reports")));
        }
    }
    Ok(())
}

/// Whether a file begins as a report of any version does.
fn is_report(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    read.is_ok() && head.windows(MARK.len()).any(|window| window == MARK)
}

/// The commit that a folder between `root` and a report is named after, the nearest one first.
fn commit_on_the_way(clone: &Clone, root: &Path, report: &Path) -> Option<Commit> {
    let names = report.ancestors().skip(1).take_while(|folder| folder.starts_with(root)).filter_map(Path::file_name);
    names.filter_map(commit::commit_in_name).find_map(|name| {
        let id = clone.resolve(name).ok().flatten()?;
        clone.describe(&id).ok()
    })
}
