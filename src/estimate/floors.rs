//! The floors of a run, from its A/A comparisons: over all regimes, and in each.

use super::medians::{ComparisonMedians, Medians};
use crate::measure::variant::Variant;
use crate::regime::Regime;
use crate::report::schema::{Floor, RegimeFloor};
use crate::stats::floor::{self, floor};
use crate::stats::location::median;

/// The floors of a run.
pub(super) struct Floors {
    /// Over all regimes; absent without a finished comparison.
    pub run: Option<Floor>,
    /// Of each regime with a finished comparison.
    pub regimes: Vec<RegimeFloor>,
}

/// The A/A differences of one comparison, over its layouts.
pub(super) struct AaDifference {
    regime: Regime,
    /// `inline` against its repeat at the same address, in cycles per cycle of the op.
    same: Option<f64>,
    /// `inline` against its copy at another address, in the same unit.
    copied: f64,
    /// Natural logarithm of the copy's ratio to `inline`.
    log_ratio: f64,
}

impl Floors {
    /// The floors from all comparisons. Noise grows with the time of an op, so each A/A difference is divided by the
    /// op's cycles, at least one. Otherwise a few slow ops would determine the floor of all fast ones.
    pub fn from_medians(medians: &Medians) -> Self {
        let Some((run, regimes)) = run_and_regime_floors(&medians.aa_differences) else {
            return Floors { run: None, regimes: Vec::new() };
        };
        Floors { run: Some(run), regimes }
    }

    /// The floor of a regime, in cycles per cycle of the op; without a finished comparison in the regime, the floor of
    /// the run.
    pub fn regime_floor(&self, regime: Regime) -> Option<f64> {
        let own = self.regimes.iter().find(|floor| floor.regime == regime).map(|floor| floor.cycles);
        own.or(self.run.as_ref().map(|floor| floor.cycles))
    }
}

impl AaDifference {
    /// The differences of a comparison: medians over layouts of medians over workers, as for cells. `None` without a
    /// copy.
    pub(super) fn of(comparison: &ComparisonMedians) -> Option<Self> {
        let scale = comparison.inline_cycles.max(1.0);
        let same = comparison.variants.get(&Variant::Repeat);
        let copied = comparison.variants.get(&Variant::Copy(1))?;
        Some(AaDifference {
            regime: comparison.regime,
            same: same.map(|medians| medians.cycles.value / scale),
            copied: copied.cycles.value / scale,
            log_ratio: copied.log_ratio.value,
        })
    }
}

fn run_and_regime_floors(differences: &[AaDifference]) -> Option<(Floor, Vec<RegimeFloor>)> {
    let all: Vec<&AaDifference> = differences.iter().collect();
    let (whole, same_loop_cycles, copied_loop_cycles) = floor_and_medians(&all)?;
    let regimes = Regime::ALL.into_iter().filter_map(|regime| {
        let own: Vec<&AaDifference> = differences.iter().filter(|one| one.regime == regime).collect();
        let (part, same_loop_cycles, copied_loop_cycles) = floor_and_medians(&own)?;
        let floor::Floor { cycles, ratio, comparisons } = floor::part_floor(part, whole);
        Some(RegimeFloor { regime, cycles, ratio, comparisons, same_loop_cycles, copied_loop_cycles })
    });
    let floor::Floor { cycles, ratio, comparisons } = whole;
    Some((Floor { cycles, ratio, comparisons, same_loop_cycles, copied_loop_cycles }, regimes.collect()))
}

/// The floor of some comparisons, and their median absolute differences to the same loop and to its copy.
fn floor_and_medians(differences: &[&AaDifference]) -> Option<(floor::Floor, f64, f64)> {
    let values = |field: fn(&AaDifference) -> f64| differences.iter().map(|one| field(one)).collect::<Vec<f64>>();
    let floor = floor(&values(|one| one.copied), &values(|one| one.log_ratio))?;
    let median_size = |values: &[f64]| median(&values.iter().map(|value| value.abs()).collect::<Vec<_>>());
    let same: Vec<f64> = differences.iter().filter_map(|one| one.same).collect();
    Some((floor, median_size(&same)?, median_size(&values(|one| one.copied))?))
}
