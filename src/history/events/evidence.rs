//! What is observed beside the numbers of an event.

use super::open::{Class, Found};
use super::state::{State, axis_changes};
use crate::history::cause::Evidence;
use crate::history::scatter;

/// References that moved by less than this share did not move. They scatter by 0.00001 between runs.
const MIN_REFERENCE_SHARE: f64 = 1e-3;

/// Scatters that references must move by.
const REFERENCE_Z: f64 = 6.0;

/// Runs before an event that its references are compared with.
const REFERENCE_RUNS: usize = 16;

/// Share of contended blocks by which two runs must differ to tell a busy neighbour.
const MIN_CONTENDED_SHARE: f64 = 0.15;

/// Relative differences of the calibration that tell another frequency, and another share of the core.
const MIN_FREQUENCY_SHARE: f64 = 0.005;
const MIN_ADDS_SHARE: f64 = 0.02;

/// Gathers the evidence for an event while its runs are looked back on.
pub(super) fn gather(state: &State, found: &Found) -> Evidence {
    let (good, bad) = (&state.runs[found.good as usize], &state.runs[found.first as usize]);
    let header = axis_changes(good, bad).into_iter().map(|it| (it.what, it.before, it.after)).collect();
    let code = found.cells.values().filter(|it| it.code_changed == Some(true)).count();
    let mut calibration = Vec::new();
    let ratio = |before: Option<f64>, after: Option<f64>| {
        before.zip(after).filter(|it| it.0 > 0.0 && it.1 > 0.0).map(|(before, after)| after / before - 1.0)
    };
    if let Some(share) = ratio(bad.ticks_per_cycle, good.ticks_per_cycle).filter(|it| it.abs() > MIN_FREQUENCY_SHARE) {
        calibration.push(format!("the core frequency changed by {:+.1}%", 100.0 * share));
    }
    if let Some(share) = ratio(good.adds_per_cycle, bad.adds_per_cycle).filter(|it| it.abs() > MIN_ADDS_SHARE) {
        calibration.push(format!("the core throughput changed by {:+.1}%", 100.0 * share));
    }
    if let Some((before, after)) = good.contended_share.zip(bad.contended_share)
        && (after - before).abs() > MIN_CONTENDED_SHARE
    {
        let percent = |share: f64| 100.0 * share;
        calibration.push(format!(
            "contended blocks changed from {:.0}% to {:.0}%: a busy neighbour",
            percent(before),
            percent(after)
        ));
    }
    Evidence {
        instructions: if found.class == Class::Instructions { found.cells.len() } else { 0 },
        code,
        cells: found.cells.len(),
        knows_code: found.cells.values().any(|it| it.code_changed.is_some()),
        reference: moved_reference(state, found),
        header,
        calibration,
    }
}

/// Returns the regime of the event whose references moved most, with their move.
fn moved_reference(state: &State, found: &Found) -> Option<(String, f64)> {
    let mut regimes: Vec<_> = found.cells.keys().filter_map(|&it| state.cells[it].names.regime.clone()).collect();
    regimes.sort();
    regimes.dedup();
    let moves = regimes.into_iter().filter_map(|regime| {
        let at = |run: &&(u32, super::state::References)| run.1.contains_key(&regime);
        let mut before: Vec<_> = state.references.iter().filter(at).filter(|it| it.0 < found.first).collect();
        let since: Vec<_> = state.references.iter().filter(at).filter(|it| it.0 >= found.first).collect();
        before.drain(..before.len().saturating_sub(REFERENCE_RUNS));
        let base = &before.last()?.1[&regime];
        let row = |run: &(u32, super::state::References)| {
            let mut shares: Vec<f64> = run.1[&regime]
                .iter()
                .filter_map(|(name, cycles)| base.get(name).map(|before| cycles / before - 1.0))
                .collect();
            scatter::median(&mut shares)
        };
        let before: Vec<f64> = before.iter().filter_map(|it| row(it)).collect();
        let mut since: Vec<f64> = since.iter().filter_map(|it| row(it)).collect();
        let share = scatter::median(&mut since)? - scatter::median(&mut before.clone())?;
        let usual = scatter::between_neighbours(&before).unwrap_or(0.0);
        (share.abs() > MIN_REFERENCE_SHARE.max(REFERENCE_Z * usual)).then(|| (regime.to_string(), share))
    });
    moves.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))
}
