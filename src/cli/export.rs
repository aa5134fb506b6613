//! `pvbench export`

use std::path::{Path, PathBuf};

use clap::Args;

use super::Done;
use super::error;
use super::exit::Exit;
use super::output;
use crate::report::export::{self, Format};
use crate::report::read;

pub const EXAMPLES: &str = "Examples:
  pvbench export reports/latest/report.json --format bmf | bencher run --adapter json --file /dev/stdin
  pvbench export reports/latest/report.json --format gab --out benchmark.json
  pvbench export reports/latest/report.json --format csv > cells.csv";

/// Options of `export`.
#[derive(Args)]
pub struct ExportArgs {
    /// The report
    #[arg(value_name = "REPORT.json")]
    report: PathBuf,
    /// The format
    #[arg(long, value_enum)]
    format: Format,
    /// Where to write it (default: standard output)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Reads a report and writes it in another format.
pub fn export(args: &ExportArgs) -> Done {
    let report = read::report(&args.report)?;
    let left_out = export::left_out(&report, args.format);
    if left_out > 0 {
        error::warn(&format!(
            "{left_out} cells and workloads have no number and are left out: this format has no word for it; \
             `pvbench export --format csv` has the reasons"
        ));
    }
    output::file(args.out.as_deref().unwrap_or(Path::new("-")), &export::export(&report, args.format)?)?;
    Ok(Exit::Fine)
}
