//! `pvbench history list`: the runs of a history.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::{Source, short, show};
use crate::cli::Done;
use crate::cli::exit::Exit;
use crate::cli::output::stdout;
use crate::cli::pager;
use crate::history::kept::Header;
use crate::history::names::Names;
use crate::history::store::{Entry, read_run};
use crate::report::subject::plain;

pub(super) const EXAMPLES: &str = "Examples:
  pvbench history list
  pvbench history list --machine 'amd-*' --from history
  pvbench history list --json
  pvbench history list runs/amd-25-17-1-kvm-smt2/20261130T191739Z-0123456789ab-89abcdef.pvr

A file that is damaged, or that a newer pvbench wrote, is left out with a warning. If it is named, the exit code is 2.";

/// Options of `history list`.
#[derive(Args)]
pub struct ListArgs {
    /// Run files to show (default: all of the history)
    #[arg(value_name = "RUN.pvr", conflicts_with_all = ["from", "machine"])]
    runs: Vec<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Print the facts of each run as JSON
    #[arg(long)]
    json: bool,
}

/// A run as `--json` prints it.
#[derive(Serialize)]
struct Listed<'a> {
    path: String,
    bytes: u64,
    #[serde(flatten)]
    header: &'a Header,
}

/// Prints the runs of a history, or those of named files.
pub fn list(args: &ListArgs) -> Done {
    let entries = if args.runs.is_empty() { args.source.open()?.1 } else { read_named(args)? };
    if args.json {
        let listed = entries.iter().map(|Entry { path, bytes, header, .. }| Listed {
            path: path.display().to_string(),
            bytes: *bytes,
            header,
        });
        let listed: Vec<Listed<'_>> = listed.collect();
        let _ = writeln!(stdout(), "{}", serde_json::to_string_pretty(&listed)?);
        return Ok(Exit::Fine);
    }
    pager::print(&table(&entries));
    Ok(Exit::Fine)
}

/// Reads files that are asked for by name, whole: a damaged one is an error.
fn read_named(args: &ListArgs) -> Result<Vec<Entry>, super::CliError> {
    let mut names = Names::default();
    let mut entries = Vec::new();
    for path in &args.runs {
        let run = read_run(path, &mut names)?;
        let bytes = std::fs::metadata(path).map_or(0, |found| found.len());
        entries.push(Entry { path: path.clone(), digest: [0; 32], bytes, header: run.header });
    }
    Ok(entries)
}

fn table(entries: &[Entry]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["started", "commit", "machine", "suite", "preset", "KB", "subject"]);
    for Entry { bytes, header, .. } in entries {
        let commit = header.commit.as_ref();
        let mut id = commit.map_or_else(|| "none".to_owned(), |commit| short(&commit.id));
        if commit.and_then(|commit| commit.dirty) == Some(true) {
            id.push('*');
        }
        table.add_row([
            plain(&header.started),
            id,
            plain(&header.machine_class),
            plain(&header.suite),
            plain(&header.preset),
            bytes.div_ceil(1000).to_string(),
            commit.and_then(|commit| commit.subject.as_deref()).map(plain).unwrap_or_default(),
        ]);
    }
    if let Some(column) = table.column_mut(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect::<String>();
    let dirty = entries.iter().any(|entry| entry.header.commit.as_ref().is_some_and(|it| it.dirty == Some(true)));
    let note = if dirty { "* files differed from the commit when the run was added\n" } else { "" };
    let number = entries.len();
    let first = entries.first().map_or_else(String::new, |entry| format!("; the first is {}", show(&entry.path)));
    format!("{lines}{note}{number} {}{first}\n", if number == 1 { "run" } else { "runs" })
}
