//! `pvbench show`: prints the tables of a report.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::Done;
use super::error::CliError;
use super::exit::Exit;
use super::pager;
use crate::report::schema::Cell;
use crate::report::terminal::{self, Section};
use crate::report::{Report, read, subject};
use crate::select::{FilterError, select};

pub(crate) const EXAMPLES: &str = "Examples:
  pvbench show reports/latest                      mechanisms, workloads, floors and notes
  pvbench show reports/latest answer               what the run printed at its end
  pvbench show reports/latest --op pte_val         a line per cell
  pvbench show reports/latest --regime throughput --mechanism 'table,dyn'
  pvbench show reports/latest/report.json cells > cells.txt

A table is as wide as the terminal, or as COLUMNS. In a pipe it is as wide as it needs to be.
A terminal gets the text through $PAGER, or through less.";

/// Options of `show`.
#[derive(Args)]
pub struct ShowArgs {
    /// The report, or the folder that holds report.json
    #[arg(value_name = "REPORT")]
    report: PathBuf,
    /// The tables to print (default: all but answer and cells; with --op cells, with --regime mechanisms, with
    /// --workload workloads)
    #[arg(value_name = "TABLE", value_enum, ignore_case = true)]
    tables: Vec<Table>,
    /// Ops to show: globs, separated by commas or in repeated options
    #[arg(long, value_name = "GLOB")]
    op: Vec<String>,
    /// Mechanisms to show
    #[arg(long, value_name = "GLOB")]
    mechanism: Vec<String>,
    /// Regimes to show
    #[arg(long, value_name = "GLOB")]
    regime: Vec<String>,
    /// Workloads to show
    #[arg(long, value_name = "GLOB")]
    workload: Vec<String>,
}

/// A table, or all of them.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Table {
    /// What a run prints at its end
    Answer,
    /// Mechanisms over the ops, a table per regime
    #[value(alias = "mechanism")]
    Mechanisms,
    /// Workloads on kernels with each mechanism and option
    #[value(alias = "workload")]
    Workloads,
    /// A real kernel's hooks in percent of the running kernel's time
    #[value(name = "kernel-time")]
    KernelTime,
    /// Floors of the regimes, and the core
    #[value(alias = "floor")]
    Floors,
    /// Seed, conditions, what the report lacks, and failures
    #[value(alias = "note")]
    Notes,
    /// A line per cell: estimate, interval, floor, and whether it is resolved
    #[value(alias = "cell")]
    Cells,
    /// All of these
    All,
}

/// Reads a report and prints the selected tables.
pub fn show(args: &ShowArgs) -> Done {
    let mut report = read::report(&find(&args.report))?;
    let sections = args.sections();
    args.select(&mut report, &sections)?;
    let text = terminal::show(&report, &sections, pager::width());
    // Sections begin with a blank line.
    pager::print(text.trim_start_matches('\n'));
    Ok(Exit::Fine)
}

/// The file of a report: a folder stands for its report.json.
fn find(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("report.json") } else { path.to_owned() }
}

impl ShowArgs {
    /// The sections that are named, or those that the options ask for.
    fn sections(&self) -> Vec<Section> {
        let named = |table: &Table| match table {
            Table::Answer => vec![Section::Answer],
            Table::Mechanisms => vec![Section::Mechanisms],
            Table::Workloads => vec![Section::Workloads],
            Table::KernelTime => vec![Section::KernelTime],
            Table::Floors => vec![Section::Floors],
            Table::Notes => vec![Section::Notes],
            Table::Cells => vec![Section::Cells],
            Table::All => Section::ALL.to_vec(),
        };
        if !self.tables.is_empty() {
            return self.tables.iter().flat_map(named).collect();
        }
        let of_cells = match (self.op.is_empty(), self.regime.is_empty()) {
            (false, _) => Some(Section::Cells),
            (true, false) => Some(Section::Mechanisms),
            (true, true) => None,
        };
        let of_workloads = (!self.workload.is_empty()).then_some(Section::Workloads);
        let asked: Vec<Section> = of_cells.into_iter().chain(of_workloads).collect();
        match asked.is_empty() {
            false => asked,
            true if self.mechanism.is_empty() => Section::TABLES.to_vec(),
            true => vec![Section::Mechanisms, Section::Workloads],
        }
    }

    /// Removes from a report what the options do not select.
    ///
    /// # Errors
    /// A name matches nothing, or nothing is left for the sections.
    fn select(&self, report: &mut Report, sections: &[Section]) -> Result<(), CliError> {
        let kernels = || report.workloads.iter().flat_map(|workload| &workload.kernels);
        let of_kernels = kernels().filter_map(|kernel| kernel.mechanism.as_deref());
        let of_cells = report.cells.iter().map(|cell| cell.mechanism.as_str());
        let mechanisms = choose("mechanism", &self.mechanism, of_cells.chain(of_kernels))?;
        let ops = choose("op", &self.op, report.cells.iter().map(|cell| cell.op.as_str()))?;
        let regimes = choose("regime", &self.regime, report.cells.iter().map(|cell| cell.regime.name()))?;
        let names = report.workloads.iter().map(|workload| workload.name.as_str());
        let workloads = choose("workload", &self.workload, names)?;
        let no_cells = describe_cells(report.cells.iter().filter(|cell| ops.contains(&cell.op)));
        let no_workloads = describe_workloads(report);

        report.cells.retain(|cell| {
            ops.contains(&cell.op) && mechanisms.contains(&cell.mechanism) && regimes.contains(cell.regime.name())
        });
        report.floors.retain(|floor| self.regime.is_empty() || regimes.contains(floor.regime.name()));
        report.workloads.retain(|workload| workloads.contains(&workload.name));
        if !self.mechanism.is_empty() {
            let is_chosen = |name: &Option<String>| name.as_ref().is_some_and(|name| mechanisms.contains(name));
            for workload in &mut report.workloads {
                workload.kernels.retain(|kernel| is_chosen(&kernel.mechanism));
            }
            report.workloads.retain(|workload| !workload.kernels.is_empty());
        }
        let is_empty = |section: &Section| match section {
            Section::Mechanisms | Section::Cells => report.cells.is_empty(),
            Section::Workloads => report.workloads.is_empty(),
            Section::KernelTime => report.kernel_time.is_none(),
            Section::Answer | Section::Floors | Section::Notes => false,
        };
        match sections.iter().all(is_empty) {
            false => Ok(()),
            true if sections.contains(&Section::KernelTime) => Err(CliError::Usage(describe_kernel_time(report))),
            true if sections.contains(&Section::Workloads) => Err(CliError::Usage(no_workloads)),
            true => Err(CliError::Usage(no_cells)),
        }
    }
}

/// The names that match globs, without globs all of them.
fn choose<'a>(
    kind: &'static str,
    globs: &[String],
    names: impl Iterator<Item = &'a str>,
) -> Result<HashSet<String>, FilterError> {
    let names = distinct(names);
    // A message names them; a report may hold any text.
    let shown: Vec<String> = names.iter().map(|name| subject::plain(name)).collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    let chosen = select(kind, globs, &shown)?;
    Ok(chosen.into_iter().filter_map(|index| names.get(index).map(|name| (*name).to_owned())).collect())
}

/// Names in the order of their first appearance.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = HashSet::new();
    names.filter(|name| seen.insert(*name)).collect()
}

/// Why no cell is left: the regimes and mechanisms that the selected ops have.
fn describe_cells<'a>(cells: impl Iterator<Item = &'a Cell> + Clone) -> String {
    let regimes = distinct(cells.clone().map(|cell| cell.regime.name()));
    if regimes.is_empty() {
        return "the report has no cells; `pvbench show REPORT workloads` prints its workloads".to_owned();
    }
    let mechanisms = join(distinct(cells.map(|cell| cell.mechanism.as_str())));
    format!("no cell is in this selection; the report has its ops in {}, each with some of {mechanisms}", join(regimes))
}

/// Why the report has no time of the running kernel.
fn describe_kernel_time(report: &Report) -> String {
    let reason = report.absent.iter().find(|absent| absent.what == "kernel time");
    let reason = reason.map_or_else(|| "the run left it out".to_owned(), |absent| subject::plain(&absent.reason));
    format!(
        "the report has no time of the running kernel: {reason}; `pvbench run` and `pvbench run --quick` measure it"
    )
}

/// Why no workload is left: the workloads and kernels of the report.
fn describe_workloads(report: &Report) -> String {
    let workloads = distinct(report.workloads.iter().map(|workload| workload.name.as_str()));
    if workloads.is_empty() {
        return "the report has no workloads; `pvbench show REPORT mechanisms` prints its mechanisms".to_owned();
    }
    let kernels = report.workloads.iter().flat_map(|workload| &workload.kernels);
    let mechanisms = join(distinct(kernels.filter_map(|kernel| kernel.mechanism.as_deref())));
    format!("no workload is in this selection; the report has {} on kernels with {mechanisms}", join(workloads))
}

fn join(names: Vec<&str>) -> String {
    names.into_iter().map(subject::plain).collect::<Vec<_>>().join(", ")
}
