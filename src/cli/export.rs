//! `pvbench export`: writes a report in the format of another tool.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Done;
use super::error;
use super::exit::Exit;
use super::output;
use crate::report::export::{self, Format};
use crate::report::read;

pub(crate) const EXAMPLES: &str = "Examples:
  pvbench export reports/latest/report.json --format bmf | bencher run --adapter json --file /dev/stdin
  pvbench export reports/latest/report.json --format gab --out benchmark.json
  pvbench export reports/latest/report.json --format csv > cells.csv";

/// Options of `export`.
#[derive(Args)]
pub struct ExportArgs {
    /// The report to export
    #[arg(value_name = "REPORT.json")]
    report: PathBuf,
    /// The format of the output
    #[arg(long, value_enum, ignore_case = true)]
    format: Format,
    /// Output file (default: standard output)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Reads a report and writes it in another format.
pub fn export(args: &ExportArgs) -> Done {
    let report = read::report(&args.report)?;
    let left_out = export::left_out(&report, args.format);
    if left_out > 0 {
        error::warn(&format!(
            "{left_out} cells and workloads without a measured value are left out: this format cannot express them; \
             `pvbench export --format csv` lists the reasons"
        ));
    }
    output::file(args.out.as_deref().unwrap_or(Path::new("-")), &export::export(&report, args.format)?)?;
    Ok(Exit::Fine)
}
