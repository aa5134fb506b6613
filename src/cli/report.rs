//! `pvbench report`

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Done;
use super::exit::Exit;
use crate::report::{read, render, stale, write};

pub const EXAMPLES: &str = "Example:\n  pvbench report reports/latest/report.json --out public/";

/// Options of `report`.
#[derive(Args)]
pub struct ReportArgs {
    /// The report
    #[arg(value_name = "REPORT.json")]
    report: PathBuf,
    /// Where to write index.html and plots/ (default: the report's own folder)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Reads a report and makes everything else from it again.
pub fn report(args: &ReportArgs) -> Done {
    let report = read::report(&args.report)?;
    let own = args.report.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let folder = args.out.as_deref().unwrap_or(own);
    let mut files = render::files(&report)?;
    if args.out.is_some() {
        files.push(("report.json".into(), write::json(&report)?));
    }
    stale::replace(folder, files)?;
    writeln!(anstream::stdout(), "{}", folder.join("index.html").display())?;
    Ok(Exit::Fine)
}
