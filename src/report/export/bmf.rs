//! Export to Bencher Metric Format, which `bencher run --adapter json` reads
//! (<https://bencher.dev/docs/reference/bencher-metric-format/>): an object of benchmarks, each an object of measures,
//! each with a `value` and the ends of its interval.
//!
//! A benchmark is a cell, or a workload on a kernel. Names of measures hold the quantity and the unit, in the form of
//! Bencher's slugs. A benchmark without a number is left out, because the format cannot express it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ExportError;
use crate::report::Report;
use crate::report::schema::Estimate;
use crate::report::subject::{self, kernels};

#[derive(Serialize)]
struct Metric {
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lower_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upper_value: Option<f64>,
}

impl Metric {
    fn measured(Estimate { estimate, low, high, .. }: Estimate) -> Self {
        Metric { value: estimate, lower_value: Some(low), upper_value: Some(high) }
    }

    fn counted(value: f64) -> Self {
        Metric { value, lower_value: None, upper_value: None }
    }
}

/// The exported document.
///
/// # Errors
/// When serde_json cannot write it.
pub fn export(report: &Report) -> Result<Vec<u8>, ExportError> {
    let mut benchmarks: BTreeMap<String, BTreeMap<&str, Metric>> = BTreeMap::new();
    for cell in &report.cells {
        let mut measures = BTreeMap::new();
        if let Some(overhead) = &cell.overhead {
            measures.insert("overhead-cycles", Metric::measured(overhead.cycles));
            measures.insert("overhead-ns", Metric::measured(overhead.ns));
        }
        if let Some(counted) = cell.instructions {
            measures.insert("extra-instructions", Metric::counted(counted.extra));
        }
        if !measures.is_empty() {
            benchmarks.insert(subject::of_cell(cell), measures);
        }
    }
    for (workload, kernel) in kernels(report) {
        let mut measures = BTreeMap::new();
        if let Some(percent) = kernel.overhead_percent {
            measures.insert("overhead-percent", Metric::measured(percent));
        }
        if let Some(cycles) = kernel.overhead_cycles {
            measures.insert("overhead-cycles", Metric::measured(cycles));
        }
        if !measures.is_empty() {
            benchmarks.insert(subject::of_kernel(workload, kernel), measures);
        }
    }
    let mut text = serde_json::to_vec_pretty(&benchmarks)?;
    text.push(b'\n');
    Ok(text)
}
