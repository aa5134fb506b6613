//! Steps: of a whole group in the run where they appear, of a single cell after enough runs.

use super::state::{Cell, Group, State, WINDOW};
use crate::history::scatter::{self, MIN_RUNS};
use crate::history::segment::{Point, segment};

/// Cells from which the median of a group moves only if the group does. Fewer are judged like a single cell.
const MIN_GROUP: usize = 6;

/// Steps of a group below this share of the op's time are none. Medians of groups differ by up to 0.0006 between runs
/// of one program beside busy neighbours; at half of it, these become events.
pub(super) const MIN_GROUP_SHARE: f64 = 1e-3;

/// Steps of a single cell below this share of the op's time are none.
const MIN_CELL_SHARE: f64 = 2e-3;

/// Scatters of a group that a step must exceed in its first run, and the square root of the penalty of a level.
const GROUP_Z: f64 = 8.0;

/// Share of a group's cells that must move with it.
const MIN_COHERENT_SHARE: f64 = 0.6;

/// Scatters that a cell must move by to move with its group.
const CELL_SCATTERS: f64 = 3.0;

/// Runs before a step for each one of them that may lie at the new level. If more lie there, that level is a mode of
/// the cell.
const RUNS_PER_OUTLIER: usize = 16;

/// Scatters that a step of a single cell must exceed.
const CELL_Z: f64 = 6.0;

/// The largest distance of a value from the level of a single cell, in scatters. Values that lie farther count as this
/// far, so that one outlier is no step, whatever its size.
const CLIP: f64 = 12.0;

/// Runs of single cells, all together, among which chance alone may suspect one. At a tenth, a step of a single cell
/// is suspected about one run earlier.
const RUNS_PER_FALSE_EVENT: f64 = 1e5;

/// A step of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupStep {
    pub(super) group: usize,
    /// The first run at the new level.
    pub(super) first: u32,
    score: f64,
}

/// Returns the clearest step that the last run ends, over all groups.
pub(super) fn find_group_step(state: &State) -> Option<GroupStep> {
    let mut best: Option<GroupStep> = None;
    for (index, group) in state.groups.iter().enumerate() {
        let Some(step) = step_of_group(state, index, group) else { continue };
        if best.is_none_or(|it| step.score > it.score) {
            best = Some(step);
        }
    }
    best
}

fn step_of_group(state: &State, index: usize, group: &Group) -> Option<GroupStep> {
    let last = state.runs.len() as u32 - 1;
    let rows = &group.rows;
    if group.cells.len() < MIN_GROUP || rows.len() <= MIN_RUNS || rows.back()?.run != last {
        return None;
    }
    let values: Vec<f64> = rows.iter().map(|it| it.value).collect();
    let before = &values[..values.len() - 1];
    let centre = scatter::median(&mut before.to_vec())?;
    let new = values[values.len() - 1];
    let usual = usual_scatter(state, group);
    let scatter = scatter::moderate(scatter::between_neighbours(before), before.len(), usual).max(usual / 4.0);
    if (new - centre).abs() < MIN_GROUP_SHARE.max(GROUP_Z * scatter) || is_learning(state, group) {
        return None;
    }
    let points: Vec<Point> = values.iter().map(|it| Point { value: it / scatter, weight: 1.0 }).collect();
    let levels = segment(&points, GROUP_Z * GROUP_Z);
    let &[.., from, first] = levels.as_slice() else { return None };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (old, new) = (mean(&values[from..first]), mean(&values[first..]));
    if (new - old).abs() < MIN_GROUP_SHARE {
        return None;
    }
    let bound = f64::midpoint(old, new);
    let beyond = |values: &[f64]| values.iter().filter(|&&it| (it > bound) == (new > bound)).count();
    let seen = beyond(&values[..first]);
    // A group that was on the new side before has two modes: only their shares can tell, and so in a group whose cells
    // are where they had been.
    if seen > 0 || !is_coherent(state, group, rows[first].run, new > old, &|it| state.cells[it].start) {
        let ln = scatter::ln_exchangeable(seen, first, beyond(&values[first..]), values.len() - first);
        if ln > -(RUNS_PER_FALSE_EVENT * state.groups.len() as f64).ln() {
            return None;
        }
    }
    let score = (new - old).abs() / scatter * (group.cells.len() as f64).sqrt();
    Some(GroupStep { group: index, first: rows[first].run, score })
}

/// Whether enough cells of a group are where they were not before, on the same side. Where cells have modes, the median
/// over them can move because some of them change places; then they are where they had been.
///
/// `start` has the first run of the level of a cell before.
pub(super) fn is_coherent(state: &State, group: &Group, first: u32, up: bool, start: &dyn Fn(usize) -> u32) -> bool {
    let (mut new_places, mut all) = (0, 0);
    for &index in group.cells.iter().filter(|&&it| start(it) < first) {
        let (cell, start) = (&state.cells[index], start(index));
        let Some((after, _)) = cell.median(first, u32::MAX) else { continue };
        let Some((before, runs)) = cell.median(start, first) else { continue };
        all += 1;
        let least = (CELL_SCATTERS * cell.scatter).max(MIN_GROUP_SHARE / 2.0) * cell.whole;
        if (after > before) != up || (after - before).abs() < least {
            continue;
        }
        let mut values: Vec<f64> = cell.values(start, first).map(|it| it.value).collect();
        values.sort_by(f64::total_cmp);
        // One run in sixteen may have been anywhere; what the others spread over, a step must exceed clearly.
        let outliers = runs / RUNS_PER_OUTLIER;
        let beyond = if up { after - values[runs - 1 - outliers] } else { values[outliers] - after };
        let spread = values[runs - 1 - outliers.min(runs - 1)] - values[outliers.min(runs - 1)];
        new_places += usize::from(beyond > spread.max(0.0));
    }
    all > 0 && new_places as f64 >= MIN_COHERENT_SHARE * all as f64
}

/// The scatter that the median of a group has, if its cells scatter independently.
fn usual_scatter(state: &State, group: &Group) -> f64 {
    let mut scatters: Vec<f64> = group.cells.iter().map(|&it| state.cells[it].scatter).collect();
    let cells = scatters.len() as f64;
    scatter::median(&mut scatters).unwrap_or(0.0) * 1.25 / cells.sqrt()
}

fn is_learning(state: &State, group: &Group) -> bool {
    2 * group.cells.iter().filter(|&&it| state.is_learning(&state.cells[it])).count() > group.cells.len()
}

/// Returns whether a cell has a step that the last run ends, and its first run.
///
/// The levels come from exact segmentation of clipped values. Whether it is one, an exact test decides that holds for
/// every distribution: how often runs that can be exchanged lie on their sides of the step.
pub(super) fn find_cell_step(state: &State, cell: &Cell) -> Option<u32> {
    let last = state.runs.len() as u32 - 1;
    if cell.values.back()?.run != last || state.is_learning(cell) {
        return None;
    }
    let values: Vec<_> = cell.values(cell.start, u32::MAX).collect();
    if values.len() < 2 * MIN_RUNS || values.len() > WINDOW {
        return None;
    }
    // Cheap first: the last values all lie on one side, beyond the scatter.
    let scatter = cell.scatter * cell.whole;
    let least = (CELL_Z * scatter / 2.0).max(MIN_CELL_SHARE * cell.whole / 2.0);
    let mut centre: Vec<f64> = values.iter().map(|it| it.value).collect();
    let centre = scatter::median(&mut centre)?;
    let tail = values.len() - 4;
    let away = |from: usize, centre: f64| {
        let side = values[values.len() - 1].value > centre;
        values[from..].iter().all(|it| (it.value - centre).abs() > least && (it.value > centre) == side)
    };
    let mut old: Vec<f64> = values[..tail].iter().map(|it| it.value).collect();
    let old = scatter::median(&mut old)?;
    if !away(tail, centre) && !away(tail, old) && !away(tail, cell.level) {
        return None;
    }
    let mut errors: Vec<f64> = values.iter().map(|it| f64::from(it.error)).collect();
    let usual_error = scatter::median(&mut errors)?;
    let points: Vec<Point> = values
        .iter()
        .map(|it| {
            // A run whose error is larger than usual weighs less.
            let extra = (f64::from(it.error).powi(2) - usual_error * usual_error).max(0.0);
            let value = ((it.value - cell.level) / scatter).clamp(-CLIP, CLIP);
            Point { value, weight: scatter * scatter / (scatter * scatter + extra) }
        })
        .collect();
    let levels = segment(&points, CELL_Z * CELL_Z);
    let &[.., from, first] = levels.as_slice() else { return None };
    let old = cell.median(values[from].run, values[first].run)?.0;
    let new = cell.median(values[first].run, u32::MAX)?.0;
    if (new - old).abs() < MIN_CELL_SHARE * cell.whole || (new - old).abs() < CELL_Z * scatter {
        return None;
    }
    let bound = f64::midpoint(old, new);
    let beyond =
        |from: usize, to: usize| values[from..to].iter().filter(|it| (it.value > bound) == (new > bound)).count();
    let (before, after) = (first, values.len() - first);
    let ln = scatter::ln_exchangeable(beyond(0, first), before, beyond(first, values.len()), after);
    (ln < -(RUNS_PER_FALSE_EVENT * state.cells.len() as f64).ln()).then_some(values[first].run)
}

/// Returns whether the bytes of a cell changed in the last run, and its value with them: no chance is needed to
/// explain it, and one run suffices.
pub(super) fn moved_with_its_bytes(state: &State, cell: &Cell) -> bool {
    let last = state.runs.len() as u32 - 1;
    let Some(value) = cell.values.back().filter(|it| it.run == last) else { return false };
    if cell.code_changes.back() != Some(&last) || state.is_learning(cell) {
        return false;
    }
    let values: Vec<f64> = cell.values(cell.start, last).map(|it| it.value).collect();
    let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), &it| (low.min(it), high.max(it)));
    if values.len() < MIN_RUNS || (low..=high).contains(&value.value) {
        return false;
    }
    let beyond = (low - value.value).max(value.value - high);
    beyond > (CELL_Z * cell.scatter).max(MIN_CELL_SHARE) * cell.whole && beyond > (high - low)
}

/// How a cell moved at a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    pub(super) before: f64,
    pub(super) after: f64,
    /// 95% half width of the change.
    pub(super) error: f64,
    /// Whether the change is beyond the scatter of the cell.
    pub(super) is_clear: bool,
}

/// Returns how a cell moved at a run, against its values from `start` on; `None` if values are too few.
pub(super) fn measure_move(cell: &Cell, start: u32, first: u32) -> Option<Move> {
    let (before, old_runs) = cell.median(start, first)?;
    let (after, new_runs) = cell.median(first, u32::MAX)?;
    if old_runs < 3 {
        return None;
    }
    // A median scatters a quarter more than a mean.
    let terms = 1.57 * (1.0 / old_runs as f64 + 1.0 / new_runs as f64);
    let error = cell.scatter * cell.whole * terms.min(1.0 + 1.57 / old_runs as f64).sqrt();
    let change = (after - before).abs();
    let is_clear = change > 4.0 * error && change > MIN_GROUP_SHARE / 2.0 * cell.whole;
    Some(Move { before, after, error: 1.96 * error, is_clear })
}
