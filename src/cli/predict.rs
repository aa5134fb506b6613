//! `pvbench predict`: bounds the cost of hooks from counts of calls.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;
use toml::Spanned;

use super::Done;
use super::counted::{self, Counted, UnitTime, read_json, read_text};
use super::exit::Exit;
use super::output::stdout;
use crate::estimate::kernel_time::{KERNEL_STATES, Prices};
use crate::estimate::predict::Costs;
use crate::patch::State;
use crate::report::kernel_time::{Price, Range};
use crate::report::read;
use crate::report::recorded::RecordedCalls;
use crate::report::schema::Report;
use crate::select::{add_nearest, find_nearest};
use crate::stats::Interval;

pub(crate) const EXAMPLES: &str = "A file of counts:
  time_ns = 2500000        # time of the workload, for percent; optional
  cold_share = 0.15        # share of the calls whose code is not in the first-level cache; optional
  [calls]
  set_pte = 12000
  irq_disable = 55000

Files with counts are also recordings of `pvbench linux record`, files of `pvbench linux ab`, `run` and
`sites --json`, and reports.

Examples:
  pvbench run && pvbench predict counts.toml
  pvbench predict recordings/ --native native.json
  pvbench predict reports/latest/linux.json --workload mmap_perf
  pvbench linux sites vmlinuz --json > sites.json && pvbench predict sites.json";

/// Largest count of calls: more than a machine makes in a day, so a larger count is a typing error.
const MAX_CALLS: f64 = 1e15;

/// Number of ops that are listed with their cycles; the others are counted.
const MAX_OPS_SHOWN: usize = 10;
/// Mechanisms for which the cycles of each op are listed.
const MECHANISMS_BY_OP: [&str; 2] = ["table", "site"];

/// Options of `predict`.
#[derive(Args)]
pub struct PredictArgs {
    /// Counts of calls by hook: a file of your own, recordings, linux.json, sites.json or report.json
    #[arg(value_name = "COUNTS")]
    counts: PathBuf,
    /// Workloads of the file to predict (default: all)
    #[arg(long, value_name = "GLOB")]
    workload: Vec<String>,
    /// Report whose cells give the cost of a call
    #[arg(long, value_name = "REPORT.json", default_value = "reports/latest/report.json")]
    report: PathBuf,
    /// Times of the workloads, as `linux native --json` prints them (default: those of the report)
    #[arg(long, value_name = "FILE")]
    native: Option<PathBuf>,
    /// Print JSON: the ranges of each workload by mechanism
    #[arg(long)]
    json: bool,
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
    /// The file has counts of a program, not of hooks.
    #[error(
        "{path}: counts of a program by {source_name}, not of hooks; price them with `pvbench audit BINARY --counts \
         {path}`, where BINARY is the program that ran"
    )]
    OfProgram {
        /// The file.
        path: PathBuf,
        /// What made it.
        source_name: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    time_ns: Option<Spanned<f64>>,
    cold_share: Option<Spanned<f64>>,
    calls: BTreeMap<Spanned<String>, Spanned<f64>>,
}

/// Reads counts and prints their cost with each mechanism.
pub fn predict(args: &PredictArgs) -> Done {
    #[cfg(feature = "audit")]
    if let Some(format) = crate::audit::counts::detect(&args.counts) {
        return Err(CountsError::OfProgram { path: args.counts.clone(), source_name: format.name() }.into());
    }
    let report = read::report(&args.report)?;
    let own = args.native.as_deref().map(|path| read_json(path, "pvbench linux native --json")).transpose()?;
    let native = own.as_ref().or_else(|| report.kernel_time.as_ref().map(|it| &it.native));
    let prices = Prices::from_report(&report);
    let mut priced = Vec::new();
    if let Some(counted) = counted::read(&args.counts)? {
        let names: Vec<&str> = counted.iter().map(|it| it.name.as_str()).collect();
        for index in crate::select::select("workload", &args.workload, &names)? {
            let Some(Counted { name, calls, has_cold, time }) = counted.get(index) else { continue };
            let (known, unknown): (Calls, Calls) =
                calls.clone().into_iter().partition(|(op, _)| report.catalogue.ops.iter().any(|it| it.name == *op));
            let time = match time {
                UnitTime::Own(cycles) => Some(*cycles),
                UnitTime::Native(name) => native.and_then(|it| it.denominator(name)).map(|time| time.cycles.interval()),
                UnitTime::Unknown => None,
            };
            if args.json {
                priced.extend(price_all(&report, &prices, (name, &known), time));
                continue;
            }
            writeln!(stdout(), "{name}")?;
            print_costs(args, &report, (name, &known), *has_cold, time)?;
            if !unknown.is_empty() {
                let unknown: Vec<&str> = unknown.keys().map(String::as_str).collect();
                writeln!(stdout(), "left out, as the report lacks these ops: {}", unknown.join(", "))?;
            }
            writeln!(stdout())?;
        }
        return print_json(args.json, &priced);
    }
    let OwnCounts { calls, time_ns, has_cold } = read_counts(&args.counts, &report)?;
    let ghz = report.calibration.as_ref().map(|calibration| calibration.core_ghz.median);
    let time = time_ns.zip(ghz).map(|(ns, ghz)| Interval { estimate: ns * ghz, low: ns * ghz, high: ns * ghz });
    if args.json {
        priced.extend(price_all(&report, &prices, ("", &calls), time));
        return print_json(true, &priced);
    }
    print_costs(args, &report, ("", &calls), has_cold, time)?;
    Ok(Exit::Fine)
}

/// Prints prices as JSON, if asked for.
fn print_json(is_asked: bool, prices: &[Price]) -> Done {
    if is_asked {
        let mut out = stdout();
        serde_json::to_writer_pretty(&mut out, prices)?;
        writeln!(out)?;
    }
    Ok(Exit::Fine)
}

/// The prices of a workload with all mechanisms of a report.
fn price_all(report: &Report, prices: &Prices, counted: (&str, &Calls), time: Option<Interval>) -> Vec<Price> {
    let of = |(mechanism, state): (String, Option<State>)| prices.price(counted, (&mechanism, state), time);
    list_kernels(report).into_iter().filter_map(of).collect()
}

type Calls = BTreeMap<String, RecordedCalls>;

/// Prints the cost of calls with each mechanism, and the ops that the cycles come from. `time` is that of a unit, in
/// core cycles.
fn print_costs(
    args: &PredictArgs,
    report: &Report,
    (workload, calls): (&str, &Calls),
    has_cold: bool,
    time: Option<Interval>,
) -> Result<(), super::error::CliError> {
    let (costs, prices) = (Costs::of(&report.cells), Prices::from_report(report));
    let hooks: BTreeMap<String, f64> = calls.iter().map(|(op, calls)| (op.clone(), calls.hot + calls.cold)).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["mechanism", "hot loops", "cycles", "percent"]);
    let mut missing = BTreeMap::new();
    for (mechanism, state) in list_kernels(report) {
        let name = state.map_or_else(|| mechanism.clone(), |state| format!("{mechanism} ({state})"));
        match costs.of_calls(&hooks, &mechanism, state) {
            Ok(cycles) => {
                let price = prices.price((workload, calls), (&mechanism, state), time);
                let range = price.as_ref().map(|price| price.cycles);
                let percent = price.as_ref().and_then(|price| price.percent);
                let shown = |range: Option<Range>, digits: usize| {
                    let show = |it: Range| format!("{:.digits$} to {:.digits$}", it.low, it.high);
                    range.map_or_else(|| "-".to_owned(), show)
                };
                table.add_row([name, format!("{cycles:.0}"), shown(range, 0), shown(percent, 2)]);
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
    let (all, cold) = (hooks.values().sum::<f64>(), calls.values().map(|calls| calls.cold).sum::<f64>());
    writeln!(
        out,
        "cost above inline of {} calls, by the cells of {}, in core cycles; {}",
        (all * 100.0).round() / 100.0,
        args.report.display(),
        match has_cold && all > 0.0 {
            true => format!("{:.1}% of the calls are cold", 100.0 * cold / all),
            false => "all calls are taken as hot".to_owned(),
        }
    )?;
    writeln!(out, "{table}")?;
    writeln!(
        out,
        "hot loops: calls times throughput cells. cycles: if the calls hide completely, to if nothing hides them."
    )?;
    for (kernel, ops) in missing {
        writeln!(out, "{kernel}: the report has no throughput cell of {}", ops.join(", "))?;
    }
    print_by_op(report, &hooks, &costs)
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
    let of = |mechanism: &crate::report::schema::MechanismInfo| {
        let name = mechanism.name.clone();
        if mechanism.states.is_empty() {
            return vec![(name, None)];
        }
        let has = |state: &&State| mechanism.states.iter().any(|own| own == state.name());
        KERNEL_STATES.iter().filter(has).map(|state| (name.clone(), Some(*state))).collect()
    };
    report.catalogue.mechanisms.iter().filter(|m| m.name != "inline").flat_map(of).collect()
}

/// The content of a file of counts.
struct OwnCounts {
    calls: Calls,
    time_ns: Option<f64>,
    has_cold: bool,
}

/// Reads a file of counts: the calls by op, and the time of the workload in ns if the file has it.
fn read_counts(path: &Path, report: &Report) -> Result<OwnCounts, CountsError> {
    let text = read_text(path)?;
    let wrong = |at: usize, message: String| {
        let line = text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        CountsError::Line { path: path.to_owned(), line, message }
    };
    let counts: Counts = toml::from_str(&text)
        .map_err(|error| wrong(error.span().map_or(0, |span| span.start), add_nearest(error.message())))?;
    let cold_share = counts.cold_share.as_ref().map_or(0.0, |share| *share.get_ref());
    if let Some(share) = counts.cold_share.as_ref().filter(|share| !(0.0..=1.0).contains(share.get_ref())) {
        let message = format!("cold_share = {} is out of range; a share is 0 to 1", share.get_ref());
        return Err(wrong(share.span().start, message));
    }
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
    let time_ns = match counts.time_ns {
        Some(time) if !(time.get_ref().is_finite() && *time.get_ref() > 0.0) => {
            return Err(wrong(
                time.span().start,
                format!("time_ns = {} is out of range; a time is above 0", time.get_ref()),
            ));
        }
        time => time.map(Spanned::into_inner),
    };
    Ok(OwnCounts { calls: counted::split(calls, cold_share), time_ns, has_cold: counts.cold_share.is_some() })
}
