//! The reduction of one worker's rounds of a comparison to one value per variant.

use crate::measure::wire::{ComparisonSamples, ReplicatePair, RoundSamples};
use crate::stats::effect::{self, LOOSE, Round, estimate_effect, pair_mean, pair_tolerance};
use crate::stats::location::median;

/// One worker's estimates for one comparison.
pub(super) struct WorkerEstimate {
    /// Number of the worker.
    pub worker: usize,
    /// Core cycles per op of `inline`.
    pub inline_cycles: f64,
    /// The repeat of `inline`, its copy, then the variants by their index in the plan; `None` where one was not
    /// measured.
    pub effects: Vec<Option<VariantEffect>>,
    /// Half a step of the clock, spread over the ops of the windows, in cycles per op.
    pub resolution_cycles: f64,
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

/// The factors within which the windows of a comparison's replicate pairs must agree. They come from the rounds of all
/// workers at all layouts, because a burst may have disturbed nearly all rounds at one layout.
pub(super) struct PairTolerance {
    inline: f64,
    /// The factors of the repeat of `inline`, its copy, then the variants by their index in the plan.
    compared: Vec<f64>,
    /// Whether too few workers have pairs within the factor; then [`LOOSE`] applies.
    loose: Vec<bool>,
}

/// Least number of workers with agreeing pairs at a layout: an interval needs two.
const MIN_WORKERS_AT_LAYOUT: usize = 2;

impl PairTolerance {
    /// The factors from the samples of all workers at all layouts.
    pub fn from_samples<'a>(workers: impl Iterator<Item = &'a ComparisonSamples> + Clone, window_cycles: u64) -> Self {
        let mut compared: Vec<Vec<ReplicatePair>> = Vec::new();
        for samples in workers.clone() {
            for round in &samples.rounds {
                for (index, pair) in effect_indices(samples).zip(round.compared()) {
                    compared.resize(compared.len().max(index + 1), Vec::new());
                    compared[index].push(*pair);
                }
            }
        }
        let rounds = || workers.clone().flat_map(|samples| &samples.rounds);
        let ticks_per_cycle = rounds().map(|round| round.ticks_per_cycle[0]).fold(f64::NAN, f64::max);
        let clock_step = workers.clone().map(|samples| samples.clock_step).max().unwrap_or(0);
        let step = clock_step as f64 / (window_cycles as f64 * ticks_per_cycle);
        let inline = pair_tolerance(rounds().map(|round| round.inline), step);
        let compared: Vec<f64> = compared.into_iter().map(|pairs| pair_tolerance(pairs, step)).collect();
        let loose = vec![false; compared.len()];
        PairTolerance { inline, compared, loose }
    }

    /// The same factors for one layout, with [`LOOSE`] where fewer than two workers have agreeing pairs there.
    pub fn at_layout(&self, workers: &[(usize, ComparisonSamples)]) -> Self {
        let mut agreed = vec![0; self.compared.len()];
        for (_, samples) in workers {
            for (nth, index) in effect_indices(samples).enumerate() {
                let agrees = |round: &RoundSamples| {
                    let pair = round.compared().nth(nth).copied().unwrap_or_default();
                    pair_mean(round.inline, self.inline).is_some() && pair_mean(pair, self.compared[index]).is_some()
                };
                agreed[index] += usize::from(samples.rounds.iter().any(agrees));
            }
        }
        let loose = agreed.iter().map(|agreed| *agreed < MIN_WORKERS_AT_LAYOUT).collect();
        PairTolerance { inline: self.inline, compared: self.compared.clone(), loose }
    }

    /// The factor of the pair at `index` of [`WorkerEstimate::effects`].
    fn factor(&self, index: usize) -> f64 {
        if self.is_loose(index) { LOOSE } else { self.compared.get(index).copied().unwrap_or(LOOSE) }
    }

    fn is_loose(&self, index: usize) -> bool {
        self.loose.get(index).copied().unwrap_or(true)
    }

    /// The number of a worker's values that are left out because the two windows of a pair disagreed.
    pub fn count_rejected_pairs(&self, samples: &ComparisonSamples) -> usize {
        let is_rejected = |(index, pair): &(usize, &ReplicatePair)| {
            **pair != [0.0; 2] && pair_mean(**pair, self.factor(*index)).is_none()
        };
        let rejected = |round: &RoundSamples| effect_indices(samples).zip(round.compared()).filter(is_rejected).count();
        samples.rounds.iter().map(rejected).sum()
    }
}

/// The indices in [`WorkerEstimate::effects`] of a worker's pairs: the two A/A comparisons, then its variants.
fn effect_indices(samples: &ComparisonSamples) -> impl Iterator<Item = usize> {
    [0, 1].into_iter().chain(samples.variants.iter().map(|column| column + 2))
}

/// Reduces one worker's rounds with at least `from` adds per cycle; `None` with fewer than `at_least` of them.
pub(super) fn reduce(
    worker: usize,
    samples: &ComparisonSamples,
    from: f64,
    at_least: usize,
    window_cycles: u64,
    tolerance: &PairTolerance,
) -> Option<WorkerEstimate> {
    let kept: Vec<&RoundSamples> =
        samples.rounds.iter().filter(|round| from == 0.0 || round.adds_per_cycle >= from).collect();
    if kept.len() < at_least {
        return None;
    }
    let [close, loose] = [tolerance.inline, LOOSE].map(|inline| {
        kept.iter().map(|round| average_pairs(round, samples, inline, tolerance)).collect::<Vec<Round>>()
    });
    let mut effects = vec![None; samples.variants.iter().max().map_or(0, |last| last + 1) + 2];
    let mut inline_cycles = None;
    for (column, index) in effect_indices(samples).enumerate() {
        let rounds = if tolerance.is_loose(index) { &loose } else { &close };
        let Some(found) = estimate_effect(rounds, column) else { continue };
        inline_cycles = inline_cycles.or(Some(found.inline_cycles));
        effects[index] = add_scatter(&found, &kept, rounds, column, tolerance.factor(index));
    }
    let inline_cycles = inline_cycles?;
    // The length of a window is uncertain by one step of the clock, and a round's value is the mean of two windows.
    let ticks_per_cycle = close.iter().map(|r| r.ticks_per_cycle).fold(f64::NAN, f64::max);
    let window_ticks = window_cycles as f64 * ticks_per_cycle;
    let relative = samples.clock_step as f64 / window_ticks / (2.0 * close.len() as f64).sqrt();
    Some(WorkerEstimate { worker, inline_cycles, effects, resolution_cycles: relative * inline_cycles / 2.0 })
}

/// A worker's estimate of a variant, with its scatter within and between rounds.
fn add_scatter(
    found: &effect::Effect,
    kept: &[&RoundSamples],
    rounds: &[Round],
    column: usize,
    within: f64,
) -> Option<VariantEffect> {
    let half_differences: Vec<f64> = kept.iter().filter_map(|round| half_difference(round, within, column)).collect();
    let round_cycles = |round: &Round| Some(estimate_effect(std::slice::from_ref(round), column)?.cycles);
    let cycles: Vec<f64> = rounds.iter().filter_map(round_cycles).collect();
    let successive: Vec<f64> = cycles.windows(2).map(|pair| (pair[0] - pair[1]).abs()).collect();
    Some(VariantEffect {
        cycles: found.cycles,
        log_ratio: found.log_ratio,
        half_difference: median(&half_differences)?,
        successive_difference: median(&successive),
    })
}

/// The means of a round's replicate pairs; NaN where a pair disagrees. `inline` is the factor of `inline`'s own pair.
fn average_pairs(round: &RoundSamples, samples: &ComparisonSamples, inline: f64, tolerance: &PairTolerance) -> Round {
    let pairs = effect_indices(samples).zip(round.compared());
    Round {
        ticks: pairs.map(|(index, pair)| pair_mean(*pair, tolerance.factor(index)).unwrap_or(f64::NAN)).collect(),
        inline: pair_mean(round.inline, inline).unwrap_or(f64::NAN),
        ticks_per_cycle: f64::midpoint(round.ticks_per_cycle[0], round.ticks_per_cycle[1]),
    }
}

/// Half the absolute difference between the overheads of the first and of the second windows, in cycles.
fn half_difference(round: &RoundSamples, within: f64, column: usize) -> Option<f64> {
    let pair = round.compared().nth(column)?;
    pair_mean(*pair, within)?;
    let [first, second] = [0, 1].map(|half| pair[half] - round.inline[half]);
    let cycle = f64::midpoint(round.ticks_per_cycle[0], round.ticks_per_cycle[1]);
    Some((first - second).abs() / 2.0 / cycle)
}
