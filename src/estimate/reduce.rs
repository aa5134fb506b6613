//! One worker's rounds of a group, reduced to one value per column.

use crate::measure::wire::{ComparisonSamples, ReplicatePair, RoundSamples};
use crate::stats::effect::{self, LOOSE, Round, differences, pair_mean, pair_tolerance};
use crate::stats::location::median;

/// One worker's result for one group.
pub(super) struct WorkerEstimate {
    /// Which worker.
    pub worker: usize,
    /// What `inline` took, in cycles.
    pub inline_cycles: f64,
    /// `inline` again, its copy, then the plan's columns in their places; `None` where one was not measured.
    pub effects: Vec<Option<VariantEffect>>,
    /// Half the clock's step, per op, spread over the windows, in cycles.
    pub resolution_cycles: f64,
}

/// What a worker found for a column against `inline`.
#[derive(Clone, Copy)]
pub(super) struct VariantEffect {
    /// Core cycles per op.
    pub cycles: f64,
    /// Logarithm of the ratio.
    pub log_ratio: f64,
    /// See [`Sample::halves`](crate::stats::spread::Sample::halves), in cycles.
    pub halves: f64,
    /// See [`Sample::rounds`](crate::stats::spread::Sample::rounds), in cycles.
    pub rounds: Option<f64>,
}

/// The factors within which the windows of a group's loops agree undisturbed, by all workers' rounds at all layouts: at
/// one of them a burst may have met nearly all.
pub(super) struct PairTolerance {
    inline: f64,
    /// `inline` again, its copy, then the plan's columns in their places.
    compared: Vec<f64>,
    /// Where too few workers have windows that agree so closely: there all that is not absurd is taken.
    loose: Vec<bool>,
}

/// A layout needs so many workers to be one.
const MIN_AT_A_LAYOUT: usize = 2;

impl PairTolerance {
    /// Of what workers measured at all layouts.
    pub fn of<'a>(workers: impl Iterator<Item = &'a ComparisonSamples> + Clone, window_cycles: u64) -> Self {
        let mut compared: Vec<Vec<ReplicatePair>> = Vec::new();
        for samples in workers.clone() {
            for round in &samples.rounds {
                for (place, twins) in places(samples).zip(round.compared()) {
                    compared.resize(compared.len().max(place + 1), Vec::new());
                    compared[place].push(*twins);
                }
            }
        }
        let rounds = || workers.clone().flat_map(|samples| &samples.rounds);
        let ticks_per_cycle = rounds().map(|round| round.ticks_per_cycle[0]).fold(f64::NAN, f64::max);
        let clock_step = workers.clone().map(|samples| samples.clock_step).max().unwrap_or(0);
        let step = clock_step as f64 / (window_cycles as f64 * ticks_per_cycle);
        let inline = pair_tolerance(rounds().map(|round| round.inline), step);
        let compared: Vec<f64> = compared.into_iter().map(|twins| pair_tolerance(twins, step)).collect();
        let loose = vec![false; compared.len()];
        PairTolerance { inline, compared, loose }
    }

    /// The same for one layout, by what workers measured there.
    pub fn at_a_layout(&self, workers: &[(usize, ComparisonSamples)]) -> Self {
        let mut agreed = vec![0; self.compared.len()];
        for (_, samples) in workers {
            for (index, place) in places(samples).enumerate() {
                let here = |round: &RoundSamples| {
                    let twins = round.compared().nth(index).copied().unwrap_or_default();
                    pair_mean(round.inline, self.inline).is_some() && pair_mean(twins, self.compared[place]).is_some()
                };
                agreed[place] += usize::from(samples.rounds.iter().any(here));
            }
        }
        let loose = agreed.iter().map(|agreed| *agreed < MIN_AT_A_LAYOUT).collect();
        PairTolerance { inline: self.inline, compared: self.compared.clone(), loose }
    }

    /// Of a place that some worker measured.
    fn at(&self, place: usize) -> f64 {
        if self.is_loose(place) { LOOSE } else { self.compared.get(place).copied().unwrap_or(LOOSE) }
    }

    fn is_loose(&self, place: usize) -> bool {
        self.loose.get(place).copied().unwrap_or(true)
    }

    /// How many values of a worker's rounds are passed over, because the two windows of a loop disagreed.
    pub fn disagreed(&self, samples: &ComparisonSamples) -> usize {
        let lost = |(place, twins): &(usize, &ReplicatePair)| {
            **twins != [0.0; 2] && pair_mean(**twins, self.at(*place)).is_none()
        };
        samples.rounds.iter().map(|round| places(samples).zip(round.compared()).filter(lost).count()).sum()
    }
}

/// The places of what a worker compared: the two A/A comparisons, then every column of the plan in its own.
fn places(samples: &ComparisonSamples) -> impl Iterator<Item = usize> {
    [0, 1].into_iter().chain(samples.variants.iter().map(|column| column + 2))
}

/// One worker's rounds with at least `from` adds per cycle, reduced; `None` with fewer than `at_least` of them.
pub(super) fn reduce(
    worker: usize,
    samples: &ComparisonSamples,
    from: f64,
    at_least: usize,
    window_cycles: u64,
    within: &PairTolerance,
) -> Option<WorkerEstimate> {
    let kept: Vec<&RoundSamples> =
        samples.rounds.iter().filter(|round| from == 0.0 || round.adds_per_cycle >= from).collect();
    if kept.len() < at_least {
        return None;
    }
    let [close, loose] = [within.inline, LOOSE]
        .map(|inline| kept.iter().map(|round| of_round(round, samples, inline, within)).collect::<Vec<Round>>());
    let mut effects = vec![None; samples.variants.iter().max().map_or(0, |last| last + 1) + 2];
    let mut inline_cycles = None;
    for (column, place) in places(samples).enumerate() {
        let rounds = if within.is_loose(place) { &loose } else { &close };
        let Some(found) = differences(rounds, column) else { continue };
        inline_cycles = inline_cycles.or(Some(found.inline_cycles));
        effects[place] = effect(&found, &kept, rounds, column, within.at(place));
    }
    let inline_cycles = inline_cycles?;
    // A window's length is known to a step of the clock; a round's value comes from two windows.
    let ticks_per_cycle = close.iter().map(|r| r.ticks_per_cycle).fold(f64::NAN, f64::max);
    let window_ticks = window_cycles as f64 * ticks_per_cycle;
    let relative = samples.clock_step as f64 / window_ticks / (2.0 * close.len() as f64).sqrt();
    Some(WorkerEstimate { worker, inline_cycles, effects, resolution_cycles: relative * inline_cycles / 2.0 })
}

/// What a worker found for a column, with what scatters it.
fn effect(
    found: &effect::Effect,
    kept: &[&RoundSamples],
    rounds: &[Round],
    column: usize,
    within: f64,
) -> Option<VariantEffect> {
    let halves: Vec<f64> = kept.iter().filter_map(|round| halves(round, within, column)).collect();
    let of_one = |round: &Round| Some(differences(std::slice::from_ref(round), column)?.cycles);
    let each: Vec<f64> = rounds.iter().filter_map(of_one).collect();
    let in_a_row: Vec<f64> = each.windows(2).map(|pair| (pair[0] - pair[1]).abs()).collect();
    Some(VariantEffect {
        cycles: found.cycles,
        log_ratio: found.log_ratio,
        halves: median(&halves)?,
        rounds: median(&in_a_row),
    })
}

/// A round with the windows of `inline` that agree within a factor, and those of the others that do within theirs.
fn of_round(round: &RoundSamples, samples: &ComparisonSamples, inline: f64, within: &PairTolerance) -> Round {
    let ticks = places(samples).zip(round.compared());
    Round {
        ticks: ticks.map(|(place, twins)| pair_mean(*twins, within.at(place)).unwrap_or(f64::NAN)).collect(),
        inline: pair_mean(round.inline, inline).unwrap_or(f64::NAN),
        ticks_per_cycle: f64::midpoint(round.ticks_per_cycle[0], round.ticks_per_cycle[1]),
    }
}

/// Half of what the first windows' difference to `inline` differs from the second's, in cycles, without its sign.
fn halves(round: &RoundSamples, within: f64, column: usize) -> Option<f64> {
    let twins = round.compared().nth(column)?;
    pair_mean(*twins, within)?;
    let [first, second] = [0, 1].map(|half| twins[half] - round.inline[half]);
    let cycle = f64::midpoint(round.ticks_per_cycle[0], round.ticks_per_cycle[1]);
    Some((first - second).abs() / 2.0 / cycle)
}
