//! Where the rest of a run's time is worth most.

use std::collections::{BTreeMap, BTreeSet};

use super::cell::{Judge, largest_aa, limit, middle, samples};
use super::floors::Floors;
use super::reduce::WorkerEstimate;
use super::{CONFIDENCE, Estimator, Key, QUIET_ROUNDS, QUIET_WORKERS, family_confidence, key_of};
use crate::measure::plan::{Comparison, Plan};
use crate::measure::wire::{ComparisonSamples, Task};
use crate::report::schema::Limit;
use crate::stats::location::median;
use crate::stats::resolve::Deciders;
use crate::stats::spread::{Sample, Source, by_worker, spread};
use crate::stats::student::Student;

/// A cell that would take more than so many times its workers to be decided is given up.
const HOPELESS: f64 = 16.0;

impl Estimator {
    /// What is worth another worker, the most promising first: groups with too few quiet workers, those that lack the
    /// fewest first, whatever was measured in them; then, at all their layouts, the columns that are not decided, the
    /// widest first. Decided is what is resolved, what is known to be no greater than the floor, and what more workers
    /// would not change: overheads held back by modes or layout, or so near the floor that no time would be enough.
    ///
    /// Whether a run goes on thus depends on what it saw. That would let chance resolve cells; so every look counts as
    /// another judgement of all cells, see [`Plan::judgements`].
    #[must_use]
    pub fn next_tasks(&self, plan: &Plan) -> Vec<Task> {
        let task = |group: &Comparison, only| Task {
            comparison: group.clone(),
            rounds: plan.rounds,
            variants: only,
            count: false,
        };
        let disturbed = self.disturbed(plan);
        let only =
            |group: &Comparison| plan.planned_variants(&group.op, group.body, group.regime).map(<[usize]>::to_vec);
        let mut wanting: Vec<Task> = disturbed.iter().map(|group| task(group, only(group))).collect();
        let whole: BTreeSet<&Comparison> = disturbed.into_iter().collect();
        let mut groups: BTreeMap<Key, Vec<&Comparison>> = BTreeMap::new();
        for group in plan.comparisons.iter().filter(|group| !whole.contains(group)) {
            groups.entry(key_of(group)).or_default().push(group);
        }
        for (key, columns) in self.undecided(plan) {
            wanting.extend(groups.get(&key).into_iter().flatten().map(|group| task(group, Some(columns.clone()))));
        }
        wanting
    }

    /// The groups with too few quiet workers for their disturbed rounds to be left out. Looks at how much of the core a
    /// round had, and not at what was measured in it.
    fn disturbed<'a>(&self, plan: &'a Plan) -> Vec<&'a Comparison> {
        let from = self.min_adds_per_cycle();
        let quiet = |group: &Comparison| {
            let rounds = |samples: &ComparisonSamples| {
                samples.rounds.iter().filter(|round| round.adds_per_cycle >= from).count()
            };
            let workers = self.samples.get(group).into_iter().flatten();
            workers.filter(|(_, samples)| rounds(samples) >= QUIET_ROUNDS).count()
        };
        let mut wanting: Vec<(usize, &Comparison)> = plan
            .comparisons
            .iter()
            .map(|group| (quiet(group), group))
            .filter(|(quiet, _)| *quiet < QUIET_WORKERS)
            .collect();
        wanting.sort_by_key(|(quiet, _)| std::cmp::Reverse(*quiet));
        wanting.into_iter().map(|(_, group)| group).collect()
    }

    /// The columns that are not decided, group by group, that with the widest first.
    fn undecided(&self, plan: &Plan) -> Vec<(Key, Vec<usize>)> {
        let reduced = self.reduce(plan.window_cycles);
        let floors = Floors::of(&reduced);
        let family = self.family(family_confidence(plan));
        let single = self.family(CONFIDENCE);
        let mut found: Vec<(f64, Key, Vec<usize>)> = Vec::new();
        for (key, layouts) in &reduced {
            let layouts: Vec<(u32, &[WorkerEstimate])> =
                layouts.iter().map(|(at, workers)| (*at, workers.as_slice())).collect();
            let Some(floor) = floors.of_regime(key.2) else { continue };
            let judge = Judge { floor, aa: largest_aa(&layouts) };
            let inline: Vec<f64> = layouts.iter().flat_map(|(_, w)| w.iter().map(|w| w.inline_cycles)).collect();
            let Some(inline) = median(&inline) else { continue };
            let open: BTreeMap<usize, f64> = (0..plan.variants.len())
                .filter_map(|column| {
                    let found = samples(&layouts, column + 2);
                    let estimate = middle(&found)?;
                    let bound = judge.bound(inline + estimate.abs());
                    let width = open(&found, estimate, bound, [&single, &family])?;
                    Some((column, width / (inline + estimate.abs()).max(1.0)))
                })
                .collect();
            if let Some(widest) = open.values().copied().max_by(f64::total_cmp) {
                found.push((widest, key.clone(), open.into_keys().collect()));
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found.into_iter().map(|(_, key, columns)| (key, columns)).collect()
    }
}

/// The half-width of a cell that more workers would decide; `None` for one that is decided or hopeless.
fn open(layouts: &[(u32, Vec<Sample>)], estimate: f64, bound: f64, [single, family]: [&Student; 2]) -> Option<f64> {
    let samples: Vec<Vec<Sample>> = layouts.iter().map(|(_, samples)| samples.clone()).collect();
    let deviations = by_worker(&samples);
    let strict = family.around(estimate, &deviations)?;
    let values = |samples: &[Sample]| samples.iter().map(|sample| sample.value).collect::<Vec<f64>>();
    let medians: Vec<f64> = samples.iter().filter_map(|samples| median(&values(samples))).collect();
    let limit = limit(&Deciders {
        estimate,
        interval: Some(strict),
        layouts: &medians,
        layouts_dominate: spread(&samples).is_some_and(|found| found.largest == Source::Layouts),
        // The interval comes before them.
        modes: &[],
        floor: bound,
    });
    if !matches!(limit, Some(Limit::Floor | Limit::Interval)) {
        return None;
    }
    let loose = single.around(estimate, &deviations)?;
    let within = loose.low > -bound && loose.high < bound;
    let distance = (estimate.abs() - bound).abs();
    let takes = (strict.half_width() / distance).powi(2);
    (!within && takes <= HOPELESS).then(|| strict.half_width())
}
