//! The floors of a run: what the A/A comparisons of its groups show, over all regimes and in each.

use super::ByKey;
use super::reduce::{VariantEffect, WorkerEstimate};
use crate::regime::Regime;
use crate::report::schema::{Floor, RegimeFloor};
use crate::stats::floor::{self, floor};
use crate::stats::location::median;

/// The floors of a run.
pub(super) struct Floors {
    /// Over all regimes; absent without a finished group.
    pub run: Option<Floor>,
    /// Of each regime that has a finished group.
    pub regimes: Vec<RegimeFloor>,
}

/// The A/A comparisons of one group.
struct Compared {
    regime: Regime,
    /// `inline` again at the same address, in cycles per cycle of the op.
    same: Option<f64>,
    /// A copy of `inline` at another address, in the same unit.
    copied: f64,
    /// Logarithm of the copy's ratio to `inline`.
    log_ratio: f64,
}

impl Floors {
    /// Of all groups. Noise grows with what a pass takes, so each group's A/A difference counts per cycle of its op, at
    /// least one: otherwise a few dear ops would set the floor of all cheap ones.
    pub fn of(reduced: &ByKey) -> Self {
        let compared: Vec<Compared> =
            reduced.iter().filter_map(|((.., regime), group)| of_group(*regime, group)).collect();
        let Some((run, regimes)) = of_run(&compared) else { return Floors { run: None, regimes: Vec::new() } };
        Floors { run: Some(run), regimes }
    }

    /// The floor of a regime, in cycles per cycle of the op; that of the run where no group of the regime was compared.
    pub fn of_regime(&self, regime: Regime) -> Option<f64> {
        let own = self.regimes.iter().find(|floor| floor.regime == regime).map(|floor| floor.cycles);
        own.or(self.run.as_ref().map(|floor| floor.cycles))
    }
}

/// Over workers, then over layouts, as cells are made.
fn of_group(regime: Regime, group: &[(u32, Vec<WorkerEstimate>)]) -> Option<Compared> {
    let column = |column: usize, part: fn(&WorkerEstimate, &VariantEffect) -> f64| {
        let of_layout = |(_, workers): &(u32, Vec<WorkerEstimate>)| {
            let effects = workers.iter().filter_map(|w| Some((w, w.effects.get(column)?.as_ref()?)));
            median(&effects.map(|(w, effect)| part(w, effect)).collect::<Vec<_>>())
        };
        median(&group.iter().filter_map(of_layout).collect::<Vec<_>>())
    };
    let scaled = |w: &WorkerEstimate, effect: &VariantEffect| effect.cycles / w.inline_cycles.max(1.0);
    let (same, copied) = (column(0, scaled), column(1, scaled)?);
    Some(Compared { regime, same, copied, log_ratio: column(1, |_, effect| effect.log_ratio)? })
}

fn of_run(compared: &[Compared]) -> Option<(Floor, Vec<RegimeFloor>)> {
    let all: Vec<&Compared> = compared.iter().collect();
    let (whole, same_loop_cycles, copied_loop_cycles) = of(&all)?;
    let regimes = Regime::ALL.into_iter().filter_map(|regime| {
        let own: Vec<&Compared> = compared.iter().filter(|group| group.regime == regime).collect();
        let (part, same_loop_cycles, copied_loop_cycles) = of(&own)?;
        let floor::Floor { cycles, ratio, groups } = floor::of_part(part, whole);
        Some(RegimeFloor { regime, cycles, ratio, groups, same_loop_cycles, copied_loop_cycles })
    });
    let floor::Floor { cycles, ratio, groups } = whole;
    Some((Floor { cycles, ratio, groups, same_loop_cycles, copied_loop_cycles }, regimes.collect()))
}

/// The floor of some groups, and the medians of their differences to the same loop and to its copy.
fn of(groups: &[&Compared]) -> Option<(floor::Floor, f64, f64)> {
    let values = |of: fn(&Compared) -> f64| groups.iter().map(|group| of(group)).collect::<Vec<f64>>();
    let made = floor(&values(|group| group.copied), &values(|group| group.log_ratio))?;
    let typical = |values: &[f64]| median(&values.iter().map(|value| value.abs()).collect::<Vec<_>>());
    let same: Vec<f64> = groups.iter().filter_map(|group| group.same).collect();
    Some((made, typical(&same)?, typical(&values(|group| group.copied))?))
}
