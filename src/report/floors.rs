//! The floors of a report and the placement range of a workload, each defined once.

use super::Report;
use super::schema::{Cell, WorkloadResult};
use crate::regime::Regime;
use crate::stats::location::median;

impl Report {
    /// The typical floor of a regime: the median of the floors of its cells, in core cycles. `None` without a floor.
    #[must_use]
    pub(crate) fn typical_floor(&self, regime: Regime) -> Option<f64> {
        let own = |cell: &&Cell| cell.regime == regime && cell.mechanism != "inline";
        let floors = self.cells.iter().filter(own).filter_map(|cell| cell.floor_cycles);
        median(&floors.filter(|floor| floor.is_finite() && *floor >= 0.0).collect::<Vec<_>>())
    }

    /// The noise of a regime in core cycles per cycle of the op (an op counts as at least one cycle). If the report has
    /// no noise for the regime, the noise of the whole run. `None` without noise, or if the number is not usable.
    #[must_use]
    pub(crate) fn floor_of(&self, regime: Regime) -> Option<f64> {
        let own = self.floors.iter().find(|floor| floor.regime == regime).map(|floor| floor.cycles);
        own.or(self.floor.as_ref().map(|floor| floor.cycles)).filter(|floor| floor.is_finite() && *floor >= 0.0)
    }
}

/// Definition of a workload's floor for captions.
pub(crate) const WORKLOAD_FLOOR: &str =
    "floor: the largest difference between inline and its own copies, each a mean over all placements";

/// Definition of a workload's placement range for captions.
pub(crate) const PLACEMENT_RANGE: &str =
    "placement range: 95% of two single placements of the same kernel differ by no more, run-to-run noise removed";

impl WorkloadResult {
    /// The floor in percent; nothing below it is a difference. `None` if the number is not usable.
    #[must_use]
    pub fn floor(&self) -> Option<f64> {
        Some(self.floor_percent).filter(|floor| floor.is_finite() && *floor >= 0.0)
    }

    /// The placement range in percent. It concerns single placements and is therefore wider than the floor, which
    /// concerns means over all placements of the run. `None` if kernels were not placed.
    #[must_use]
    pub(crate) fn placement_range(&self) -> Option<f64> {
        self.placement_percent.filter(|percent| percent.is_finite() && *percent >= 0.0)
    }
}
