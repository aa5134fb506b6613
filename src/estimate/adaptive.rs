//! The comparisons whose cells another worker can decide.

use std::collections::{BTreeMap, BTreeSet};

use super::cell::{CellFloor, find_limit, largest_aa, median_of_medians, variant_samples};
use super::floors::Floors;
use super::reduce::WorkerEstimate;
use super::{
    CONFIDENCE, Estimator, Key, MIN_UNCONTENDED_ROUNDS, MIN_UNCONTENDED_WORKERS, Settings, comparison_key,
    family_confidence,
};
use crate::measure::comparison::{Comparison, PlannedComparison};
use crate::measure::samples::LoopSamples;
use crate::measure::variant::{TreatmentId, Variant};
use crate::report::schema::Limit;
use crate::stats::location::median;
use crate::stats::resolve::Deciders;
use crate::stats::spread::{Sample, Source, spread, worker_deviations};
use crate::stats::student::Student;

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
    /// A cell is decided if it is resolved, if its interval lies within the floor, or if more workers would not change
    /// the verdict. The latter are overheads limited by modes or layouts, or too close to the floor
    /// (`MAX_EXTRA_WORKERS_FACTOR`).
    ///
    /// The length of a run thus depends on its results, which would let chance resolve cells. So every checkpoint
    /// counts as another judgement of all cells, see [`Settings::judgements`].
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
        let floors = Floors::from_workers(&reduced);
        let deciding = self.student_intervals(family_confidence(settings.judgements));
        let shown = self.student_intervals(CONFIDENCE);
        let mut found: Vec<(f64, Key, Vec<TreatmentId>)> = Vec::new();
        for (key, layouts) in &reduced {
            let layouts: Vec<(u32, &[WorkerEstimate])> =
                layouts.iter().map(|(offset, workers)| (*offset, workers.as_slice())).collect();
            let Some(per_cycle) = floors.regime_floor(key.2) else { continue };
            let cell_floor = CellFloor { per_cycle, largest_aa: largest_aa(&layouts) };
            let inline: Vec<f64> = layouts.iter().flat_map(|(_, w)| w.iter().map(|w| w.inline_cycles)).collect();
            let Some(inline) = median(&inline) else { continue };
            let undecided = |id: &TreatmentId| {
                let found = variant_samples(&layouts, Variant::Treatment(*id));
                let estimate = median_of_medians(&found)?;
                let floor = cell_floor.in_cycles(inline + estimate.abs());
                let half_width = undecided_half_width(&found, estimate, floor, [&shown, &deciding])?;
                Some((*id, half_width / (inline + estimate.abs()).max(1.0)))
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

/// The half-width of the deciding interval, in cycles, of a cell that more workers can decide. `None` for a cell that
/// is decided, or that needs more than [`MAX_EXTRA_WORKERS_FACTOR`].
fn undecided_half_width(
    layouts: &[(u32, Vec<Sample>)],
    estimate: f64,
    floor: f64,
    [shown, deciding]: [&Student; 2],
) -> Option<f64> {
    let samples: Vec<Vec<Sample>> = layouts.iter().map(|(_, samples)| samples.clone()).collect();
    let deviations = worker_deviations(&samples);
    let deciding = deciding.around(estimate, &deviations)?;
    let values = |samples: &[Sample]| samples.iter().map(|sample| sample.value).collect::<Vec<f64>>();
    let medians: Vec<f64> = samples.iter().filter_map(|samples| median(&values(samples))).collect();
    let limit = find_limit(&Deciders {
        estimate,
        interval: Some(deciding),
        layouts: &medians,
        layouts_dominate: spread(&samples).is_some_and(|found| found.largest == Source::Layouts),
        // The interval is named before modes, so they do not matter here.
        modes: &[],
        floor,
    });
    if !matches!(limit, Some(Limit::Floor | Limit::Interval)) {
        return None;
    }
    let shown = shown.around(estimate, &deviations)?;
    let within_floor = shown.low > -floor && shown.high < floor;
    let distance = (estimate.abs() - floor).abs();
    let workers_factor = (deciding.half_width() / distance).powi(2);
    (!within_floor && workers_factor <= MAX_EXTRA_WORKERS_FACTOR).then(|| deciding.half_width())
}
