//! The part of a recording that is replayed: from one execution of a run to a later one of the same run, so that its
//! end leads to its beginning.

use std::collections::HashMap;
use std::ops::Range;

use crate::linux::record::recording::Recording;

/// Runs at the beginning of a recording, of which one is executed in every unit.
const CANDIDATES: usize = 16;

/// A part of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayWindow {
    /// Its executed runs.
    pub runs: Range<usize>,
    /// Its units; a unit may be cut where it makes several system calls.
    pub units: f64,
}

impl ReplayWindow {
    /// The first `part` of a recording.
    #[must_use]
    pub fn of(recording: &Recording, part: f64) -> ReplayWindow {
        let units = recording.about.units.max(1) as f64;
        let whole = ReplayWindow { runs: 0..recording.sequence.len(), units };
        let mut executed: HashMap<u32, Vec<usize>> =
            recording.sequence.iter().take(CANDIDATES).map(|run| (*run, Vec::new())).collect();
        for (index, run) in recording.sequence.iter().enumerate() {
            if let Some(executed) = executed.get_mut(run) {
                executed.push(index);
            }
        }
        let is_frequent = |run: &&u32| executed.get(*run).is_some_and(|all| all.len() as f64 >= units && all.len() > 1);
        let Some(all) = recording.sequence.iter().take(CANDIDATES).find(is_frequent).and_then(|run| executed.get(run))
        else {
            return whole;
        };
        let wanted = (all.len() as f64 * part.clamp(0.0, 1.0)).round() as usize;
        let count = wanted.clamp(1, all.len() - 1);
        match (all.first(), all.get(count)) {
            (Some(first), Some(last)) => {
                ReplayWindow { runs: *first..*last, units: units * count as f64 / all.len() as f64 }
            }
            _ => whole,
        }
    }
}
