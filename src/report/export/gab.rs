//! Export to the JSON that github-action-benchmark reads with `tool: customSmallerIsBetter`
//! (<https://github.com/benchmark-action/github-action-benchmark>): a list of `name`, `unit`, `value`, and optionally
//! `range` and `extra`.
//!
//! The action alerts when the ratio to the value of the commit before exceeds a threshold. Overheads lie near 0, where
//! a ratio means nothing. So the value is the time of an op with the mechanism; `extra` holds the overhead.

use serde::Serialize;

use super::ExportError;
use crate::report::Report;
use crate::report::schema::Estimate;
use crate::report::subject::{self, kernels};

#[derive(Serialize)]
struct Benchmark {
    name: String,
    unit: &'static str,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<String>,
}

/// The exported document.
///
/// # Errors
/// When serde_json cannot write it.
pub fn export(report: &Report) -> Result<Vec<u8>, ExportError> {
    let benchmark = |name, unit, native: f64, overhead: Estimate, of: &str| {
        let half = (overhead.high - overhead.low) / 2.0;
        let Estimate { estimate, low, high, .. } = overhead;
        Benchmark {
            name,
            unit,
            value: round(native + estimate),
            range: Some(format!("± {half:.4}")),
            extra: Some(format!("overhead over inline: {estimate:.4} [{low:.4}, {high:.4}] {of}")),
        }
    };
    let cells = report.cells.iter().filter_map(|cell| {
        let cycles = cell.overhead.as_ref()?.cycles;
        Some(benchmark(subject::of_cell(cell), "cycles/op", cell.native_cycles?, cycles, "cycles"))
    });
    let workloads = kernels(report).filter_map(|(workload, kernel)| {
        let native = workload.inline_cycles?.estimate;
        let name = subject::of_kernel(workload, kernel);
        Some(benchmark(name, "cycles/unit", native, kernel.overhead_cycles?, "cycles"))
    });
    let mut text = serde_json::to_vec_pretty(&cells.chain(workloads).collect::<Vec<_>>())?;
    text.push(b'\n');
    Ok(text)
}

/// Rounds a value to the six digits of a report, because sums of rounded numbers have more.
fn round(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}
