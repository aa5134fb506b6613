//! From samples to cells. The blocks of a worker are reduced to their median; a cell's estimate is the median over
//! workers at each layout, and the median of these over layouts. [`crate::stats`] has the estimators.

mod adaptive;
mod allocation;
mod cell;
mod floors;
pub mod kernel_time;
pub mod linux;
mod medians;
pub mod native;
pub mod predict;
mod reduce;
pub mod traps;
mod uncontended;
mod workloads;

use std::collections::BTreeMap;

use self::cell::{EstimateContext, Noise, empty_cell, fill_cell};
use self::floors::Floors;
use self::medians::Medians;
use self::reduce::{PairTolerance, WorkerEstimate, reduce};
use crate::measure::comparison::{Comparison, Matrix};
use crate::measure::samples::{Block, LoopSamples, Unavailability};
use crate::measure::variant::{MechanismState, TreatmentId, Variant};
use crate::op::{BodyKind, CodeIdentity, InstructionMix, OpMeta};
use crate::patch::State;
use crate::regime::Regime;
use crate::report::schema::{Cell, CentralRange, Floor, Instructions, RegimeFloor};
use crate::stats::location::{median, quantile};
use crate::stats::resolve::MAX_ERROR;

pub use self::allocation::Allocation;
pub use self::cell::CONFIDENCE;
pub use self::workloads::WorkEstimator;

/// Least share of the core throughput of an uncontended block: the block's adds per cycle over those of the best
/// twentieth of the blocks.
const MIN_CORE_SHARE: f64 = 0.97;
/// Least number of uncontended blocks of a worker that counts.
const MIN_UNCONTENDED_ROUNDS: usize = 1;
/// Workers that an interval of 95% needs.
pub const MIN_WORKERS: usize = 6;
/// Least number of uncontended workers, enough for an interval of 95%. With fewer, contended workers are used as well.
const MIN_UNCONTENDED_WORKERS: usize = MIN_WORKERS;

/// A comparison at all its layouts: op, body and regime.
type Key = (String, BodyKind, Regime);

/// The workers' samples of a comparison by offset, with the numbers of the workers.
type Layouts<'a> = Vec<(u32, &'a Vec<(usize, LoopSamples)>)>;

/// The workers' estimates of every comparison by offset.
type ByKey = BTreeMap<Key, Vec<(u32, Vec<WorkerEstimate>)>>;

/// Collects samples and estimates cells from them.
#[derive(Default)]
pub struct Estimator {
    /// Samples by comparison, with the number of the worker.
    samples: BTreeMap<Comparison, Vec<(usize, LoopSamples)>>,
    /// Events per op.
    events: BTreeMap<Key, BTreeMap<Variant, BTreeMap<String, f64>>>,
    /// Executed instructions, or the reason why they were not counted.
    instructions: BTreeMap<Key, BTreeMap<Variant, Result<Instructions, String>>>,
    /// Executed instructions by class.
    mixes: BTreeMap<Key, BTreeMap<Variant, InstructionMix>>,
    codes: BTreeMap<Key, BTreeMap<Variant, CodeIdentity>>,
    /// The treatments without a loop for an op.
    unavailable: BTreeMap<Key, BTreeMap<TreatmentId, Unavailability>>,
}

/// What the estimates of a run need besides its samples.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// The cells.
    pub matrix: &'a Matrix,
    /// Shortest length of a window, in core cycles.
    pub window_cycles: u64,
}

/// The estimates from all samples of a run.
pub struct Estimates {
    /// The cells in the order of ops, regimes, mechanisms.
    pub cells: Vec<Cell>,
    /// The A/A floor of the run; absent without a finished comparison.
    pub floor: Option<Floor>,
    /// The A/A floor of each regime.
    pub floors: Vec<RegimeFloor>,
    /// Ticks per core cycle: the median and the central 90% of the blocks.
    pub ticks_per_cycle: Option<CentralRange>,
    /// Independent adds per core cycle: the median and the central 90% of the blocks.
    pub adds_per_cycle: Option<CentralRange>,
    /// Share of contended blocks, 0 to 1.
    pub contended_share: f64,
    /// Number of blocks.
    pub rounds: usize,
    /// Blocks dropped by workers, because the frequency changed within them or the core was contended.
    pub dropped_rounds: usize,
    /// Values left out because the two windows of their replicate pair disagreed.
    pub dropped_values: usize,
    /// The probability that a single cell is resolved by chance.
    pub error_per_cell: f64,
}

impl Estimator {
    /// Adds one worker's samples of a comparison.
    pub fn add(&mut self, worker: usize, comparison: &Comparison, mut samples: LoopSamples) {
        samples.table.shrink();
        let key = comparison_key(comparison);
        let counts = &samples.table.counts;
        let events: BTreeMap<_, _> =
            counts.iter().filter_map(|count| Some((count.variant, count.events.clone()?))).collect();
        if !events.is_empty() {
            self.events.insert(key.clone(), events);
        }
        let codes: BTreeMap<_, _> = counts.iter().filter_map(|count| Some((count.variant, count.code?))).collect();
        if !codes.is_empty() {
            self.codes.entry(key.clone()).or_insert(codes);
        }
        let counted: BTreeMap<_, _> =
            counts.iter().filter_map(|count| Some((count.variant, count.instructions.clone()?))).collect();
        // All layouts have the same code, so one count serves all.
        if let Some(inline) = counted.get(&Variant::Reference)
            && !self.instructions.contains_key(&key)
        {
            let extra = |per_op: f64| {
                let inline = inline
                    .clone()
                    .map_err(|reason| format!("the instructions of inline were not counted: {reason}"))?;
                Ok(Instructions { per_op, extra: per_op - inline })
            };
            let counted = counted.iter().map(|(variant, counted)| (*variant, counted.clone().and_then(extra)));
            self.instructions.insert(key.clone(), counted.collect());
            let mixes = counts.iter().filter_map(|count| Some((count.variant, count.mix?)));
            self.mixes.insert(key.clone(), mixes.collect());
        }
        self.unavailable.entry(key).or_insert_with(|| {
            samples.table.unavailable.iter().map(|missing| (missing.treatment, missing.why.clone())).collect()
        });
        // All of these are kept by op above; every worker sends them again.
        (samples.table.counts, samples.table.unavailable) = (Vec::new(), Vec::new());
        self.samples.entry(comparison.clone()).or_default().push((worker, samples));
    }

    /// The least independent adds per core cycle of an uncontended block; with fewer, another hyperthread had part of
    /// the core. It is 97% of the 95% quantile over all blocks, and 0 without blocks.
    #[must_use]
    pub fn min_adds_per_cycle(&self) -> f64 {
        min_adds_per_cycle(&self.adds_per_cycle())
    }

    fn adds_per_cycle(&self) -> Vec<f64> {
        self.blocks().map(Block::adds_per_cycle).filter(|adds| adds.is_finite()).collect()
    }

    fn all_samples(&self) -> impl Iterator<Item = &LoopSamples> {
        self.samples.values().flatten().map(|(_, samples)| samples)
    }

    fn blocks(&self) -> impl Iterator<Item = &Block<f64>> {
        self.all_samples().flat_map(|samples| &samples.table.blocks)
    }

    /// Reduces the blocks of every worker and comparison to one estimate. Contended blocks are left out where enough
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
        for (comparison, samples) in &self.samples {
            by_key.entry(comparison_key(comparison)).or_default().push((comparison.offset, samples));
        }
        by_key
    }

    /// The number of values left out because the two windows of a replicate pair disagreed.
    fn count_rejected_pairs(&self, window_cycles: u64) -> usize {
        let in_comparison = |layouts: Layouts| {
            let tolerance = PairTolerance::from_samples(all_samples(&layouts), window_cycles);
            let at_layout = |(_, workers): &(u32, &Vec<(usize, LoopSamples)>)| {
                let tolerance = tolerance.at_layout(workers);
                workers.iter().map(|(_, samples)| tolerance.count_rejected_pairs(samples)).sum::<usize>()
            };
            layouts.iter().map(at_layout).sum::<usize>()
        };
        self.samples_by_key().into_values().map(in_comparison).sum()
    }

    /// Estimates all cells. `ops` is the catalogue in the order of the tables. `ticks_per_second` is the clock's rate,
    /// for nanoseconds.
    #[must_use]
    pub fn finish(&self, settings: &Settings, ops: &[OpMeta], ticks_per_second: f64) -> Estimates {
        let reduced = self.reduce(settings.window_cycles);
        let medians = Medians::from_workers(&reduced);
        let floors = Floors::from_medians(&medians);
        let rates: Vec<f64> =
            self.blocks().map(Block::mean_ticks_per_cycle).filter(|rate| rate.is_finite() && *rate > 0.0).collect();
        let from = self.min_adds_per_cycle();
        let disturbed = self.blocks().filter(|block| block.adds_per_cycle() < from).count();
        let context = EstimateContext {
            medians: &medians,
            ns_per_cycle: median(&rates).unwrap_or(f64::NAN) / ticks_per_second * 1e9,
        };
        let estimate_op = |meta: &OpMeta| self.estimate_cells(meta, settings.matrix, &floors, &context);
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
            contended_share: disturbed as f64 / self.blocks().count().max(1) as f64,
            rounds: self.blocks().count(),
            dropped_rounds: self.all_samples().map(|samples| samples.dropped).sum(),
            dropped_values: self.count_rejected_pairs(settings.window_cycles),
            error_per_cell: MAX_ERROR,
        }
    }

    /// Estimates the cells of one op.
    fn estimate_cells(&self, meta: &OpMeta, matrix: &Matrix, floors: &Floors, context: &EstimateContext) -> Vec<Cell> {
        let mut keys: Vec<(BodyKind, Regime)> = {
            let planned = matrix.comparisons.iter().map(|planned| &planned.comparison);
            planned.filter(|it| it.op == meta.name).map(|it| (it.body, it.regime)).collect()
        };
        keys.sort_unstable();
        keys.dedup();
        let mut cells = Vec::new();
        for (body, regime) in keys {
            let key = (meta.name.to_owned(), body, regime);
            let comparison = context.medians.comparison(&key);
            let comparison = comparison.as_ref();
            let noise =
                floors.regime_floor(regime).zip(comparison).map(|(floor, comparison)| Noise::new(floor, comparison));
            let cell = |mechanism: &str, state: Option<State>, variant: Variant| {
                let mut cell = empty_cell(meta, body, regime, mechanism, state);
                // The A/A comparison with the repeat shows what `inline` itself executes.
                let counted = if variant.treatment().is_some() { variant } else { Variant::Reference };
                match self.instructions.get(&key).and_then(|counts| counts.get(&counted)) {
                    Some(Ok(instructions)) => cell.instructions = Some(*instructions),
                    Some(Err(reason)) => cell.instructions_absent = Some(reason.clone()),
                    None => {}
                }
                cell.mix = self.mixes.get(&key).and_then(|mixes| mixes.get(&counted)).copied();
                cell.code = self.codes.get(&key).and_then(|codes| codes.get(&counted)).copied();
                cell.counters = self.events.get(&key).and_then(|counts| counts.get(&counted)).cloned();
                fill_cell(&mut cell, comparison, variant, noise.as_ref(), context);
                cell
            };
            // The A/A comparison with the copy has no cell of its own.
            cells.push(cell("inline", None, Variant::Repeat));
            for &id in matrix.treatments_of(meta.name, body, regime) {
                let Some(MechanismState { mechanism, state }) = matrix.treatments.mechanism(id) else { continue };
                match self.unavailable.get(&key).and_then(|unavailable| unavailable.get(&id)) {
                    Some(Unavailability::Never) => {}
                    Some(why) => {
                        let state =
                            if matches!(why, Unavailability::Refused(_)) { Some(State::Refused) } else { *state };
                        let mut cell = empty_cell(meta, body, regime, mechanism, state);
                        cell.absent = why.reason().map(str::to_owned);
                        cells.push(cell);
                    }
                    None => cells.push(cell(mechanism, *state, Variant::Treatment(id))),
                }
            }
        }
        cells
    }
}

fn comparison_key(comparison: &Comparison) -> Key {
    (comparison.op.clone(), comparison.body, comparison.regime)
}

/// The least adds per cycle of an uncontended block, from those of all blocks.
fn min_adds_per_cycle(adds_per_cycle: &[f64]) -> f64 {
    quantile(adds_per_cycle, 0.95).map_or(0.0, |best| best * MIN_CORE_SHARE)
}

/// The workers' estimates at one layout, over their uncontended blocks where enough workers have some, otherwise over
/// all blocks.
fn reduce_uncontended_or_all(
    samples: &[(usize, LoopSamples)],
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
fn all_samples<'a>(layouts: &Layouts<'a>) -> impl Iterator<Item = &'a LoopSamples> + Clone {
    let workers: Vec<_> = layouts.iter().map(|(_, workers)| *workers).collect();
    workers.into_iter().flatten().map(|(_, samples)| samples)
}

/// The median with the 5% and 95% quantiles.
fn median_and_central_90(values: &[f64]) -> Option<CentralRange> {
    Some(CentralRange { median: median(values)?, low: quantile(values, 0.05)?, high: quantile(values, 0.95)? })
}
