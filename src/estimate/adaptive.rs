//! The comparisons whose cells another worker can decide.

use std::collections::{BTreeMap, BTreeSet};

use super::cell::{Noise, find_modes, mode_range, value_range};
use super::floors::Floors;
use super::medians::{ComparisonMedians, Medians};
use super::{CONFIDENCE, Estimator, Key, MIN_UNCONTENDED_ROUNDS, MIN_UNCONTENDED_WORKERS, Settings, comparison_key};
use crate::measure::comparison::{Comparison, PlannedComparison};
use crate::measure::samples::LoopSamples;
use crate::measure::variant::{TreatmentId, Variant};
use crate::report::schema::Limit;
use crate::stats::resolve::{MAX_ERROR, Obstacles};

/// Largest number of workers to decide a cell, as a multiple of those that it has; a cell that needs more gets none.
/// The need is `(half-width / distance to the floor)^2`, so the bound admits a half-width of four times that distance.
/// At half the bound it is 2.8 times, at twice 5.7 times.
const MAX_EXTRA_WORKERS_FACTOR: f64 = 16.0;

impl Estimator {
    /// The comparisons that another worker can decide, the most useful first, with their undecided treatments.
    ///
    /// 1. Comparisons with too few uncontended workers, whatever their results; those that need the fewest come first.
    /// 2. Undecided treatments at all layouts of their comparison; those with the widest interval come first.
    ///
    /// A cell is decided if it is resolved, if its interval lies within the noise, or if more workers would not change
    /// the verdict. The latter are overheads limited by modes or layouts, or too close to the floor
    /// (`MAX_EXTRA_WORKERS_FACTOR`).
    ///
    /// The length of a run thus depends on its results, which could let chance resolve cells. In five recorded runs
    /// with up to 20 extra workers it resolved none of 3,060 A/A comparisons.
    #[must_use]
    pub fn undecided(&self, settings: &Settings) -> Vec<(Comparison, Vec<TreatmentId>)> {
        let contended = self.contended_comparisons(settings);
        let mut next: Vec<(Comparison, Vec<TreatmentId>)> =
            contended.iter().map(|planned| (planned.comparison.clone(), planned.treatments.clone())).collect();
        let whole: BTreeSet<&Comparison> = contended.into_iter().map(|planned| &planned.comparison).collect();
        let mut others: BTreeMap<Key, Vec<&Comparison>> = BTreeMap::new();
        let planned = settings.matrix.comparisons.iter().map(|planned| &planned.comparison);
        for comparison in planned.filter(|comparison| !whole.contains(comparison)) {
            others.entry(comparison_key(comparison)).or_default().push(comparison);
        }
        for (key, treatments) in self.undecided_treatments(settings) {
            let comparisons = others.get(&key).into_iter().flatten();
            next.extend(comparisons.map(|comparison| ((*comparison).clone(), treatments.clone())));
        }
        next
    }

    /// The comparisons with too few uncontended workers to leave contended blocks out. The choice depends on core
    /// throughput alone, not on the measured times.
    fn contended_comparisons<'a>(&self, settings: &Settings<'a>) -> Vec<&'a PlannedComparison> {
        let from = self.min_adds_per_cycle();
        let uncontended = |comparison: &Comparison| {
            let blocks = |samples: &LoopSamples| {
                samples.table.blocks.iter().filter(|block| block.adds_per_cycle() >= from).count()
            };
            let workers = self.samples.get(comparison).into_iter().flatten();
            workers.filter(|(_, samples)| blocks(samples) >= MIN_UNCONTENDED_ROUNDS).count()
        };
        let counted = settings.matrix.comparisons.iter().map(|planned| (uncontended(&planned.comparison), planned));
        let mut contended: Vec<(usize, &PlannedComparison)> =
            counted.filter(|(workers, _)| *workers < MIN_UNCONTENDED_WORKERS).collect();
        contended.sort_by_key(|(workers, _)| std::cmp::Reverse(*workers));
        contended.into_iter().map(|(_, planned)| planned).collect()
    }

    /// The undecided treatments of each comparison, in descending order of the widest interval.
    fn undecided_treatments(&self, settings: &Settings) -> Vec<(Key, Vec<TreatmentId>)> {
        let reduced = self.reduce(settings.window_cycles);
        let medians = Medians::from_workers(&reduced);
        let floors = Floors::from_medians(&medians);
        let mut found: Vec<(f64, Key, Vec<TreatmentId>)> = Vec::new();
        for (key, comparison) in medians.comparisons() {
            let Some(noise) = floors.regime_floor(key.2).map(|floor| Noise::new(floor, &comparison)) else { continue };
            let undecided = |id: &TreatmentId| {
                let half_width = undecided_half_width(&comparison, *id, &noise, &medians)?;
                Some((*id, half_width))
            };
            let (op, body, regime) = key;
            let undecided: BTreeMap<TreatmentId, f64> =
                settings.matrix.treatments_of(op, *body, *regime).iter().filter_map(undecided).collect();
            if let Some(widest) = undecided.values().copied().max_by(f64::total_cmp) {
                found.push((widest, key.clone(), undecided.into_keys().collect()));
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found.into_iter().map(|(_, key, treatments)| (key, treatments)).collect()
    }
}

/// The half-width of the strict interval, per cycle of the op, of a cell that more workers can decide. `None` for a
/// cell that is decided, or that needs more than [`MAX_EXTRA_WORKERS_FACTOR`].
fn undecided_half_width(
    comparison: &ComparisonMedians,
    id: TreatmentId,
    noise: &Noise,
    medians: &Medians,
) -> Option<f64> {
    let variant = Variant::Treatment(id);
    let own = comparison.variants.get(&variant)?;
    let (scatter, _) = medians.scatter(comparison, own);
    let measured = own.cycles.measure(&scatter).whole;
    let scale = comparison.scale(own);
    let layouts = own.cycles.layouts.iter().map(|layout| layout.median.value);
    let mut obstacles =
        Obstacles { noise: noise.in_cycles(scale), layout_range: value_range(layouts), mode_range: 0.0 };
    let limit = |obstacles: &Obstacles| obstacles.limit(&measured, CONFIDENCE);
    let can_change = |limit: Option<Limit>| matches!(limit, Some(Limit::Floor | Limit::Interval));
    if !can_change(limit(&obstacles)) {
        return None;
    }
    // Modes are searched only where they matter, because that takes the longest.
    obstacles.mode_range = mode_range(&find_modes(comparison, own, variant, Some(noise)));
    if !can_change(limit(&obstacles)) {
        return None;
    }
    let shown = measured.interval(CONFIDENCE)?;
    let within_noise = shown.is_above(-obstacles.noise) && shown.is_below(obstacles.noise);
    let largest = obstacles.noise.max(obstacles.layout_range).max(obstacles.mode_range);
    let half_width = measured.half_width(1.0 - MAX_ERROR)?;
    let workers_factor = (half_width / (measured.value.abs() - largest)).powi(2);
    (!within_noise && workers_factor <= MAX_EXTRA_WORKERS_FACTOR).then_some(half_width / scale)
}
