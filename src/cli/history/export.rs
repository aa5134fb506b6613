//! `pvbench history export`: the values of a history as one table.

use std::fmt::Display;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{HistoryError, Source};
use crate::cli::Done;
use crate::cli::error::{self, CliError};
use crate::cli::exit::Exit;
use crate::cli::output::{self, stdout};
use crate::history::export::CsvTable;
use crate::history::kept::KeptRun;
use crate::history::names::Names;
use crate::history::store::{Entry, Store};
use crate::report::write;

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
    /// Apache Parquet, with a row group per run
    #[cfg(feature = "history-parquet")]
    Parquet,
    /// An SQLite database with the table history
    #[cfg(feature = "history-sqlite")]
    Sqlite,
}

/// Writes the runs of a history as a table.
pub fn export(args: &ExportArgs) -> Done {
    let (store, entries) = args.source.open()?;
    match args.out.as_deref().filter(|path| !output::is_stdout(path)) {
        None if args.format == Format::Csv => write_csv(&store, &entries, BufWriter::new(stdout()))?,
        None => return Err(CliError::Usage("this format is not for a terminal; name a file by --out".to_owned())),
        Some(path) => write::filled(path, |file| match args.format {
            Format::Csv => write_csv(&store, &entries, BufWriter::new(file.as_file_mut())),
            #[cfg(feature = "history-parquet")]
            Format::Parquet => write_parquet(&store, &entries, file.as_file_mut()),
            #[cfg(feature = "history-sqlite")]
            Format::Sqlite => write_sqlite(&store, &entries, file.path()),
        })?,
    }
    Ok(Exit::Fine)
}

/// Adds every run to a table. A run that cannot be read any more is left out.
fn add_all<E: Display>(
    (store, entries): (&Store, &[Entry]),
    mut add: impl FnMut(&KeptRun) -> Result<(), E>,
) -> Result<(), CliError> {
    let mut names = Names::default();
    for entry in entries {
        match store.read(entry, &mut names) {
            Ok(run) => add(&run).map_err(failed)?,
            Err(error) => error::warn(&format!("a run is left out: {error}")),
        }
    }
    Ok(())
}

fn failed(error: impl Display) -> CliError {
    HistoryError::Table(error.to_string()).into()
}

fn write_csv(store: &Store, entries: &[Entry], to: impl Write) -> Result<(), CliError> {
    let mut table = CsvTable::new(to).map_err(failed)?;
    add_all((store, entries), |run| table.add(run))?;
    table.finish().map_err(failed)
}

#[cfg(feature = "history-parquet")]
fn write_parquet(store: &Store, entries: &[Entry], to: impl Write + Send) -> Result<(), CliError> {
    let mut table = crate::history::export::parquet::ParquetTable::new(BufWriter::new(to)).map_err(failed)?;
    add_all((store, entries), |run| table.add(run))?;
    table.finish().map_err(failed)
}

#[cfg(feature = "history-sqlite")]
fn write_sqlite(store: &Store, entries: &[Entry], path: &std::path::Path) -> Result<(), CliError> {
    let mut table = crate::history::export::sqlite::SqliteTable::new(path).map_err(failed)?;
    add_all((store, entries), |run| table.add(run))?;
    table.finish().map_err(failed)
}
