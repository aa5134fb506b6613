//! Export to comma-separated values (RFC 4180): one line per cell, then one line per workload on a kernel. A value that
//! was not measured is an empty field.

use serde::Serialize;

use super::ExportError;
use crate::op::{InstructionMix, Kind};
use crate::report::Report;
use crate::report::schema::Limit;
use crate::report::subject::{kernels, plain};

/// One line. The fields are the columns, in this order.
#[derive(Default, Serialize)]
struct CsvRow {
    op: Option<String>,
    body: Option<String>,
    kind: Option<Kind>,
    regime: Option<&'static str>,
    workload: Option<String>,
    mechanism: Option<String>,
    state: Option<String>,
    option: Option<String>,
    overhead_cycles: Option<f64>,
    overhead_cycles_low: Option<f64>,
    overhead_cycles_high: Option<f64>,
    overhead_ns: Option<f64>,
    overhead_ns_low: Option<f64>,
    overhead_ns_high: Option<f64>,
    overhead_percent: Option<f64>,
    overhead_percent_low: Option<f64>,
    overhead_percent_high: Option<f64>,
    inline_cycles: Option<f64>,
    layout_range_cycles: Option<f64>,
    floor_cycles: Option<f64>,
    floor_percent: Option<f64>,
    resolved: bool,
    instructions: Option<f64>,
    extra_instructions: Option<f64>,
    absent: Option<String>,
    overhead_cycles_standard_error: Option<f64>,
    overhead_percent_standard_error: Option<f64>,
    degrees_of_freedom: Option<f64>,
    limit: Option<&'static str>,
    /// A column per class.
    mix: [Option<f64>; InstructionMix::CLASSES],
}

/// The exported document.
///
/// # Errors
/// When a line cannot be written.
pub fn export(report: &Report) -> Result<Vec<u8>, ExportError> {
    let mut writer = ::csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.write_record(HEADER.iter().chain(&InstructionMix::NAMES))?;
    for cell in &report.cells {
        let overhead = cell.overhead.as_ref();
        let percent = |ratio: f64| (ratio - 1.0) * 100.0;
        writer.serialize(CsvRow {
            op: Some(plain(&cell.op)),
            body: Some(cell.body.name().to_owned()),
            kind: Some(cell.kind),
            regime: Some(cell.regime.name()),
            mechanism: Some(plain(&cell.mechanism)),
            state: cell.state.as_deref().map(plain),
            overhead_cycles: overhead.map(|o| o.cycles.estimate),
            overhead_cycles_low: overhead.map(|o| o.cycles.low),
            overhead_cycles_high: overhead.map(|o| o.cycles.high),
            overhead_ns: overhead.map(|o| o.ns.estimate),
            overhead_ns_low: overhead.map(|o| o.ns.low),
            overhead_ns_high: overhead.map(|o| o.ns.high),
            overhead_percent: overhead.map(|o| percent(o.ratio.estimate)),
            overhead_percent_low: overhead.map(|o| percent(o.ratio.low)),
            overhead_percent_high: overhead.map(|o| percent(o.ratio.high)),
            inline_cycles: cell.native_cycles,
            layout_range_cycles: cell.layout_range,
            floor_cycles: cell.floor_cycles,
            resolved: cell.resolved,
            instructions: cell.instructions.map(|counted| counted.per_op),
            extra_instructions: cell.instructions.map(|counted| counted.extra),
            absent: cell.absent.clone(),
            overhead_cycles_standard_error: overhead.map(|o| o.cycles.standard_error),
            degrees_of_freedom: overhead.map(|o| o.cycles.degrees_of_freedom),
            limit: cell.limit.map(Limit::word),
            mix: cell.mix.map_or([None; InstructionMix::CLASSES], |mix| mix.values().map(Some)),
            ..CsvRow::default()
        })?;
    }
    for (workload, kernel) in kernels(report) {
        let (cycles, percent) = (kernel.overhead_cycles, kernel.overhead_percent);
        writer.serialize(CsvRow {
            workload: Some(plain(&workload.name)),
            mechanism: kernel.mechanism.as_deref().map(plain),
            state: kernel.state.as_deref().map(plain),
            option: kernel.option.as_deref().map(plain),
            overhead_cycles: cycles.map(|c| c.estimate),
            overhead_cycles_low: cycles.map(|c| c.low),
            overhead_cycles_high: cycles.map(|c| c.high),
            overhead_percent: percent.map(|p| p.estimate),
            overhead_percent_low: percent.map(|p| p.low),
            overhead_percent_high: percent.map(|p| p.high),
            inline_cycles: workload.inline_cycles.map(|cycles| cycles.estimate),
            floor_percent: kernel.floor_percent,
            resolved: kernel.resolved,
            absent: kernel.absent.clone(),
            overhead_percent_standard_error: percent.map(|p| p.standard_error),
            degrees_of_freedom: percent.map(|p| p.degrees_of_freedom),
            limit: kernel.limit.map(Limit::word),
            ..CsvRow::default()
        })?;
    }
    writer.into_inner().map_err(|error| ::csv::Error::from(error.into_error()).into())
}

/// Names of the columns before those of the classes of instructions. A file without lines has this header, too.
const HEADER: [&str; 29] = [
    "op",
    "body",
    "kind",
    "regime",
    "workload",
    "mechanism",
    "state",
    "option",
    "overhead_cycles",
    "overhead_cycles_low",
    "overhead_cycles_high",
    "overhead_ns",
    "overhead_ns_low",
    "overhead_ns_high",
    "overhead_percent",
    "overhead_percent_low",
    "overhead_percent_high",
    "inline_cycles",
    "layout_range_cycles",
    "floor_cycles",
    "floor_percent",
    "resolved",
    "instructions",
    "extra_instructions",
    "absent",
    "overhead_cycles_standard_error",
    "overhead_percent_standard_error",
    "degrees_of_freedom",
    "limit",
];
