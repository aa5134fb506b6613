//! Comparisons: the variants of an op whose windows share their blocks.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::variant::{TreatmentId, Treatments};
use crate::op::BodyKind;
use crate::regime::Regime;

/// One op with one body in one regime at one layout; its variants share their blocks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Name of the op.
    pub op: String,
    /// The body that the mechanisms are bound to. The reference is always native.
    pub body: BodyKind,
    /// The regime, which decides the loop.
    pub regime: Regime,
    /// Offset of every loop head within 128 bytes.
    pub offset: u32,
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Comparison { op, body, regime, offset } = self;
        write!(f, "{op}/{}/{}@{offset}", body.name(), regime.name())
    }
}

/// A comparison and the treatments to measure in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedComparison {
    /// The comparison.
    pub(crate) comparison: Comparison,
    /// The ids of its treatments; all of them are mechanisms.
    pub treatments: Vec<TreatmentId>,
}

/// The cells that a run measures, and the treatments of its cells and workloads.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// What the ids stand for.
    pub treatments: Treatments,
    /// All comparisons.
    pub(crate) comparisons: Vec<PlannedComparison>,
}

impl Matrix {
    /// Plans all of `comparisons` with the same treatments.
    pub fn plan(&mut self, comparisons: impl IntoIterator<Item = Comparison>, treatments: &[TreatmentId]) {
        let planned = |comparison| PlannedComparison { comparison, treatments: treatments.to_vec() };
        self.comparisons.extend(comparisons.into_iter().map(planned));
    }

    /// Returns the treatments of an op, body and regime. All layouts have the same.
    #[must_use]
    pub(crate) fn treatments_of(&self, op: &str, body: BodyKind, regime: Regime) -> &[TreatmentId] {
        let matches = |it: &&PlannedComparison| {
            let Comparison { op: planned_op, body: planned_body, regime: planned_regime, .. } = &it.comparison;
            planned_op == op && *planned_body == body && *planned_regime == regime
        };
        self.comparisons.iter().find(matches).map_or(&[], |planned| &planned.treatments)
    }

    /// Number of layouts at which loops are measured.
    #[must_use]
    pub(crate) fn layouts(&self) -> usize {
        self.comparisons.iter().map(|planned| planned.comparison.offset).collect::<BTreeSet<_>>().len().max(1)
    }

    /// Whether a cell of the op is planned.
    #[must_use]
    pub(crate) fn has_op(&self, op: &str) -> bool {
        self.comparisons.iter().any(|planned| planned.comparison.op == op)
    }

    /// Number of cells at one layout: the A/A comparison of each op, body and regime, and its treatments.
    #[must_use]
    pub fn cells(&self) -> usize {
        let treatments = self.comparisons.iter().map(|planned| planned.treatments.len()).max().unwrap_or(0);
        self.comparisons.len() / self.layouts() * (treatments + 1)
    }
}

/// Largest number of layouts in a plan: one at every second byte of a pair of cache lines.
pub(crate) const MAX_LAYOUTS: usize = 64;

/// `count` offsets of the loop head within 128 bytes (1 to `MAX_LAYOUTS`), spread evenly, odd ones among them.
#[must_use]
pub fn offsets(count: usize) -> Vec<u32> {
    let count = count.clamp(1, MAX_LAYOUTS) as u32;
    // Every second pair moves by one byte: instruction fetch and loop buffers treat odd addresses unlike even ones.
    (0..count).map(|i| (i * 128 / count) | (i >> 1 & 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_distinct_within_a_pair_of_lines_and_some_are_odd() {
        for count in 1..=MAX_LAYOUTS {
            let offsets = offsets(count);
            assert_eq!(offsets.iter().collect::<BTreeSet<_>>().len(), count);
            assert!(offsets.iter().all(|offset| *offset < 128), "{offsets:?}");
            assert!(count < 3 || offsets.iter().any(|offset| offset % 2 == 1), "{offsets:?}");
        }
        assert_eq!((offsets(0), offsets(1)), (vec![0], vec![0]));
        assert_eq!(offsets(MAX_LAYOUTS + 1).len(), MAX_LAYOUTS);
    }
}
