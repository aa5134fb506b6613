//! `pvbench history export`: the values of a history as one table.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{HistoryError, Source};
use crate::cli::Done;
use crate::cli::error::{self, CliError};
use crate::cli::exit::Exit;
use crate::cli::output::{self, stdout};
use crate::history::export::CsvTable;
use crate::history::names::Names;
use crate::history::store::{Entry, Store};

pub(super) const EXAMPLES: &str = "Examples:
  pvbench history export --format csv > runs.csv
  pvbench history export --format csv --machine 'amd-*' --out runs.csv

A row per cell and run, and per workload, kernel and run. The column unit is cycles for cells, percent for workloads.";

/// Options of `history export`.
#[derive(Args)]
pub struct ExportArgs {
    #[command(flatten)]
    source: Source,
    /// The format of the table
    #[arg(long, value_enum, ignore_case = true)]
    format: Format,
    /// Output file (default: standard output)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A format of the table.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Comma-separated values with the names of the columns
    Csv,
}

/// Writes the runs of a history as a table.
pub fn export(args: &ExportArgs) -> Done {
    let (store, entries) = args.source.open()?;
    let Format::Csv = args.format;
    match args.out.as_deref().filter(|path| !output::is_stdout(path)) {
        None => write_csv(&store, &entries, BufWriter::new(stdout()))?,
        Some(path) => {
            let mut table = Vec::new();
            write_csv(&store, &entries, &mut table)?;
            output::file(path, &table)?;
        }
    }
    Ok(Exit::Fine)
}

fn write_csv(store: &Store, entries: &[Entry], to: impl Write) -> Result<(), CliError> {
    let failed = |error: csv::Error| HistoryError::Table(error.to_string());
    let mut table = CsvTable::new(to).map_err(failed)?;
    let mut names = Names::default();
    for entry in entries {
        match store.read(entry, &mut names) {
            Ok(run) => table.add(&run).map_err(failed)?,
            Err(error) => error::warn(&format!("a run is left out: {error}")),
        }
    }
    Ok(table.finish().map_err(failed)?)
}
