//! `pvbench predict`: predicts the cost of hooks from counts of calls.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;
use toml::Spanned;

use super::Done;
use super::exit::Exit;
use super::output::stdout;
use crate::estimate::predict::Costs;
use crate::patch::State;
use crate::report::read;
use crate::report::schema::Report;
use crate::select::{add_nearest, find_nearest};

pub(crate) const EXAMPLES: &str = "A file of counts:
  time_ns = 2500000        # time of the workload, for percent; optional
  [calls]
  set_pte = 12000
  irq_disable = 55000

Files with counts are also those of `pvbench linux ab`, `run` and `sites --json`, and reports.

Examples:
  pvbench run && pvbench predict counts.toml
  pvbench predict reports/latest/linux.json --workload mmap_perf
  pvbench linux sites vmlinuz --json > sites.json && pvbench predict sites.json";

/// Largest count of calls: more than a machine makes in a day, so a larger count is a typing error.
const MAX_CALLS: f64 = 1e15;

/// Largest size of a file of counts, in bytes; such files are short.
const MAX_BYTES: u64 = 1 << 20;

/// Number of ops that are listed with their cycles; the others are counted.
const MAX_OPS_SHOWN: usize = 10;
/// Mechanisms for which the cycles of each op are listed.
const MECHANISMS_BY_OP: [&str; 2] = ["table", "site"];

/// Options of `predict`.
#[derive(Args)]
pub struct PredictArgs {
    /// Counts of calls by hook: a file of your own, linux.json, sites.json or report.json
    #[arg(value_name = "COUNTS")]
    counts: PathBuf,
    /// Workloads of the file to predict (default: all)
    #[arg(long, value_name = "GLOB")]
    workload: Vec<String>,
    /// Report whose cells give the cost of a call
    #[arg(long, value_name = "REPORT.json", default_value = "reports/latest/report.json")]
    report: PathBuf,
}

/// Why a file of counts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CountsError {
    /// The file does not exist or cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The file is not TOML, or has no valid counts.
    #[error("{path}:{line}: {message}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The fault.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    time_ns: Option<Spanned<f64>>,
    calls: BTreeMap<Spanned<String>, Spanned<f64>>,
}

/// Reads counts and prints their cost with each mechanism.
pub fn predict(args: &PredictArgs) -> Done {
    let report = read::report(&args.report)?;
    if let Some(named) = super::counted::read(&args.counts)? {
        let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        for index in crate::select::select("workload", &args.workload, &names)? {
            let Some((name, calls)) = named.get(index) else { continue };
            writeln!(stdout(), "{name}")?;
            let (known, unknown): (BTreeMap<_, _>, BTreeMap<_, _>) =
                calls.clone().into_iter().partition(|(op, _)| report.catalogue.ops.iter().any(|it| it.name == *op));
            print_costs(args, &report, &known, None)?;
            if !unknown.is_empty() {
                let unknown: Vec<&str> = unknown.keys().map(String::as_str).collect();
                writeln!(stdout(), "left out, as the report lacks these ops: {}", unknown.join(", "))?;
            }
            writeln!(stdout())?;
        }
        return Ok(Exit::Fine);
    }
    let (calls, time_ns) = read_counts(&args.counts, &report)?;
    print_costs(args, &report, &calls, time_ns)?;
    Ok(Exit::Fine)
}

/// Prints the cost of calls with each mechanism, and the ops that the cycles come from.
fn print_costs(
    args: &PredictArgs,
    report: &Report,
    calls: &BTreeMap<String, f64>,
    time_ns: Option<f64>,
) -> Result<(), super::error::CliError> {
    let costs = Costs::of(&report.cells);
    let ghz = report.calibration.as_ref().map(|calibration| calibration.core_ghz.median);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["mechanism", "cycles", "us", "percent"]);
    let mut missing = BTreeMap::new();
    for (mechanism, state) in list_kernels(report) {
        let name = state.map_or_else(|| mechanism.clone(), |state| format!("{mechanism} ({state})"));
        match costs.of_calls(calls, &mechanism, state) {
            Ok(cycles) => {
                let ns = ghz.map(|ghz| cycles / ghz);
                let percent = ns.zip(time_ns).map(|(ns, time)| ns / time * 100.0);
                let shown = |value: Option<f64>, digits: usize| {
                    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
                };
                table.add_row([name, format!("{cycles:.0}"), shown(ns.map(|ns| ns / 1e3), 2), shown(percent, 3)]);
            }
            Err(ops) => {
                missing.insert(name, ops);
            }
        }
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut out = stdout();
    writeln!(
        out,
        "cost above inline of {} calls, by the throughput cells of {}",
        (calls.values().sum::<f64>() * 100.0).round() / 100.0,
        args.report.display()
    )?;
    writeln!(out, "{table}")?;
    for (kernel, ops) in missing {
        writeln!(out, "{kernel}: the report has no throughput cell of {}", ops.join(", "))?;
    }
    print_by_op(report, calls, &costs)
}

/// Prints the cycles of each op, in descending order of their cost with the first mechanism that is shown.
fn print_by_op(report: &Report, calls: &BTreeMap<String, f64>, costs: &Costs) -> Result<(), super::error::CliError> {
    let kernels: Vec<_> =
        list_kernels(report).into_iter().filter(|(name, _)| MECHANISMS_BY_OP.contains(&name.as_str())).collect();
    let Some((first, state)) = kernels.first() else { return Ok(()) };
    let of = |op: &str, calls: f64, mechanism: &str, state| Some(costs.of_call(op, mechanism, state)? * calls);
    let mut ops: Vec<(&String, f64)> = calls.iter().map(|(op, calls)| (op, *calls)).collect();
    ops.sort_by(|a, b| {
        let cost = |(op, calls): &(&String, f64)| of(op, *calls, first, *state).map_or(0.0, f64::abs);
        cost(b).total_cmp(&cost(a))
    });
    let mut table = Table::new();
    let name = |(mechanism, state): &(String, Option<State>)| {
        state.map_or_else(|| mechanism.clone(), |state| format!("{mechanism} ({state})"))
    };
    table.load_style(presets::NOTHING);
    table.set_header(["op".to_owned(), "calls".to_owned()].into_iter().chain(kernels.iter().map(name)));
    for (op, calls) in ops.iter().take(MAX_OPS_SHOWN) {
        let cycles = kernels.iter().map(|(mechanism, state)| {
            of(op, *calls, mechanism, *state).map_or_else(|| "-".to_owned(), |cycles| format!("{cycles:.1}"))
        });
        table.add_row([(*op).clone(), format!("{calls:.1}")].into_iter().chain(cycles));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut out = stdout();
    writeln!(out, "\ncycles by op")?;
    writeln!(out, "{table}")?;
    if ops.len() > MAX_OPS_SHOWN {
        writeln!(out, "and {} more", ops.len() - MAX_OPS_SHOWN)?;
    }
    Ok(())
}

/// Lists the mechanisms of a report, each in the states that a whole kernel can be in.
fn list_kernels(report: &Report) -> Vec<(String, Option<State>)> {
    let states = [State::Unpatched, State::Direct, State::Inline, State::Off, State::On];
    let of = |mechanism: &crate::report::schema::MechanismInfo| {
        let name = mechanism.name.clone();
        if mechanism.states.is_empty() {
            return vec![(name, None)];
        }
        let has = |state: &&State| mechanism.states.iter().any(|own| own == state.name());
        states.iter().filter(has).map(|state| (name.clone(), Some(*state))).collect()
    };
    report.catalogue.mechanisms.iter().filter(|m| m.name != "inline").flat_map(of).collect()
}

/// Reads a file of counts: the calls by op, and the time of the workload in ns if the file has it.
fn read_counts(path: &Path, report: &Report) -> Result<(BTreeMap<String, f64>, Option<f64>), CountsError> {
    let unreadable = |source| CountsError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_BYTES {
        return Err(unreadable(std::io::Error::other(format!(
            "the file has {size} bytes, and a file of counts has at most {MAX_BYTES}"
        ))));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let wrong = |at: usize, message: String| {
        let line = text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        CountsError::Line { path: path.to_owned(), line, message }
    };
    let counts: Counts = toml::from_str(&text)
        .map_err(|error| wrong(error.span().map_or(0, |span| span.start), add_nearest(error.message())))?;
    let mut calls = BTreeMap::new();
    for (op, count) in &counts.calls {
        let name = op.get_ref();
        if !report.catalogue.ops.iter().any(|known| known.name == *name) {
            let names: Vec<&str> = report.catalogue.ops.iter().map(|known| known.name.as_str()).collect();
            let near = find_nearest(name, &names).map_or_else(
                || format!("; its ops are {}", names.join(", ")),
                |near| format!("; did you mean '{near}'?"),
            );
            return Err(wrong(op.span().start, format!("the report has no op '{name}'{near}")));
        }
        let value = *count.get_ref();
        if !(0.0..=MAX_CALLS).contains(&value) {
            return Err(wrong(
                count.span().start,
                format!("{name} = {value} is out of range; calls are 0 to {MAX_CALLS:e}"),
            ));
        }
        calls.insert(name.clone(), value);
    }
    let time = match counts.time_ns {
        Some(time) if !(time.get_ref().is_finite() && *time.get_ref() > 0.0) => {
            return Err(wrong(
                time.span().start,
                format!("time_ns = {} is out of range; a time is above 0", time.get_ref()),
            ));
        }
        time => time.map(Spanned::into_inner),
    };
    Ok((calls, time))
}
