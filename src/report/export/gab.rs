//! The JSON that github-action-benchmark reads with `tool: customSmallerIsBetter`
//! (<https://github.com/benchmark-action/github-action-benchmark>): a list of `name`, `unit`, `value`, and, where there
//! is more to say, `range` and `extra`.
//!
//! The action alerts where a value is some times that of the commit before. Overheads lie about 0, where a ratio means
//! nothing: so the value is what an op takes with the mechanism, and its overhead is told beside it.

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

/// The document.
///
/// # Errors
/// Where it cannot be written as JSON.
pub fn export(report: &Report) -> Result<Vec<u8>, ExportError> {
    let benchmark = |name, unit, native: f64, overhead: Estimate, of: &str| {
        let half = (overhead.high - overhead.low) / 2.0;
        let Estimate { estimate, low, high } = overhead;
        Benchmark {
            name,
            unit,
            value: rounded(native + estimate),
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

/// To the digits of a report: sums of rounded numbers have more.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}
