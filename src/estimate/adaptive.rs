//! The next tasks of a run: the comparisons whose cells another worker can decide.

use std::collections::{BTreeMap, BTreeSet};

use super::cell::{CellFloor, find_limit, largest_aa, median_of_medians, variant_samples};
use super::floors::Floors;
use super::reduce::WorkerEstimate;
use super::{
    CONFIDENCE, Estimator, Key, MIN_UNCONTENDED_ROUNDS, MIN_UNCONTENDED_WORKERS, comparison_key, family_confidence,
};
use crate::measure::plan::{Comparison, Plan};
use crate::measure::wire::{ComparisonSamples, Task};
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
    /// The tasks of the next worker, the most useful first.
    ///
    /// 1. Comparisons with too few uncontended workers, whatever their results; those that need the fewest come first.
    /// 2. Undecided variants at all layouts of their comparison; those with the widest interval come first.
    ///
    /// A cell is decided if it is resolved, if its interval lies within the floor, or if more workers would not change
    /// the verdict. The latter are overheads limited by modes or layouts, or too close to the floor
    /// (`MAX_EXTRA_WORKERS_FACTOR`).
    ///
    /// The length of a run thus depends on its results, which would let chance resolve cells. So every checkpoint
    /// counts as another judgement of all cells, see [`Plan::judgements`].
    #[must_use]
    pub fn next_tasks(&self, plan: &Plan) -> Vec<Task> {
        let task = |group: &Comparison, only| Task {
            comparison: group.clone(),
            rounds: plan.rounds,
            variants: only,
            count: false,
        };
        let contended = self.contended_comparisons(plan);
        let only =
            |group: &Comparison| plan.planned_variants(&group.op, group.body, group.regime).map(<[usize]>::to_vec);
        let mut next: Vec<Task> = contended.iter().map(|group| task(group, only(group))).collect();
        let whole: BTreeSet<&Comparison> = contended.into_iter().collect();
        let mut groups: BTreeMap<Key, Vec<&Comparison>> = BTreeMap::new();
        for group in plan.comparisons.iter().filter(|group| !whole.contains(group)) {
            groups.entry(comparison_key(group)).or_default().push(group);
        }
        for (key, columns) in self.undecided_variants(plan) {
            next.extend(groups.get(&key).into_iter().flatten().map(|group| task(group, Some(columns.clone()))));
        }
        next
    }

    /// The comparisons with too few uncontended workers to leave contended rounds out. The choice depends on core
    /// throughput alone, not on the measured times.
    fn contended_comparisons<'a>(&self, plan: &'a Plan) -> Vec<&'a Comparison> {
        let from = self.min_adds_per_cycle();
        let uncontended = |group: &Comparison| {
            let rounds = |samples: &ComparisonSamples| {
                samples.rounds.iter().filter(|round| round.adds_per_cycle >= from).count()
            };
            let workers = self.samples.get(group).into_iter().flatten();
            workers.filter(|(_, samples)| rounds(samples) >= MIN_UNCONTENDED_ROUNDS).count()
        };
        let counted = plan.comparisons.iter().map(|group| (uncontended(group), group));
        let mut contended: Vec<(usize, &Comparison)> =
            counted.filter(|(workers, _)| *workers < MIN_UNCONTENDED_WORKERS).collect();
        contended.sort_by_key(|(workers, _)| std::cmp::Reverse(*workers));
        contended.into_iter().map(|(_, group)| group).collect()
    }

    /// The undecided variants of each comparison, in descending order of the widest interval.
    fn undecided_variants(&self, plan: &Plan) -> Vec<(Key, Vec<usize>)> {
        let reduced = self.reduce(plan.window_cycles);
        let floors = Floors::from_workers(&reduced);
        let deciding = self.student_intervals(family_confidence(plan));
        let shown = self.student_intervals(CONFIDENCE);
        let mut found: Vec<(f64, Key, Vec<usize>)> = Vec::new();
        for (key, layouts) in &reduced {
            let layouts: Vec<(u32, &[WorkerEstimate])> =
                layouts.iter().map(|(offset, workers)| (*offset, workers.as_slice())).collect();
            let Some(per_cycle) = floors.regime_floor(key.2) else { continue };
            let cell_floor = CellFloor { per_cycle, largest_aa: largest_aa(&layouts) };
            let inline: Vec<f64> = layouts.iter().flat_map(|(_, w)| w.iter().map(|w| w.inline_cycles)).collect();
            let Some(inline) = median(&inline) else { continue };
            let undecided: BTreeMap<usize, f64> = (0..plan.variants.len())
                .filter_map(|column| {
                    let found = variant_samples(&layouts, column + 2);
                    let estimate = median_of_medians(&found)?;
                    let floor = cell_floor.in_cycles(inline + estimate.abs());
                    let half_width = undecided_half_width(&found, estimate, floor, [&shown, &deciding])?;
                    Some((column, half_width / (inline + estimate.abs()).max(1.0)))
                })
                .collect();
            if let Some(widest) = undecided.values().copied().max_by(f64::total_cmp) {
                found.push((widest, key.clone(), undecided.into_keys().collect()));
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found.into_iter().map(|(_, key, columns)| (key, columns)).collect()
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
