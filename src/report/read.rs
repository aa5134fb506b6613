//! Reading of reports. A report may come from anywhere, so every field is checked before it is used.

mod kernel_time;

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::linux::Linux;
use super::schema::{Cell, CentralRange, Estimate, Listing, MechanismInfo, Report, SCHEMA, WorkloadResult};
use crate::op::InstructionMix;
use crate::stats::Interval;

/// Maximum size of a report in bytes. A full run of 30 mechanisms writes about a third of it.
pub(crate) const LARGEST: u64 = 64 << 20;

/// Failure to read a report.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("{}: {source}; name a report.json, whose folder a run prints at its end", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is larger than any report.
    #[error("{}: {bytes} bytes exceed the maximum of {LARGEST} for a report; name a report.json", path.display())]
    TooLarge {
        /// Path of the file.
        path: PathBuf,
        /// Size of the file in bytes.
        bytes: u64,
    },
    /// The file is not a report: truncated, not JSON, unknown or missing fields, wrong types, numbers out of range.
    #[error("{}:{line}:{column}: {what}; measure again with `pvbench run`", path.display())]
    Malformed {
        /// Path of the file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The fault at that position.
        what: String,
    },
    /// The document has another version.
    #[error(
        "{}: made by {tool} as '{found}', and this build reads '{SCHEMA}'; measure again, or open its own index.html",
        path.display()
    )]
    Version {
        /// Path of the file.
        path: PathBuf,
        /// Name and version of the program that made the document.
        tool: String,
        /// Version of the document.
        found: String,
    },
    /// The document is well-formed, but a value in it is impossible.
    #[error("{}: {invalid}", path.display())]
    Invalid {
        /// Path of the file.
        path: PathBuf,
        /// The impossible value.
        invalid: Invalid,
    },
}

/// An impossible value in a report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}")]
pub struct Invalid {
    /// Path of the field; for a cell its index and name.
    pub field: String,
    /// The fault.
    pub what: String,
}

/// The version of a document and its program, without its other fields.
#[derive(Deserialize)]
struct Version {
    schema: String,
    #[serde(default)]
    tool: Option<Program>,
}

/// The program that made a document of any version.
#[derive(Deserialize)]
struct Program {
    name: String,
    version: String,
}

/// Reads and checks a report.
///
/// # Errors
/// A [`ReadError`], which names the file and the position.
pub fn report(path: &Path) -> Result<Report, ReadError> {
    let failed = |source| ReadError::File { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes > LARGEST {
        return Err(ReadError::TooLarge { path: path.to_owned(), bytes });
    }
    let mut text = Vec::new();
    // The limit also cuts off a device, or a file that grows meanwhile.
    file.by_ref().take(LARGEST + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > LARGEST {
        return Err(ReadError::TooLarge { path: path.to_owned(), bytes: text.len() as u64 });
    }
    let malformed = |error: serde_json::Error| ReadError::Malformed {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
        // serde_json ends its message with the position, which this error names first.
        what: error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
    };
    let version: Version = serde_json::from_slice(&text).map_err(malformed)?;
    if version.schema != SCHEMA {
        let clip = |text: &str| text.chars().take(60).collect::<String>();
        let tool =
            version.tool.map_or_else(|| "another program".to_owned(), |it| format!("{} {}", it.name, it.version));
        return Err(ReadError::Version { path: path.to_owned(), tool: clip(&tool), found: clip(&version.schema) });
    }
    let report: Report = serde_json::from_slice(&text).map_err(malformed)?;
    check(&report).map_err(|invalid| ReadError::Invalid { path: path.to_owned(), invalid })?;
    Ok(report)
}

/// Maximum number of listings per mechanism: all states of all ops, with room to spare.
pub(crate) const MAX_LISTINGS: usize = 4096;
/// Maximum number of instructions per listing: a call site, its callee and all thunks between them.
pub const MAX_LINES: usize = 512;
/// Maximum number of bytes per line of a listing. An instruction has at most 15 (Intel SDM volume 2, 2.3.11); a line of
/// padding or data may have more.
pub(crate) const MAX_LINE_BYTES: usize = 64;
/// Maximum length in characters of a listing's texts and states, and of the change that a mechanism made.
pub(crate) const MAX_TEXT: usize = 200;

/// Checks what types cannot express: numbers are finite, intervals contain their estimates, shares lie between 0 and 1,
/// cells name known ops and mechanisms and are unique, listings are no larger than a mechanism's can be.
///
/// # Errors
/// The first impossible value, with its path.
pub fn check(report: &Report) -> Result<(), Invalid> {
    let finite = |field: &str, value: f64| {
        let what = || format!("{value} is not a finite number");
        if value.is_finite() { Ok(()) } else { Err(Invalid { field: field.to_owned(), what: what() }) }
    };
    finite("run.duration_seconds", report.run.duration_seconds)?;
    finite("run.plan.confidence", report.run.plan.confidence)?;
    if let Some(calibration) = &report.calibration {
        finite("calibration.ticks_per_second", calibration.ticks_per_second)?;
        finite("calibration.contended_share", calibration.contended_share)?;
        central_range("calibration.ticks_per_cycle", &calibration.ticks_per_cycle)?;
        central_range("calibration.core_ghz", &calibration.core_ghz)?;
        if let Some(adds) = &calibration.adds_per_cycle {
            central_range("calibration.adds_per_cycle", adds)?;
        }
    }
    if let Some(floor) = &report.floor {
        let parts = [floor.cycles, floor.ratio, floor.same_loop_cycles, floor.copied_loop_cycles];
        for (name, value) in ["cycles", "ratio", "same_loop_cycles", "copied_loop_cycles"].into_iter().zip(parts) {
            finite(&format!("floor.{name}"), value)?;
        }
    }
    let mut regimes = HashSet::new();
    for (index, floor) in report.floors.iter().enumerate() {
        let field = format!("floors[{index}] ({})", floor.regime.name());
        if !regimes.insert(floor.regime) {
            return Err(Invalid { field, what: "the report has another floor for this regime".to_owned() });
        }
        let parts = [floor.cycles, floor.ratio, floor.same_loop_cycles, floor.copied_loop_cycles];
        parts.into_iter().try_for_each(|value| finite(&field, value))?;
    }
    let ops: HashSet<&str> = report.catalogue.ops.iter().map(|op| op.name.as_str()).collect();
    let mechanisms: HashSet<&str> = report.catalogue.mechanisms.iter().map(|m| m.name.as_str()).collect();
    for (index, mechanism) in report.catalogue.mechanisms.iter().enumerate() {
        check_mechanism(&format!("catalogue.mechanisms[{index}]"), mechanism, &ops)?;
    }
    let mut seen = HashSet::new();
    for (index, cell) in report.cells.iter().enumerate() {
        let field =
            format!("cells[{index}] ({}, {}, {}, {})", cell.op, cell.body.name(), cell.mechanism, cell.regime.name());
        let wrong = |what: String| Err(Invalid { field: field.clone(), what });
        if !ops.contains(cell.op.as_str()) {
            return wrong("the op is not in catalogue.ops".to_owned());
        }
        if !mechanisms.contains(cell.mechanism.as_str()) {
            return wrong("the mechanism is not in catalogue.mechanisms".to_owned());
        }
        if !seen.insert((&cell.op, cell.body, &cell.mechanism, &cell.state, cell.regime)) {
            return wrong("the report has another cell of this name".to_owned());
        }
        check_cell(&field, cell)?;
    }
    let mut names = HashSet::new();
    for (index, workload) in report.workloads.iter().enumerate() {
        let field = format!("workloads[{index}]");
        if !names.insert(workload.name.as_str()) {
            return Err(Invalid { field, what: "the report has another workload of this name".to_owned() });
        }
        check_workload(&field, workload)?;
    }
    report.kernel_time.as_ref().map_or(Ok(()), kernel_time::check)?;
    report.linux.as_ref().map_or(Ok(()), check_linux)
}

fn check_linux(linux: &Linux) -> Result<(), Invalid> {
    let finite = |field: &str, value: f64| match value.is_finite() {
        true => Ok(()),
        false => Err(Invalid { field: field.to_owned(), what: format!("{value} is not a finite number") }),
    };
    for (index, workload) in linux.workloads.iter().enumerate() {
        let field = format!("linux.workloads[{index}]");
        workload.calls.values().try_for_each(|calls| finite(&format!("{field}.calls"), *calls))?;
        for count in &workload.counts {
            interval(&format!("{field}.per_unit"), &count.per_unit)?;
            count.percent.as_ref().map_or(Ok(()), |percent| interval(&format!("{field}.percent"), percent))?;
            let others = [count.as_one, count.percent_as_one];
            others.into_iter().flatten().try_for_each(|value| finite(&field, value))?;
        }
    }
    for prediction in &linux.predictions {
        finite("linux.predictions", prediction.cycles)?;
        let shares = prediction.from.iter().flat_map(|share| [share.calls, share.cycles]);
        shares.into_iter().try_for_each(|value| finite("linux.predictions.from", value))?;
    }
    Ok(())
}

fn check_workload(field: &str, workload: &WorkloadResult) -> Result<(), Invalid> {
    let finite = |field: String, value: f64| match value.is_finite() {
        true => Ok(()),
        false => Err(Invalid { field, what: format!("{value} is not a finite number") }),
    };
    for (op, calls) in &workload.calls {
        finite(format!("{field}.calls.{op}"), *calls)?;
    }
    finite(format!("{field}.inline_ns"), workload.inline_ns.unwrap_or(0.0))?;
    finite(format!("{field}.inline_instructions"), workload.inline_instructions.unwrap_or(0.0))?;
    let own = [("inline_cycles", &workload.inline_cycles), ("repeat_percent", &workload.repeat_percent)];
    for (index, copy) in workload.copies_percent.iter().enumerate() {
        estimate(&format!("{field}.copies_percent[{index}]"), copy)?;
    }
    finite(format!("{field}.floor_percent"), workload.floor_percent)?;
    if let Some(percent) = workload.placement_percent {
        finite(format!("{field}.placement_percent"), percent)?;
    }
    for (name, own) in own {
        own.iter().try_for_each(|own| estimate(&format!("{field}.{name}"), own))?;
    }
    for (index, kernel) in workload.kernels.iter().enumerate() {
        let field = format!("{field}.kernels[{index}]");
        if kernel.mechanism.is_some() == kernel.option.is_some() {
            return Err(Invalid { field, what: "a kernel must have a mechanism or an option, not both".to_owned() });
        }
        finite(format!("{field}.predicted_percent"), kernel.predicted_percent.unwrap_or(0.0))?;
        if let Some(counted) = kernel.instructions {
            finite(format!("{field}.instructions.per_unit"), counted.per_unit)?;
            finite(format!("{field}.instructions.extra_percent"), counted.extra_percent)?;
        }
        for (name, own) in
            [("overhead_percent", &kernel.overhead_percent), ("overhead_cycles", &kernel.overhead_cycles)]
        {
            own.iter().try_for_each(|own| estimate(&format!("{field}.{name}"), own))?;
        }
        finite(format!("{field}.floor_percent"), kernel.floor_percent.unwrap_or(0.0))?;
        if kernel.resolved && kernel.limit.is_some() {
            return Err(Invalid { field, what: "a resolved kernel must not have a limit".to_owned() });
        }
    }
    Ok(())
}

fn check_mechanism(field: &str, mechanism: &MechanismInfo, ops: &HashSet<&str>) -> Result<(), Invalid> {
    check_length(&format!("{field}.step"), mechanism.step.as_deref().unwrap_or_default())?;
    let listings = &mechanism.listings;
    if listings.len() > MAX_LISTINGS {
        let what = format!("{} listings exceed the maximum of {MAX_LISTINGS} for a mechanism", listings.len());
        return Err(Invalid { field: format!("{field}.listings"), what });
    }
    let mut seen = HashSet::new();
    for (index, listing) in listings.iter().enumerate() {
        let field = format!("{field}.listings[{index}]");
        let wrong = |what: &str| Err(Invalid { field: field.clone(), what: what.to_owned() });
        if !ops.contains(listing.op.as_str()) {
            return wrong("the op is not in catalogue.ops");
        }
        if !seen.insert((&listing.op, &listing.state)) {
            return wrong("the mechanism has another listing of this op and state");
        }
        check_listing(&field, listing)?;
    }
    Ok(())
}

fn check_listing(field: &str, listing: &Listing) -> Result<(), Invalid> {
    check_length(&format!("{field}.state"), listing.state.as_deref().unwrap_or_default())?;
    let lines = listing.lines.len();
    if lines > MAX_LINES {
        let what = format!("{lines} lines exceed the maximum of {MAX_LINES} for a listing");
        return Err(Invalid { field: format!("{field}.lines"), what });
    }
    for (index, line) in listing.lines.iter().enumerate() {
        let field = format!("{field}.lines[{index}]");
        let digits = line.bytes.len();
        if digits == 0 || digits % 2 == 1 || !line.bytes.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(Invalid { field: format!("{field}.bytes"), what: "the text is not hexadecimal".to_owned() });
        }
        if digits / 2 > MAX_LINE_BYTES {
            let what = format!("{} bytes exceed the maximum of {MAX_LINE_BYTES} for a line", digits / 2);
            return Err(Invalid { field: format!("{field}.bytes"), what });
        }
        check_length(&format!("{field}.text"), &line.text)?;
        check_length(&format!("{field}.place"), &line.place)?;
    }
    Ok(())
}

fn check_length(field: &str, text: &str) -> Result<(), Invalid> {
    let length = text.chars().count();
    if length <= MAX_TEXT {
        return Ok(());
    }
    let what = format!("{length} characters exceed the maximum of {MAX_TEXT}");
    Err(Invalid { field: field.to_owned(), what })
}

fn check_cell(field: &str, cell: &Cell) -> Result<(), Invalid> {
    let wrong = |what: String| Err(Invalid { field: field.to_owned(), what });
    match (&cell.overhead, &cell.absent) {
        (Some(_), Some(_)) => return wrong("a cell with an overhead must not have a reason for none".to_owned()),
        (None, None) => return wrong("a cell without an overhead must have a reason".to_owned()),
        (None, Some(_)) => {}
        (Some(overhead), None) => {
            estimate(&format!("{field}.overhead.cycles"), &overhead.cycles)?;
            estimate(&format!("{field}.overhead.ns"), &overhead.ns)?;
            estimate(&format!("{field}.overhead.ratio"), &overhead.ratio)?;
            if overhead.ratio.low <= 0.0 {
                return wrong(format!("a ratio of times must be positive, not {}", overhead.ratio.low));
            }
        }
    }
    if cell.resolved && cell.limit.is_some() {
        return wrong("a resolved cell must not have a limit".to_owned());
    }
    for layout in &cell.layouts {
        estimate(&format!("{field}.layouts@{}", layout.offset), &layout.cycles)?;
    }
    for mode in &cell.modes {
        if !(0.0..=1.0).contains(&mode.share) {
            return wrong(format!("the share of a mode must lie between 0 and 1, not {}", mode.share));
        }
    }
    if let Some(count) = cell.mix.iter().flat_map(InstructionMix::values).find(|count| *count < 0.0) {
        return wrong(format!("a count of instructions must be at least 0, not {count}"));
    }
    let instructions = cell.instructions.iter().flat_map(|i| [i.per_op, i.extra]);
    let mix = cell.mix.iter().flat_map(InstructionMix::values);
    let counters = cell.counters.iter().flat_map(|c| c.values().copied());
    let modes = cell.modes.iter().map(|m| m.cycles);
    let numbers = cell
        .native_cycles
        .into_iter()
        .chain(cell.noise_cycles)
        .chain(cell.floor_cycles)
        .chain(cell.layout_range)
        .chain(instructions)
        .chain(mix)
        .chain(counters);
    match numbers.chain(modes).find(|number| !number.is_finite()) {
        Some(number) => wrong(format!("{number} is not a finite number")),
        None => Ok(()),
    }
}

fn estimate(field: &str, estimate: &Estimate) -> Result<(), Invalid> {
    interval(field, &estimate.interval())?;
    let Estimate { standard_error, degrees_of_freedom, .. } = estimate;
    let wrong = |what: String| Err(Invalid { field: field.to_owned(), what });
    if !(0.0..f64::INFINITY).contains(standard_error) {
        return wrong(format!("a standard error must be finite and at least 0, not {standard_error}"));
    }
    if !(1.0..f64::INFINITY).contains(degrees_of_freedom) {
        return wrong(format!("degrees of freedom must be finite and at least 1, not {degrees_of_freedom}"));
    }
    Ok(())
}

fn interval(field: &str, Interval { estimate, low, high }: &Interval) -> Result<(), Invalid> {
    // Written values are rounded, which keeps their order. A NaN fails every comparison.
    if low <= estimate && estimate <= high && low.is_finite() && high.is_finite() {
        return Ok(());
    }
    Err(Invalid { field: field.to_owned(), what: format!("{estimate} with [{low}, {high}] is not an interval") })
}

fn central_range(field: &str, CentralRange { median, low, high }: &CentralRange) -> Result<(), Invalid> {
    interval(field, &Interval { estimate: *median, low: *low, high: *high })
}
