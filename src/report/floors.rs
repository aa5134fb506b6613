//! The floors of a report and the placement range of a workload: one definition each.

use super::Report;
use super::schema::WorkloadResult;
use crate::regime::Regime;

impl Report {
    /// The floor of a regime in core cycles (per cycle of the op, at least one), or that of the whole run where the
    /// document has no other. `None` without a floor, or where it is no usable number.
    #[must_use]
    pub fn floor_of(&self, regime: Regime) -> Option<f64> {
        let own = self.floors.iter().find(|floor| floor.regime == regime).map(|floor| floor.cycles);
        own.or(self.floor.as_ref().map(|floor| floor.cycles)).filter(|floor| floor.is_finite() && *floor >= 0.0)
    }
}

/// The definition of a workload's floor in a few words.
pub const WORKLOAD_FLOOR: &str =
    "floor: the largest difference that inline shows against its own copies, as a mean over all placements";

/// The definition of a workload's placement range in a few words.
pub const PLACEMENT_RANGE: &str =
    "placement range: 95% of two single placements of the same kernel differ by no more, run-to-run noise removed";

impl WorkloadResult {
    /// The floor in percent: nothing below it is called a difference. `None` where it is no usable number.
    #[must_use]
    pub fn floor(&self) -> Option<f64> {
        Some(self.floor_percent).filter(|floor| floor.is_finite() && *floor >= 0.0)
    }

    /// The placement range in percent. It is about single placements, and so is wider than the floor, which is about
    /// means over all placements of the run. `None` where kernels were not placed.
    #[must_use]
    pub fn placement_range(&self) -> Option<f64> {
        self.placement_percent.filter(|percent| percent.is_finite() && *percent >= 0.0)
    }
}
