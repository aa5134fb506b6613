//! `pvbench report`: renders a report again.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Done;
use super::exit::Exit;
use super::open;
use super::output::stdout;
use crate::report::{read, render, stale, write};
use crate::run::samples;
use crate::suite::Suite;

pub(crate) const EXAMPLES: &str = "Examples:
  pvbench report reports/latest/report.json --out public/
  pvbench report reports/latest/report.json --open
  pvbench report --samples run.samples --out again/     from the samples of `pvbench run --samples run.samples`";

/// Options of `report`.
#[derive(Args)]
pub struct ReportArgs {
    /// The report to render
    #[arg(value_name = "REPORT.json", required_unless_present = "samples")]
    report: Option<PathBuf>,
    /// Make the report itself again, from the samples of `run --samples FILE`
    #[arg(long, value_name = "FILE", conflicts_with = "report", requires = "out")]
    samples: Option<PathBuf>,
    /// Folder for index.html and plots/ (default: the folder of the report)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Open the page in $BROWSER, or with xdg-open
    #[arg(long)]
    open: bool,
}

/// Reads a report, or makes it from samples, and writes its page and plots.
pub fn report(args: &ReportArgs, suite: &Suite) -> Done {
    let path = args.report.as_deref().unwrap_or(Path::new(""));
    let report = match &args.samples {
        // The page is made from the numbers as they are written: six digits.
        Some(samples) => {
            let document = write::json(&samples::report(samples, suite)?)?;
            serde_json::from_slice(&document)?
        }
        None => read::report(path)?,
    };
    let own = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let folder = args.out.as_deref().unwrap_or(own);
    let mut files = render::files(&report)?;
    if args.out.is_some() {
        files.push(("report.json".into(), write::json(&report)?));
    }
    stale::replace(folder, files)?;
    let page = folder.join("index.html");
    writeln!(stdout(), "{}", page.display())?;
    if args.open {
        open::page(&page);
    }
    Ok(Exit::Fine)
}
