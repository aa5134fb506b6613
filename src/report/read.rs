//! Reading a report back. It may come from anywhere: nothing in it is believed before it is checked.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::linux::Linux;
use super::schema::{Bounds, Cell, Estimate, Limit, Listing, MechanismInfo, Report, SCHEMA, WorkloadResult};

/// The largest report that is read. A full run of 30 mechanisms writes about a third of it.
pub const LARGEST: u64 = 64 << 20;

/// Why a report was refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("{}: {source}; a run says at its end in which folder its report.json is", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than any report.
    #[error("{}: {bytes} bytes are more than the {LARGEST} a report may have", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Not a report: cut short, no JSON, unknown or missing fields, wrong types, numbers out of range.
    #[error("{}:{line}:{column}: {what}; measure again with `pvbench run`", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// Another version of the document.
    #[error(
        "{}: the document is '{found}', this build reads '{SCHEMA}'; use the pvbench that wrote it, or measure again",
        path.display()
    )]
    Version {
        /// Which file.
        path: PathBuf,
        /// The version it names.
        found: String,
    },
    /// Well-formed, but it cannot be true.
    #[error("{}: {invalid}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What.
        invalid: Invalid,
    },
}

/// Something in a report that cannot be true.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Invalid {
    /// Where: a field's path, a cell's index and name.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

/// Only the version, whatever else there is.
#[derive(Deserialize)]
struct Version {
    schema: String,
}

/// Reads and checks a report.
///
/// # Errors
/// See [`ReadError`]; each names the place.
pub fn report(path: &Path) -> Result<Report, ReadError> {
    let failed = |source| ReadError::File { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes > LARGEST {
        return Err(ReadError::TooLarge { path: path.to_owned(), bytes });
    }
    let mut text = Vec::new();
    // A file that grows meanwhile, or a device, is cut off by the limit, too.
    file.by_ref().take(LARGEST + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > LARGEST {
        return Err(ReadError::TooLarge { path: path.to_owned(), bytes: text.len() as u64 });
    }
    let malformed = |error: serde_json::Error| ReadError::Malformed {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
        // serde_json ends its message with the place, which is said before it.
        what: error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
    };
    let version: Version = serde_json::from_slice(&text).map_err(malformed)?;
    if version.schema != SCHEMA {
        return Err(ReadError::Version { path: path.to_owned(), found: version.schema.chars().take(60).collect() });
    }
    let mut report: Report = serde_json::from_slice(&text).map_err(malformed)?;
    name_intervals(&mut report);
    check(&report).map_err(|invalid| ReadError::Invalid { path: path.to_owned(), invalid })?;
    Ok(report)
}

/// Documents without deciding intervals say `floor` of cells whose estimate lies beyond it, too: there it is the
/// interval that reaches into the floor.
fn name_intervals(report: &mut Report) {
    for cell in report.cells.iter_mut().filter(|cell| cell.limit == Some(Limit::Floor)) {
        let beyond = |floor: f64| cell.overhead.is_some_and(|overhead| overhead.cycles.estimate.abs() > floor);
        if cell.deciding_cycles.is_none() && cell.floor_cycles.is_some_and(beyond) {
            cell.limit = Some(Limit::Interval);
        }
    }
}

/// The most listings of one mechanism: all states of all ops, and room.
pub const MAX_LISTINGS: usize = 4096;
/// The most instructions of one listing: a call site, its callee and all thunks between them.
pub const MAX_LINES: usize = 512;
/// The most bytes of a listing's line. An instruction has 15 at most (Intel SDM volume 2, 2.3.11); a line of padding or
/// data may have more.
pub const MAX_LINE_BYTES: usize = 64;
/// The most characters of a listing's line, place or state and of what a step changed.
pub const MAX_TEXT: usize = 200;

/// Checks what the shapes cannot say: every number finite, intervals around their estimates, shares between 0 and 1,
/// cells of known ops and mechanisms, none twice, listings of a size that a mechanism can have.
///
/// # Errors
/// The first thing that cannot be true, with its place.
pub fn check(report: &Report) -> Result<(), Invalid> {
    let finite = |place: &str, value: f64| {
        let what = || format!("{value} is no measured number");
        if value.is_finite() { Ok(()) } else { Err(Invalid { place: place.to_owned(), what: what() }) }
    };
    finite("run.duration_seconds", report.run.duration_seconds)?;
    finite("run.plan.confidence", report.run.plan.confidence)?;
    if let Some(calibration) = &report.calibration {
        finite("calibration.ticks_per_second", calibration.ticks_per_second)?;
        finite("calibration.disturbed_share", calibration.disturbed_share)?;
        interval("calibration.ticks_per_cycle", &calibration.ticks_per_cycle)?;
        interval("calibration.core_ghz", &calibration.core_ghz)?;
        if let Some(adds) = &calibration.adds_per_cycle {
            interval("calibration.adds_per_cycle", adds)?;
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
        let place = format!("floors[{index}] ({})", floor.regime.name());
        if !regimes.insert(floor.regime) {
            return Err(Invalid { place, what: "there is another floor of this regime".to_owned() });
        }
        let parts = [floor.cycles, floor.ratio, floor.same_loop_cycles, floor.copied_loop_cycles];
        parts.into_iter().try_for_each(|value| finite(&place, value))?;
    }
    let ops: HashSet<&str> = report.catalogue.ops.iter().map(|op| op.name.as_str()).collect();
    let mechanisms: HashSet<&str> = report.catalogue.mechanisms.iter().map(|m| m.name.as_str()).collect();
    for (index, mechanism) in report.catalogue.mechanisms.iter().enumerate() {
        check_mechanism(&format!("catalogue.mechanisms[{index}]"), mechanism, &ops)?;
    }
    let mut seen = HashSet::new();
    for (index, cell) in report.cells.iter().enumerate() {
        let place =
            format!("cells[{index}] ({}, {}, {}, {})", cell.op, cell.body.name(), cell.mechanism, cell.regime.name());
        let wrong = |what: String| Err(Invalid { place: place.clone(), what });
        if !ops.contains(cell.op.as_str()) {
            return wrong("the op is not in catalogue.ops".to_owned());
        }
        if !mechanisms.contains(cell.mechanism.as_str()) {
            return wrong("the mechanism is not in catalogue.mechanisms".to_owned());
        }
        if !seen.insert((&cell.op, cell.body, &cell.mechanism, &cell.state, cell.regime)) {
            return wrong("there is another cell of this name".to_owned());
        }
        check_cell(&place, cell)?;
    }
    let mut names = HashSet::new();
    for (index, workload) in report.workloads.iter().enumerate() {
        let place = format!("workloads[{index}]");
        if !names.insert(workload.name.as_str()) {
            return Err(Invalid { place, what: "there is another workload of this name".to_owned() });
        }
        check_workload(&place, workload)?;
    }
    report.linux.as_ref().map_or(Ok(()), check_linux)?;
    Ok(())
}

fn check_linux(linux: &Linux) -> Result<(), Invalid> {
    let finite = |place: &str, value: f64| match value.is_finite() {
        true => Ok(()),
        false => Err(Invalid { place: place.to_owned(), what: format!("{value} is no counted number") }),
    };
    for (index, workload) in linux.workloads.iter().enumerate() {
        let place = format!("linux.workloads[{index}]");
        workload.calls.values().try_for_each(|calls| finite(&format!("{place}.calls"), *calls))?;
        for count in &workload.counts {
            interval(&format!("{place}.per_unit"), &count.per_unit)?;
            count.percent.as_ref().map_or(Ok(()), |percent| interval(&format!("{place}.percent"), percent))?;
            let others = [count.as_one, count.percent_as_one];
            others.into_iter().flatten().try_for_each(|value| finite(&place, value))?;
        }
    }
    for prediction in &linux.predictions {
        finite("linux.predictions", prediction.cycles)?;
        let shares = prediction.from.iter().flat_map(|share| [share.calls, share.cycles]);
        shares.into_iter().try_for_each(|value| finite("linux.predictions.from", value))?;
    }
    Ok(())
}

fn check_workload(place: &str, workload: &WorkloadResult) -> Result<(), Invalid> {
    let finite = |place: String, value: f64| match value.is_finite() {
        true => Ok(()),
        false => Err(Invalid { place, what: format!("{value} is no measured number") }),
    };
    for (op, calls) in &workload.calls {
        finite(format!("{place}.calls.{op}"), *calls)?;
    }
    finite(format!("{place}.inline_ns"), workload.inline_ns.unwrap_or(0.0))?;
    finite(format!("{place}.inline_instructions"), workload.inline_instructions.unwrap_or(0.0))?;
    let own = [("inline_cycles", &workload.inline_cycles), ("again_percent", &workload.again_percent)];
    for (index, estimate) in workload.copies_percent.iter().enumerate() {
        interval(&format!("{place}.copies_percent[{index}]"), estimate)?;
    }
    finite(format!("{place}.floor_percent"), workload.floor_percent)?;
    if let Some(percent) = workload.placement_percent {
        finite(format!("{place}.placement_percent"), percent)?;
    }
    for (name, estimate) in own {
        estimate.iter().try_for_each(|estimate| interval(&format!("{place}.{name}"), estimate))?;
    }
    for (index, kernel) in workload.kernels.iter().enumerate() {
        let place = format!("{place}.kernels[{index}]");
        if kernel.mechanism.is_some() == kernel.option.is_some() {
            return Err(Invalid { place, what: "a kernel has either a mechanism or an option".to_owned() });
        }
        finite(format!("{place}.predicted_percent"), kernel.predicted_percent.unwrap_or(0.0))?;
        if let Some(counted) = kernel.instructions {
            finite(format!("{place}.instructions.per_unit"), counted.per_unit)?;
            finite(format!("{place}.instructions.extra_percent"), counted.extra_percent)?;
        }
        for (name, estimate) in
            [("overhead_percent", &kernel.overhead_percent), ("overhead_cycles", &kernel.overhead_cycles)]
        {
            estimate.iter().try_for_each(|estimate| interval(&format!("{place}.{name}"), estimate))?;
        }
        if let Some(deciding) = &kernel.deciding_percent {
            bounds(&format!("{place}.deciding_percent"), deciding)?;
        }
        if kernel.resolved && kernel.limit.is_some() {
            return Err(Invalid {
                place,
                what: "it is resolved, and something keeps it from being resolved".to_owned(),
            });
        }
    }
    Ok(())
}

fn check_mechanism(place: &str, mechanism: &MechanismInfo, ops: &HashSet<&str>) -> Result<(), Invalid> {
    short(&format!("{place}.step"), mechanism.step.as_deref().unwrap_or_default())?;
    let listings = &mechanism.listings;
    if listings.len() > MAX_LISTINGS {
        let what = format!("{} listings are more than the {MAX_LISTINGS} a mechanism may have", listings.len());
        return Err(Invalid { place: format!("{place}.listings"), what });
    }
    let mut seen = HashSet::new();
    for (index, listing) in listings.iter().enumerate() {
        let place = format!("{place}.listings[{index}]");
        let wrong = |what: &str| Err(Invalid { place: place.clone(), what: what.to_owned() });
        if !ops.contains(listing.op.as_str()) {
            return wrong("the op is not in catalogue.ops");
        }
        if !seen.insert((&listing.op, &listing.state)) {
            return wrong("there is another listing of this op and state");
        }
        check_listing(&place, listing)?;
    }
    Ok(())
}

fn check_listing(place: &str, listing: &Listing) -> Result<(), Invalid> {
    short(&format!("{place}.state"), listing.state.as_deref().unwrap_or_default())?;
    let lines = listing.lines.len();
    if lines > MAX_LINES {
        let what = format!("{lines} lines are more than the {MAX_LINES} a listing may have");
        return Err(Invalid { place: format!("{place}.lines"), what });
    }
    for (index, line) in listing.lines.iter().enumerate() {
        let place = format!("{place}.lines[{index}]");
        let digits = line.bytes.len();
        if digits == 0 || digits % 2 == 1 || !line.bytes.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(Invalid { place: format!("{place}.bytes"), what: "these are no hexadecimal bytes".to_owned() });
        }
        if digits / 2 > MAX_LINE_BYTES {
            let what = format!("{} bytes are more than the {MAX_LINE_BYTES} a line may have", digits / 2);
            return Err(Invalid { place: format!("{place}.bytes"), what });
        }
        short(&format!("{place}.text"), &line.text)?;
        short(&format!("{place}.place"), &line.place)?;
    }
    Ok(())
}

fn short(place: &str, text: &str) -> Result<(), Invalid> {
    let length = text.chars().count();
    if length <= MAX_TEXT {
        return Ok(());
    }
    let what = format!("{length} characters are more than the {MAX_TEXT} it may have");
    Err(Invalid { place: place.to_owned(), what })
}

fn check_cell(place: &str, cell: &Cell) -> Result<(), Invalid> {
    let wrong = |what: String| Err(Invalid { place: place.to_owned(), what });
    match (&cell.overhead, &cell.absent) {
        (Some(_), Some(_)) => return wrong("it has an overhead and a reason why it has none".to_owned()),
        (None, None) => return wrong("it has neither an overhead nor a reason why not".to_owned()),
        (None, Some(_)) => {}
        (Some(overhead), None) => {
            interval(&format!("{place}.overhead.cycles"), &overhead.cycles)?;
            interval(&format!("{place}.overhead.ns"), &overhead.ns)?;
            interval(&format!("{place}.overhead.ratio"), &overhead.ratio)?;
            if overhead.ratio.low <= 0.0 {
                return wrong(format!("a ratio of times cannot be {}", overhead.ratio.low));
            }
        }
    }
    if let Some(deciding) = &cell.deciding_cycles {
        bounds(&format!("{place}.deciding_cycles"), deciding)?;
    }
    if cell.resolved && cell.limit.is_some() {
        return wrong("it is resolved, and something keeps it from being resolved".to_owned());
    }
    for layout in &cell.layouts {
        interval(&format!("{place}.layouts@{}", layout.offset), &layout.cycles)?;
    }
    for mode in &cell.modes {
        if !(0.0..=1.0).contains(&mode.share) {
            return wrong(format!("a mode's share of {} is not between 0 and 1", mode.share));
        }
    }
    let instructions = cell.instructions.iter().flat_map(|i| [i.per_op, i.extra]);
    let counters = cell.counters.iter().flat_map(|c| c.values().copied());
    let modes = cell.modes.iter().map(|m| m.cycles);
    let numbers = cell
        .native_cycles
        .into_iter()
        .chain(cell.floor_cycles)
        .chain(cell.layout_range)
        .chain(instructions)
        .chain(counters);
    match numbers.chain(modes).find(|number| !number.is_finite()) {
        Some(number) => wrong(format!("{number} is no measured number")),
        None => Ok(()),
    }
}

fn interval(place: &str, Estimate { estimate, low, high }: &Estimate) -> Result<(), Invalid> {
    // Written values are rounded; the order of rounded values still holds. A NaN fails every comparison.
    if low <= estimate && estimate <= high && low.is_finite() && high.is_finite() {
        return Ok(());
    }
    Err(Invalid { place: place.to_owned(), what: format!("{estimate} with [{low}, {high}] is no interval") })
}

fn bounds(place: &str, Bounds { low, high }: &Bounds) -> Result<(), Invalid> {
    if low <= high && low.is_finite() && high.is_finite() {
        return Ok(());
    }
    Err(Invalid { place: place.to_owned(), what: format!("[{low}, {high}] is no interval") })
}
