//! `gate --history`: the last confirmed level of each cell as the baseline of changes.

use std::collections::HashMap;
use std::path::Path;

use crate::cli::error::{self, CliError};
use crate::cli::history::HistoryError;
use crate::history::commits::CommitOrder;
use crate::history::events::stored::{search, stream_name};
use crate::history::events::{Level, stream_of};
use crate::history::keep::keep;
use crate::history::kept::Subject;
use crate::history::store::{Entry, Store};
use crate::report::Report;
use crate::report::schema::{Cell, Estimate};
use crate::report::subject::{plain, reason};
use crate::stats::measured::Measured;

/// Runs that the scatter of a level counts as at least: that of its mechanism is shared.
const MIN_DEGREES_OF_FREEDOM: f64 = 6.0;

/// Returns a baseline for a report: its own cells at their last confirmed levels. `None`, after a warning, if the
/// history has no run of this machine class, suite and preset.
pub(super) fn baseline(folder: &Path, path: &Path, report: &Report) -> Result<Option<Report>, CliError> {
    let store = Store::new(folder);
    let listing = store.list()?;
    let mut skipped = listing.skipped;
    let kept = keep(report, None).map_err(|cause| HistoryError::Report { path: path.to_owned(), cause })?;
    let mut stream = stream_of(&kept);
    stream.machine_class = store.aliases()?.resolve(&stream.machine_class).to_owned();
    // The run itself may be in the history already: it is not judged against itself.
    let is_itself =
        |it: &Entry| it.header.started_seconds == kept.header.started_seconds && it.header.seed == kept.header.seed;
    let entries: Vec<&Entry> =
        listing.entries.iter().filter(|it| stream_name(it) == stream && !is_itself(it)).collect();
    let newest = entries.iter().max_by_key(|it| it.header.started_seconds);
    let order = CommitOrder::from_headers(entries.iter().map(|it| &it.header));
    let detector = search(&store, &entries, &order, &mut skipped);
    for it in &skipped {
        error::warn(&format!("{} is left out: {}", plain(&it.path.display().to_string()), reason(&it.reason)));
    }
    let Some(newest) = newest else {
        let class = plain(&stream.machine_class);
        error::warn(&format!("the history has no run of {class} with this suite and preset: changes are not judged"));
        return Ok(None);
    };
    let levels: HashMap<&Subject, Level> = detector.levels().filter(|(_, level)| !level.learning).collect();
    let mut baseline = report.clone();
    baseline.machine = newest.header.machine.clone();
    baseline.tool.version.clone_from(&newest.header.tool.version);
    baseline.tool.build.clone_from(&newest.header.tool.build);
    for (cell, kept) in baseline.cells.iter_mut().zip(&kept.cells) {
        let level = levels.get(&Subject::Cell(kept.name.clone()));
        set_level(cell, level, report.run.plan.confidence);
    }
    let kernels = baseline.workloads.iter_mut().flat_map(|it| &mut it.kernels);
    for (kernel, kept) in kernels.zip(kept.workloads.iter().flat_map(|it| &it.kernels)) {
        let level = levels.get(&Subject::Kernel(kept.name.clone()));
        kernel.overhead_percent =
            level.and_then(|it| Estimate::from_measured(&measured(it), report.run.plan.confidence));
    }
    Ok(Some(baseline))
}

fn measured(level: &Level) -> Measured {
    // The runs that made the level scatter, and so does the one that is judged. A median scatters more than a mean.
    let terms = 1.0 + 1.57 / level.runs.max(1) as f64;
    let degrees_of_freedom = (level.runs as f64 - 1.0).max(MIN_DEGREES_OF_FREEDOM);
    Measured { value: level.value, standard_error: level.scatter * terms.sqrt(), degrees_of_freedom }
}

/// Puts a cell at its level. Its layouts keep their distances, which are the same in every run.
fn set_level(cell: &mut Cell, level: Option<&Level>, confidence: f64) {
    cell.modes.clear();
    cell.mix = None;
    let estimate = level.and_then(|it| Estimate::from_measured(&measured(it), confidence));
    let (Some(overhead), Some(level), Some(cycles)) = (&mut cell.overhead, level, estimate) else {
        cell.overhead = None;
        cell.absent = Some("the history has no confirmed level of it yet".to_owned());
        cell.instructions = None;
        return;
    };
    let by = level.value - overhead.cycles.estimate;
    for layout in &mut cell.layouts {
        layout.cycles.estimate += by;
        layout.cycles.low += by;
        layout.cycles.high += by;
    }
    overhead.cycles = cycles;
    match (&mut cell.instructions, level.instructions) {
        (Some(counts), Some(level)) => {
            counts.extra += level - counts.per_op;
            counts.per_op = level;
        }
        (counts, _) => *counts = None,
    }
}
