//! `pvbench predict`

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;
use toml::Spanned;

use super::Done;
use super::exit::Exit;
use crate::estimate::predict::Costs;
use crate::patch::State;
use crate::report::read;
use crate::report::schema::Report;

pub const EXAMPLES: &str = "A file of counts:
  time_ns = 2500000        # what it took, for percent; may be left out
  [calls]
  set_pte = 12000
  irq_disable = 55000

Example:
  pvbench run && pvbench predict counts.toml";

/// More calls than a machine makes in a day are a slip of the pen.
const MOST_CALLS: f64 = 1e15;

/// A file of counts is short.
const MOST_BYTES: u64 = 1 << 20;

/// Options of `predict`.
#[derive(Args)]
pub struct PredictArgs {
    /// How often each hook was called
    #[arg(value_name = "COUNTS.toml")]
    counts: PathBuf,
    /// Whose cells say what a call costs
    #[arg(long, value_name = "REPORT.json", default_value = "reports/latest/report.json")]
    report: PathBuf,
}

/// Why counts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CountsError {
    /// No such file, or none that can be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML, or not counts.
    #[error("{path}:{line}: {message}")]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    time_ns: Option<Spanned<f64>>,
    calls: BTreeMap<Spanned<String>, Spanned<f64>>,
}

/// Reads counts and prints what they cost with each mechanism.
pub fn predict(args: &PredictArgs) -> Done {
    let report = read::report(&args.report)?;
    let (calls, time_ns) = counts(&args.counts, &report)?;
    let costs = Costs::of(&report.cells);
    let ghz = report.calibration.as_ref().map(|calibration| calibration.core_ghz.estimate);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["mechanism", "cycles", "us", "percent"]);
    let mut missing = BTreeMap::new();
    for (mechanism, state) in kernels(&report) {
        let name = state.map_or_else(|| mechanism.clone(), |state| format!("{mechanism} ({state})"));
        match costs.of_calls(&calls, &mechanism, state) {
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
    let mut out = anstream::stdout();
    writeln!(
        out,
        "above inline, from {} calls and the throughput cells of {}",
        calls.values().sum::<f64>(),
        args.report.display()
    )?;
    writeln!(out, "{table}")?;
    for (kernel, ops) in missing {
        writeln!(out, "{kernel}: the report has no throughput cell of {}", ops.join(", "))?;
    }
    Ok(Exit::Fine)
}

/// The mechanisms of a report, in the states that a whole kernel can be in.
fn kernels(report: &Report) -> Vec<(String, Option<State>)> {
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

fn counts(path: &Path, report: &Report) -> Result<(BTreeMap<String, f64>, Option<f64>), CountsError> {
    let unreadable = |source| CountsError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MOST_BYTES {
        return Err(unreadable(std::io::Error::other(format!("{size} bytes are no file of counts"))));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let wrong = |at: usize, message: String| {
        let line = text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        CountsError::Line { path: path.to_owned(), line, message }
    };
    let counts: Counts = toml::from_str(&text)
        .map_err(|error| wrong(error.span().map_or(0, |span| span.start), error.message().to_owned()))?;
    let mut calls = BTreeMap::new();
    for (op, count) in &counts.calls {
        let name = op.get_ref();
        if !report.catalogue.ops.iter().any(|known| known.name == *name) {
            let names = report.catalogue.ops.iter().map(|known| known.name.as_str());
            let near = names.max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
            let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            return Err(wrong(op.span().start, format!("the report has no op '{name}'{near}")));
        }
        let value = *count.get_ref();
        if !(0.0..=MOST_CALLS).contains(&value) {
            return Err(wrong(count.span().start, format!("{name} = {value}: calls are 0 to {MOST_CALLS:e}")));
        }
        calls.insert(name.clone(), value);
    }
    let time = match counts.time_ns {
        Some(time) if !(time.get_ref().is_finite() && *time.get_ref() > 0.0) => {
            return Err(wrong(time.span().start, format!("time_ns = {}: a time is above 0", time.get_ref())));
        }
        time => time.map(Spanned::into_inner),
    };
    Ok((calls, time))
}
