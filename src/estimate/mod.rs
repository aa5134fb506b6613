//! From samples to cells: a worker's rounds are reduced to their median, and each cell gets its estimate over workers,
//! per layout and over layouts. The numbers are made by [`crate::stats`].

mod adaptive;
mod allocation;
mod cell;
mod floors;
pub mod linux;
pub mod predict;
mod reduce;
pub mod traps;
mod uncontended;
mod workloads;

use std::collections::BTreeMap;

use self::cell::{EstimateContext, Judge, empty_cell, fill, largest_aa};
use self::floors::Floors;
use self::reduce::{PairTolerance, WorkerEstimate, reduce};
use crate::measure::plan::{Comparison, MIN_WORKERS, Plan};
use crate::measure::wire::{ComparisonSamples, RoundSamples, UnavailableVariant};
use crate::op::{BodyKind, OpMeta};
use crate::patch::State;
use crate::regime::Regime;
use crate::report::schema::{Cell, Estimate, Floor, Instructions, RegimeFloor};
use crate::stats::bootstrap::Draws;
use crate::stats::location::{median, quantile};
use crate::stats::multiplicity::confidence_for;
use crate::stats::student::Student;

pub use self::cell::CONFIDENCE;
pub use self::workloads::WorkEstimator;

/// A round is quiet with at least this share of the adds per cycle that the core gives.
const QUIET: f64 = 0.97;
/// A worker counts with this many quiet rounds.
const QUIET_ROUNDS: usize = 1;
/// So many quiet workers can make an interval of 95%; with fewer, all are used, disturbed or not.
const QUIET_WORKERS: usize = MIN_WORKERS;

/// A single cell is resolved by chance with this probability at most.
const MAX_ERROR: f64 = 0.001;

/// A group at all its layouts.
type Key = (String, BodyKind, Regime);

/// A group's workers by its offset.
type Layouts<'a> = Vec<(u32, &'a Vec<(usize, ComparisonSamples)>)>;

/// Every group's workers, reduced, by its offset.
type ByKey = BTreeMap<Key, Vec<(u32, Vec<WorkerEstimate>)>>;

/// Collects samples and makes estimates of them.
#[derive(Default)]
pub struct Estimator {
    /// With the number of the worker.
    samples: BTreeMap<Comparison, Vec<(usize, ComparisonSamples)>>,
    /// Events per op by the column of a worker's effects.
    counters: BTreeMap<Key, BTreeMap<usize, BTreeMap<String, f64>>>,
    /// Executed instructions by the same, or why there is no count.
    instructions: BTreeMap<Key, BTreeMap<usize, Result<Instructions, String>>>,
    /// The columns that an op has no loop for, by their place in the plan; with the reason where it should have one.
    missing: BTreeMap<Key, BTreeMap<usize, Option<UnavailableVariant>>>,
}

/// What is said of a run's samples as a whole.
pub struct Estimates {
    /// The cells in the order of ops, regimes, mechanisms.
    pub cells: Vec<Cell>,
    /// The A/A floor; absent without a finished group.
    pub floor: Option<Floor>,
    /// The same for each regime.
    pub floors: Vec<RegimeFloor>,
    /// Ticks per core cycle: median, and the middle 90% of the rounds.
    pub ticks_per_cycle: Option<Estimate>,
    /// Independent adds per core cycle: the same.
    pub adds_per_cycle: Option<Estimate>,
    /// Share of the rounds in which something else had part of the core, 0 to 1.
    pub disturbed_share: f64,
    /// Rounds that the numbers come from.
    pub rounds: usize,
    /// Rounds that were dropped because the machine changed its pace in them or something else had part of the core.
    pub dropped_rounds: usize,
    /// Values whose two windows disagreed.
    pub dropped_values: usize,
    /// The probability with which a single cell may be resolved by chance.
    pub error_per_cell: f64,
}

impl Estimator {
    /// Takes one group's samples from one worker.
    pub fn add(&mut self, worker: usize, group: &Comparison, samples: ComparisonSamples) {
        let key = key_of(group);
        if !samples.counters.is_empty() {
            let places = std::iter::once(0).chain(samples.variants.iter().map(|column| column + 2));
            let counted = samples.counters.iter().map(|c| c.iter().cloned().collect());
            self.counters.insert(key.clone(), places.zip(counted).collect());
        }
        // Every layout has the same instructions.
        if let Some((inline, _)) = samples.instructions.split_first()
            && !self.instructions.contains_key(&key)
        {
            let extra = |per_op: f64| {
                let inline = inline.clone().map_err(|reason| format!("inline was not counted: {reason}"))?;
                Ok(Instructions { per_op, extra: per_op - inline })
            };
            let places = std::iter::once(0).chain(samples.variants.iter().map(|column| column + 2));
            let counted = samples.instructions.iter().map(|counted| counted.clone().and_then(extra));
            self.instructions.insert(key.clone(), places.zip(counted).collect());
        }
        self.missing.entry(key).or_insert_with(|| {
            let absent = samples.absent.iter().map(|column| (*column, None));
            absent.chain(samples.missing.iter().map(|missing| (missing.variant, Some(missing.clone())))).collect()
        });
        self.samples.entry(group.clone()).or_default().push((worker, samples));
    }

    /// Below this many independent adds per cycle a round was disturbed: another hyperthread had part of the core. The
    /// most that the core gives is what the best twentieth of the rounds had. 0 without rounds.
    #[must_use]
    pub fn min_adds_per_cycle(&self) -> f64 {
        min_adds_per_cycle(&self.adds_per_cycle())
    }

    fn adds_per_cycle(&self) -> Vec<f64> {
        self.rounds().map(|round| round.adds_per_cycle).filter(|adds| adds.is_finite()).collect()
    }

    fn groups(&self) -> impl Iterator<Item = &ComparisonSamples> {
        self.samples.values().flatten().map(|(_, samples)| samples)
    }

    fn rounds(&self) -> impl Iterator<Item = &RoundSamples> {
        self.groups().flat_map(|samples| &samples.rounds)
    }

    /// Reduces the workers of every group over their rounds. Where enough workers had enough quiet rounds, disturbed
    /// ones are left out: the choice looks at the core alone, not at what was measured.
    fn reduce(&self, window_cycles: u64) -> ByKey {
        let from = self.min_adds_per_cycle();
        let of_key = |layouts: Layouts| {
            let within = PairTolerance::of(all(&layouts), window_cycles);
            let reduced = |(offset, workers): &(u32, &Vec<_>)| {
                (*offset, quiet_or_all(workers, from, window_cycles, &within.at_a_layout(workers)))
            };
            layouts.iter().map(reduced).collect()
        };
        self.by_key().into_iter().map(|(key, layouts)| (key, of_key(layouts))).collect()
    }

    /// Every group's workers by its offset.
    fn by_key(&self) -> BTreeMap<Key, Layouts<'_>> {
        let mut by_key = BTreeMap::<Key, Vec<_>>::new();
        for (group, samples) in &self.samples {
            by_key.entry(key_of(group)).or_default().push((group.offset, samples));
        }
        by_key
    }

    /// How many values were passed over, because the two windows of a loop disagreed.
    fn disagreed(&self, window_cycles: u64) -> usize {
        let of_key = |layouts: Layouts| {
            let within = PairTolerance::of(all(&layouts), window_cycles);
            let at_a_layout = |(_, workers): &(u32, &Vec<(usize, ComparisonSamples)>)| {
                let within = within.at_a_layout(workers);
                workers.iter().map(|(_, samples)| within.disagreed(samples)).sum::<usize>()
            };
            layouts.iter().map(at_a_layout).sum::<usize>()
        };
        self.by_key().into_values().map(of_key).sum()
    }

    /// Makes the estimates. `ops` is the catalogue in the order of the tables; `ticks_per_second` the clock's rate, for
    /// nanoseconds.
    #[must_use]
    pub fn finish(&self, plan: &Plan, ops: &[OpMeta], ticks_per_second: f64) -> Estimates {
        let reduced = self.reduce(plan.window_cycles);
        let floors = Floors::of(&reduced);
        let rates: Vec<f64> = self
            .rounds()
            .map(|round| f64::midpoint(round.ticks_per_cycle[0], round.ticks_per_cycle[1]))
            .filter(|rate| rate.is_finite() && *rate > 0.0)
            .collect();
        let from = self.min_adds_per_cycle();
        let disturbed = self.rounds().filter(|round| round.adds_per_cycle < from).count();
        let family_confidence = family_confidence(plan);
        let with = EstimateContext {
            draws: &Draws::new(plan.seed ^ 0x6573_7469_6d61_7465),
            family: &self.family(family_confidence),
            ns_per_cycle: median(&rates).unwrap_or(f64::NAN) / ticks_per_second * 1e9,
        };
        let of_op = |meta: &OpMeta| self.cells_of(meta, plan, &reduced, &floors, &with);
        // In two halves at once: thousands of cells take seconds.
        let (first, second) = ops.split_at(ops.len() / 2);
        let half = |metas: &[OpMeta]| metas.iter().flat_map(of_op).collect::<Vec<Cell>>();
        let cells = std::thread::scope(|scope| {
            let other = std::thread::Builder::new().spawn_scoped(scope, || half(second));
            let mut cells = half(first);
            // This thread does both halves if the system refuses another one.
            cells.extend(match other.map(std::thread::ScopedJoinHandle::join) {
                Ok(Ok(others)) => others,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(_) => half(second),
            });
            cells
        });
        Estimates {
            cells,
            floor: floors.run,
            floors: floors.regimes,
            ticks_per_cycle: middle_90(&rates),
            adds_per_cycle: middle_90(&self.adds_per_cycle()),
            disturbed_share: disturbed as f64 / self.rounds().count().max(1) as f64,
            rounds: self.rounds().count(),
            dropped_rounds: self.groups().map(|samples| samples.dropped).sum(),
            dropped_values: self.disagreed(plan.window_cycles),
            error_per_cell: 1.0 - family_confidence,
        }
    }

    /// Student's intervals at a confidence for as many workers as there are.
    fn family(&self, confidence: f64) -> Student {
        Student::new(confidence, self.samples.values().flatten().map(|(worker, _)| worker + 1).max().unwrap_or(0))
    }

    /// The cells of one op.
    fn cells_of(
        &self,
        meta: &OpMeta,
        plan: &Plan,
        reduced: &ByKey,
        floors: &Floors,
        with: &EstimateContext,
    ) -> Vec<Cell> {
        let mut keys: Vec<(BodyKind, Regime)> =
            plan.comparisons.iter().filter(|g| g.op == meta.name).map(|g| (g.body, g.regime)).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut cells = Vec::new();
        for (body, regime) in keys {
            let key = (meta.name.to_owned(), body, regime);
            let layouts: Vec<(u32, &[WorkerEstimate])> = reduced
                .get(&key)
                .into_iter()
                .flatten()
                .map(|(offset, workers)| (*offset, workers.as_slice()))
                .collect();
            let judge = floors.of_regime(regime).map(|floor| Judge { floor, aa: largest_aa(&layouts) });
            let cell = |mechanism: &str, state: Option<State>, column: usize| {
                let mut cell = empty_cell(meta, body, regime, mechanism, state);
                match self.instructions.get(&key).and_then(|counted| counted.get(&column)) {
                    Some(Ok(counted)) => cell.instructions = Some(*counted),
                    Some(Err(reason)) => cell.instructions_absent = Some(reason.clone()),
                    None => {}
                }
                cell.counters = self.counters.get(&key).and_then(|counted| counted.get(&column)).cloned();
                fill(&mut cell, &layouts, column, judge.as_ref(), with);
                cell
            };
            // The second of the A/A comparisons, the copy, is no cell of its own.
            cells.push(cell("inline", None, 0));
            let only = plan.planned_variants(meta.name, body, regime);
            let planned = |index: &usize| only.is_none_or(|only| only.contains(index));
            for (index, column) in plan.variants.iter().enumerate().filter(|(index, _)| planned(index)) {
                match self.missing.get(&key).and_then(|missing| missing.get(&index)) {
                    // A state that the op never is in.
                    Some(None) => {}
                    Some(Some(missing)) => {
                        let state = if missing.refused { Some(State::Refused) } else { column.state };
                        let mut cell = empty_cell(meta, body, regime, &column.mechanism, state);
                        cell.absent = Some(missing.reason.clone());
                        cells.push(cell);
                    }
                    None => cells.push(cell(&column.mechanism, column.state, index + 2)),
                }
            }
        }
        cells
    }
}

/// The confidence of a single cell: so high that all of a run are right together with that of its intervals, and that
/// one in a thousand at most is wrong where there are few.
fn family_confidence(plan: &Plan) -> f64 {
    confidence_for(plan.judgements(), 1.0 - CONFIDENCE).max(1.0 - MAX_ERROR)
}

fn key_of(group: &Comparison) -> Key {
    (group.op.clone(), group.body, group.regime)
}

/// Below so many adds per cycle a round was disturbed, by all that were seen.
fn min_adds_per_cycle(adds_per_cycle: &[f64]) -> f64 {
    quantile(adds_per_cycle, 0.95).map_or(0.0, |best| best * QUIET)
}

/// A group's workers, reduced over their quiet rounds where enough of them have some, over all rounds else.
fn quiet_or_all(
    samples: &[(usize, ComparisonSamples)],
    from: f64,
    window_cycles: u64,
    within: &PairTolerance,
) -> Vec<WorkerEstimate> {
    let over = |from: f64, at_least: usize| -> Vec<WorkerEstimate> {
        samples.iter().filter_map(|(worker, s)| reduce(*worker, s, from, at_least, window_cycles, within)).collect()
    };
    let quiet = over(from, QUIET_ROUNDS);
    if quiet.len() >= QUIET_WORKERS { quiet } else { over(0.0, 1) }
}

/// What was measured at some layout.
fn all<'a>(layouts: &Layouts<'a>) -> impl Iterator<Item = &'a ComparisonSamples> + Clone {
    let workers: Vec<_> = layouts.iter().map(|(_, workers)| *workers).collect();
    workers.into_iter().flatten().map(|(_, samples)| samples)
}

fn middle_90(values: &[f64]) -> Option<Estimate> {
    Some(Estimate { estimate: median(values)?, low: quantile(values, 0.05)?, high: quantile(values, 0.95)? })
}
