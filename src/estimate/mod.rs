//! From samples to cells. The rounds of a worker are reduced to their median; a cell's estimate is the median over
//! workers at each layout, and the median of these over layouts. [`crate::stats`] has the estimators.

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

use self::cell::{CellFloor, EstimateContext, empty_cell, fill_cell, largest_aa};
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

/// Least share of the core throughput of an uncontended round: the round's adds per cycle over those of the best
/// twentieth of the rounds.
const MIN_CORE_SHARE: f64 = 0.97;
/// Least number of uncontended rounds of a worker that counts.
const MIN_UNCONTENDED_ROUNDS: usize = 1;
/// Least number of uncontended workers, enough for an interval of 95%. With fewer, contended workers are used as well.
const MIN_UNCONTENDED_WORKERS: usize = MIN_WORKERS;

/// Upper bound on the probability that a single cell is resolved by chance.
const MAX_ERROR_PER_CELL: f64 = 0.001;

/// A comparison at all its layouts: op, body and regime.
type Key = (String, BodyKind, Regime);

/// The workers' samples of a comparison by offset, with the numbers of the workers.
type Layouts<'a> = Vec<(u32, &'a Vec<(usize, ComparisonSamples)>)>;

/// The workers' estimates of every comparison by offset.
type ByKey = BTreeMap<Key, Vec<(u32, Vec<WorkerEstimate>)>>;

/// Collects samples and estimates cells from them.
#[derive(Default)]
pub struct Estimator {
    /// Samples by comparison, with the number of the worker.
    samples: BTreeMap<Comparison, Vec<(usize, ComparisonSamples)>>,
    /// Events per op, by the variant's index in [`WorkerEstimate::effects`].
    counters: BTreeMap<Key, BTreeMap<usize, BTreeMap<String, f64>>>,
    /// Executed instructions by the same index, or the reason why they were not counted.
    instructions: BTreeMap<Key, BTreeMap<usize, Result<Instructions, String>>>,
    /// The variants without a loop for an op, by their index in the plan; with the reason where the op should have one.
    missing: BTreeMap<Key, BTreeMap<usize, Option<UnavailableVariant>>>,
}

/// The estimates from all samples of a run.
pub struct Estimates {
    /// The cells in the order of ops, regimes, mechanisms.
    pub cells: Vec<Cell>,
    /// The A/A floor of the run; absent without a finished comparison.
    pub floor: Option<Floor>,
    /// The A/A floor of each regime.
    pub floors: Vec<RegimeFloor>,
    /// Ticks per core cycle: the median and the central 90% of the rounds.
    pub ticks_per_cycle: Option<Estimate>,
    /// Independent adds per core cycle: the median and the central 90% of the rounds.
    pub adds_per_cycle: Option<Estimate>,
    /// Share of contended rounds, 0 to 1.
    pub disturbed_share: f64,
    /// Number of rounds.
    pub rounds: usize,
    /// Rounds dropped by workers, because the frequency changed within them or the core was contended.
    pub dropped_rounds: usize,
    /// Values left out because the two windows of their replicate pair disagreed.
    pub dropped_values: usize,
    /// The probability that a single cell is resolved by chance.
    pub error_per_cell: f64,
}

impl Estimator {
    /// Adds one worker's samples of a comparison.
    pub fn add(&mut self, worker: usize, group: &Comparison, samples: ComparisonSamples) {
        let key = comparison_key(group);
        if !samples.counters.is_empty() {
            let places = std::iter::once(0).chain(samples.variants.iter().map(|column| column + 2));
            let counted = samples.counters.iter().map(|c| c.iter().cloned().collect());
            self.counters.insert(key.clone(), places.zip(counted).collect());
        }
        // All layouts have the same code, so one count serves all.
        if let Some((inline, _)) = samples.instructions.split_first()
            && !self.instructions.contains_key(&key)
        {
            let extra = |per_op: f64| {
                let inline = inline
                    .clone()
                    .map_err(|reason| format!("the instructions of inline were not counted: {reason}"))?;
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

    /// The least independent adds per core cycle of an uncontended round; with fewer, another hyperthread had part of
    /// the core. It is 97% of the 95% quantile over all rounds, and 0 without rounds.
    #[must_use]
    pub fn min_adds_per_cycle(&self) -> f64 {
        min_adds_per_cycle(&self.adds_per_cycle())
    }

    fn adds_per_cycle(&self) -> Vec<f64> {
        self.rounds().map(|round| round.adds_per_cycle).filter(|adds| adds.is_finite()).collect()
    }

    fn group_samples(&self) -> impl Iterator<Item = &ComparisonSamples> {
        self.samples.values().flatten().map(|(_, samples)| samples)
    }

    fn rounds(&self) -> impl Iterator<Item = &RoundSamples> {
        self.group_samples().flat_map(|samples| &samples.rounds)
    }

    /// Reduces the rounds of every worker and comparison to one estimate. Contended rounds are left out where enough
    /// workers have uncontended ones. The choice depends on core throughput alone, not on the measured times.
    fn reduce(&self, window_cycles: u64) -> ByKey {
        let from = self.min_adds_per_cycle();
        let reduce_layouts = |layouts: Layouts| {
            let tolerance = PairTolerance::from_samples(all_samples(&layouts), window_cycles);
            let reduced = |(offset, workers): &(u32, &Vec<_>)| {
                (*offset, reduce_uncontended_or_all(workers, from, window_cycles, &tolerance.at_layout(workers)))
            };
            layouts.iter().map(reduced).collect()
        };
        self.samples_by_key().into_iter().map(|(key, layouts)| (key, reduce_layouts(layouts))).collect()
    }

    /// The samples of every comparison by offset.
    fn samples_by_key(&self) -> BTreeMap<Key, Layouts<'_>> {
        let mut by_key = BTreeMap::<Key, Vec<_>>::new();
        for (group, samples) in &self.samples {
            by_key.entry(comparison_key(group)).or_default().push((group.offset, samples));
        }
        by_key
    }

    /// The number of values left out because the two windows of a replicate pair disagreed.
    fn count_rejected_pairs(&self, window_cycles: u64) -> usize {
        let in_comparison = |layouts: Layouts| {
            let tolerance = PairTolerance::from_samples(all_samples(&layouts), window_cycles);
            let at_layout = |(_, workers): &(u32, &Vec<(usize, ComparisonSamples)>)| {
                let tolerance = tolerance.at_layout(workers);
                workers.iter().map(|(_, samples)| tolerance.count_rejected_pairs(samples)).sum::<usize>()
            };
            layouts.iter().map(at_layout).sum::<usize>()
        };
        self.samples_by_key().into_values().map(in_comparison).sum()
    }

    /// Estimates all cells of the plan. `ops` is the catalogue in the order of the tables. `ticks_per_second` is the
    /// clock's rate, for nanoseconds.
    #[must_use]
    pub fn finish(&self, plan: &Plan, ops: &[OpMeta], ticks_per_second: f64) -> Estimates {
        let reduced = self.reduce(plan.window_cycles);
        let floors = Floors::from_workers(&reduced);
        let rates: Vec<f64> = self
            .rounds()
            .map(|round| f64::midpoint(round.ticks_per_cycle[0], round.ticks_per_cycle[1]))
            .filter(|rate| rate.is_finite() && *rate > 0.0)
            .collect();
        let from = self.min_adds_per_cycle();
        let disturbed = self.rounds().filter(|round| round.adds_per_cycle < from).count();
        let family_confidence = family_confidence(plan);
        let context = EstimateContext {
            draws: &Draws::new(plan.seed ^ 0x6573_7469_6d61_7465),
            deciding: &self.student_intervals(family_confidence),
            ns_per_cycle: median(&rates).unwrap_or(f64::NAN) / ticks_per_second * 1e9,
        };
        let estimate_op = |meta: &OpMeta| self.estimate_cells(meta, plan, &reduced, &floors, &context);
        // Two threads, because thousands of cells take seconds.
        let (first, second) = ops.split_at(ops.len() / 2);
        let half = |metas: &[OpMeta]| metas.iter().flat_map(estimate_op).collect::<Vec<Cell>>();
        let cells = std::thread::scope(|scope| {
            let other = std::thread::Builder::new().spawn_scoped(scope, || half(second));
            let mut cells = half(first);
            // This thread estimates both halves if the system refuses another thread.
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
            ticks_per_cycle: median_and_central_90(&rates),
            adds_per_cycle: median_and_central_90(&self.adds_per_cycle()),
            disturbed_share: disturbed as f64 / self.rounds().count().max(1) as f64,
            rounds: self.rounds().count(),
            dropped_rounds: self.group_samples().map(|samples| samples.dropped).sum(),
            dropped_values: self.count_rejected_pairs(plan.window_cycles),
            error_per_cell: 1.0 - family_confidence,
        }
    }

    /// Student's intervals at a confidence, for up to the number of workers of this run.
    fn student_intervals(&self, confidence: f64) -> Student {
        Student::new(confidence, self.samples.values().flatten().map(|(worker, _)| worker + 1).max().unwrap_or(0))
    }

    /// Estimates the cells of one op.
    fn estimate_cells(
        &self,
        meta: &OpMeta,
        plan: &Plan,
        reduced: &ByKey,
        floors: &Floors,
        context: &EstimateContext,
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
            let cell_floor =
                floors.regime_floor(regime).map(|per_cycle| CellFloor { per_cycle, largest_aa: largest_aa(&layouts) });
            let cell = |mechanism: &str, state: Option<State>, column: usize| {
                let mut cell = empty_cell(meta, body, regime, mechanism, state);
                match self.instructions.get(&key).and_then(|counted| counted.get(&column)) {
                    Some(Ok(counted)) => cell.instructions = Some(*counted),
                    Some(Err(reason)) => cell.instructions_absent = Some(reason.clone()),
                    None => {}
                }
                cell.counters = self.counters.get(&key).and_then(|counted| counted.get(&column)).cloned();
                fill_cell(&mut cell, &layouts, column, cell_floor.as_ref(), context);
                cell
            };
            // The A/A comparison with the copy has no cell of its own.
            cells.push(cell("inline", None, 0));
            let only = plan.planned_variants(meta.name, body, regime);
            let planned = |index: &usize| only.is_none_or(|only| only.contains(index));
            for (index, column) in plan.variants.iter().enumerate().filter(|(index, _)| planned(index)) {
                match self.missing.get(&key).and_then(|missing| missing.get(&index)) {
                    // The op is never in this state.
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

/// The confidence of a single cell's deciding interval. All cells of a run hold together at [`CONFIDENCE`] (Sidak), and
/// the error of a single cell is at most [`MAX_ERROR_PER_CELL`] where they are few.
fn family_confidence(plan: &Plan) -> f64 {
    confidence_for(plan.judgements(), 1.0 - CONFIDENCE).max(1.0 - MAX_ERROR_PER_CELL)
}

fn comparison_key(group: &Comparison) -> Key {
    (group.op.clone(), group.body, group.regime)
}

/// The least adds per cycle of an uncontended round, from those of all rounds.
fn min_adds_per_cycle(adds_per_cycle: &[f64]) -> f64 {
    quantile(adds_per_cycle, 0.95).map_or(0.0, |best| best * MIN_CORE_SHARE)
}

/// The workers' estimates at one layout, over their uncontended rounds where enough workers have some, otherwise over
/// all rounds.
fn reduce_uncontended_or_all(
    samples: &[(usize, ComparisonSamples)],
    from: f64,
    window_cycles: u64,
    tolerance: &PairTolerance,
) -> Vec<WorkerEstimate> {
    let over = |from: f64, at_least: usize| -> Vec<WorkerEstimate> {
        samples.iter().filter_map(|(worker, s)| reduce(*worker, s, from, at_least, window_cycles, tolerance)).collect()
    };
    let uncontended = over(from, MIN_UNCONTENDED_ROUNDS);
    if uncontended.len() >= MIN_UNCONTENDED_WORKERS { uncontended } else { over(0.0, 1) }
}

/// The samples of all workers at all layouts.
fn all_samples<'a>(layouts: &Layouts<'a>) -> impl Iterator<Item = &'a ComparisonSamples> + Clone {
    let workers: Vec<_> = layouts.iter().map(|(_, workers)| *workers).collect();
    workers.into_iter().flatten().map(|(_, samples)| samples)
}

/// The median with the 5% and 95% quantiles.
fn median_and_central_90(values: &[f64]) -> Option<Estimate> {
    Some(Estimate { estimate: median(values)?, low: quantile(values, 0.05)?, high: quantile(values, 0.95)? })
}
