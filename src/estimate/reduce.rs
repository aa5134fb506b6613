//! The reduction of one worker's blocks of a comparison to one value per variant.

use std::collections::BTreeMap;

use crate::measure::samples::{Block, Column, LoopSamples, Pair};
use crate::measure::variant::Variant;
use crate::stats::effect::{Effect, LOOSE, Paired, block_effect, estimate_effect, pair_mean, pair_tolerance};
use crate::stats::location::median;

/// One worker's estimates for one comparison.
pub(super) struct WorkerEstimate {
    /// Number of the worker.
    pub worker: usize,
    /// Core cycles per op of `inline`.
    pub inline_cycles: f64,
    /// The effects of the variants other than the reference that were measured, in the order of the variants. A run
    /// has a million of them at once; a map would take twice the memory.
    effects: Box<[(Variant, VariantEffect)]>,
    /// Half a step of the clock, spread over the ops of the windows, in cycles per op.
    pub resolution_cycles: f64,
}

impl WorkerEstimate {
    /// Returns the effect of a variant; `None` where it was not measured.
    pub fn effect(&self, variant: Variant) -> Option<&VariantEffect> {
        let index = self.effects.binary_search_by_key(&variant, |(found, _)| *found).ok()?;
        self.effects.get(index).map(|(_, effect)| effect)
    }

    /// Lists the variants that have an effect.
    pub fn variants(&self) -> impl Iterator<Item = Variant> {
        self.effects.iter().map(|(variant, _)| *variant)
    }
}

/// A worker's estimate of a variant's overhead above `inline`.
#[derive(Clone, Copy)]
pub(super) struct VariantEffect {
    /// Core cycles per op.
    pub cycles: f64,
    /// Natural logarithm of the ratio to `inline`.
    pub log_ratio: f64,
    /// See [`Sample::half_difference`](crate::stats::spread::Sample::half_difference), in cycles.
    pub half_difference: f64,
    /// See [`Sample::successive_difference`](crate::stats::spread::Sample::successive_difference), in cycles.
    pub successive_difference: Option<f64>,
}

/// The factors within which the windows of a comparison's replicate pairs must agree. They come from the blocks of all
/// workers at all layouts, because a burst may have disturbed nearly all blocks at one layout.
pub(super) struct PairTolerance {
    reference: f64,
    /// The factors of the other variants. A variant for which too few workers have pairs within its factor is absent,
    /// and [`LOOSE`] applies.
    others: BTreeMap<Variant, f64>,
}

/// Least number of workers with agreeing pairs at a layout: an interval needs two.
const MIN_WORKERS_AT_LAYOUT: usize = 2;

impl PairTolerance {
    /// The factors from the samples of all workers at all layouts.
    pub fn from_samples<'a>(workers: impl Iterator<Item = &'a LoopSamples> + Clone, window_cycles: u64) -> Self {
        let mut pairs: BTreeMap<Variant, Vec<Pair<f64>>> = BTreeMap::new();
        for (variant, column) in workers.clone().flat_map(|samples| samples.table.columns()) {
            pairs.entry(variant).or_default().extend(column.pairs().flatten());
        }
        let ticks_per_cycle = workers.clone().flat_map(|samples| &samples.table.blocks);
        let ticks_per_cycle = ticks_per_cycle.map(|block| block.ticks_per_cycle()[0]).fold(f64::NAN, f64::max);
        let clock_step = workers.map(|samples| samples.clock_step).max().unwrap_or(0);
        let step = clock_step as f64 / (window_cycles as f64 * ticks_per_cycle);
        let mut others: BTreeMap<Variant, f64> =
            pairs.into_iter().map(|(variant, pairs)| (variant, pair_tolerance(pairs, step))).collect();
        PairTolerance { reference: others.remove(&Variant::Reference).unwrap_or(LOOSE), others }
    }

    /// The same factors for one layout, without those of variants for which fewer than two workers have agreeing pairs
    /// there.
    pub fn at_layout(&self, workers: &[(usize, LoopSamples)]) -> Self {
        let has_agreeing_pair = |samples: &LoopSamples, variant, factor| {
            let (Some(reference), Some(column)) =
                (samples.table.column(Variant::Reference), samples.table.column(variant))
            else {
                return false;
            };
            samples.table.blocks.iter().any(|block| {
                let agree = |column: Column<f64>, factor| {
                    column.pair_in(block).is_some_and(|pair| pair_mean(pair, factor).is_some())
                };
                agree(reference, self.reference) && agree(column, factor)
            })
        };
        let enough = |(variant, factor): &(&Variant, &f64)| {
            let agreeing = workers.iter().filter(|(_, samples)| has_agreeing_pair(samples, **variant, **factor));
            agreeing.count() >= MIN_WORKERS_AT_LAYOUT
        };
        let others = self.others.iter().filter(enough).map(|(variant, factor)| (*variant, *factor)).collect();
        PairTolerance { reference: self.reference, others }
    }

    /// The factors of a variant's own pairs, and of the reference's pairs beside them.
    fn factors(&self, variant: Variant) -> (f64, f64) {
        self.others.get(&variant).map_or((LOOSE, LOOSE), |own| (*own, self.reference))
    }

    /// The number of a worker's values that are left out because the two windows of a pair disagreed.
    pub fn count_rejected_pairs(&self, samples: &LoopSamples) -> usize {
        let others = samples.table.columns().filter(|(variant, _)| *variant != Variant::Reference);
        let rejected = |(variant, column): (Variant, Column<f64>)| {
            let (factor, _) = self.factors(variant);
            column.pairs().flatten().filter(|pair| pair_mean(*pair, factor).is_none()).count()
        };
        others.map(rejected).sum()
    }
}

/// Reduces one worker's blocks with at least `from` adds per cycle; `None` with fewer than `at_least` of them.
pub(super) fn reduce(
    worker: usize,
    samples: &LoopSamples,
    from: f64,
    at_least: usize,
    window_cycles: u64,
    tolerance: &PairTolerance,
) -> Option<WorkerEstimate> {
    let is_kept = |block: &&Block<f64>| from == 0.0 || block.adds_per_cycle() >= from;
    let kept: Vec<&Block<f64>> = samples.table.blocks.iter().filter(is_kept).collect();
    if kept.len() < at_least {
        return None;
    }
    let reference = samples.table.column(Variant::Reference)?;
    let (mut effects, mut inline_cycles) = (BTreeMap::new(), None);
    for (variant, column) in samples.table.columns().filter(|(variant, _)| *variant != Variant::Reference) {
        let pairs = PairedBlocks { blocks: &kept, reference, column, factors: tolerance.factors(variant) };
        let Some((found, effect)) = pairs.estimate() else { continue };
        inline_cycles = inline_cycles.or(Some(found.inline_cycles));
        effects.extend(effect.map(|effect| (variant, effect)));
    }
    let inline_cycles = inline_cycles?;
    // The length of a window is uncertain by one step of the clock, and a block's value is the mean of two windows.
    let ticks_per_cycle = kept.iter().map(|block| block.mean_ticks_per_cycle()).fold(f64::NAN, f64::max);
    let window_ticks = window_cycles as f64 * ticks_per_cycle;
    let relative = samples.clock_step as f64 / window_ticks / (2.0 * kept.len() as f64).sqrt();
    let effects = effects.into_iter().collect();
    Some(WorkerEstimate { worker, inline_cycles, effects, resolution_cycles: relative * inline_cycles / 2.0 })
}

/// A variant beside the reference in a worker's blocks.
struct PairedBlocks<'a> {
    blocks: &'a [&'a Block<f64>],
    reference: Column<'a, f64>,
    column: Column<'a, f64>,
    /// The factors of the variant's own pairs, and of the reference's.
    factors: (f64, f64),
}

impl PairedBlocks<'_> {
    /// Estimates the variant's effect, with its scatter within and between blocks. The second is `None` where no block
    /// has a pair of which the scatter is known.
    fn estimate(&self) -> Option<(Effect, Option<VariantEffect>)> {
        let averaged: Vec<Paired> = self.blocks.iter().map(|block| self.average(block)).collect();
        let found = estimate_effect(&averaged)?;
        let half_differences: Vec<f64> = self.blocks.iter().filter_map(|block| self.half_difference(block)).collect();
        let cycles: Vec<f64> = averaged.iter().filter_map(block_effect).map(|effect| effect.cycles).collect();
        let successive: Vec<f64> = cycles.windows(2).map(|pair| (pair[0] - pair[1]).abs()).collect();
        let effect = median(&half_differences).map(|half_difference| VariantEffect {
            cycles: found.cycles,
            log_ratio: found.log_ratio,
            half_difference,
            successive_difference: median(&successive),
        });
        Some((found, effect))
    }

    /// The means of a block's replicate pairs; NaN where a pair disagrees.
    fn average(&self, block: &Block<f64>) -> Paired {
        let mean = |column: Column<f64>, factor| {
            column.pair_in(block).and_then(|pair| pair_mean(pair, factor)).unwrap_or(f64::NAN)
        };
        let (own, reference) = self.factors;
        Paired {
            ticks: mean(self.column, own),
            inline: mean(self.reference, reference),
            ticks_per_cycle: block.mean_ticks_per_cycle(),
        }
    }

    /// Half the absolute difference between the overheads of the first and of the second windows, in cycles.
    fn half_difference(&self, block: &Block<f64>) -> Option<f64> {
        let (pair, reference) = (self.column.pair_in(block)?, self.reference.pair_in(block)?);
        pair_mean(pair, self.factors.0)?;
        let [first, second] = [0, 1].map(|half| pair[half] - reference[half]);
        Some((first - second).abs() / 2.0 / block.mean_ticks_per_cycle())
    }
}
