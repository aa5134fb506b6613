//! One worker's rounds of a group, reduced to one value per column.

use crate::measure::plan::Group;
use crate::measure::wire::{GroupSamples, RoundSamples};
use crate::stats::effect::{CLOSE, LOOSE, Round, differences, of_twins};
use crate::stats::location::median;

/// One worker's result for one group.
pub(super) struct Reduced {
    /// Which worker.
    pub worker: usize,
    /// What `inline` took, in cycles.
    pub inline_cycles: f64,
    /// `inline` again, its copy, then the plan's columns in their places; `None` where one was not measured.
    pub effects: Vec<Option<Effect>>,
    /// Half the clock's step, per op, spread over the windows, in cycles.
    pub resolution_cycles: f64,
}

/// What a worker found for a column against `inline`.
#[derive(Clone, Copy)]
pub(super) struct Effect {
    /// Core cycles per op.
    pub cycles: f64,
    /// Logarithm of the ratio.
    pub log_ratio: f64,
    /// See [`Sample::halves`](crate::stats::spread::Sample::halves), in cycles.
    pub halves: f64,
    /// See [`Sample::rounds`](crate::stats::spread::Sample::rounds), in cycles.
    pub rounds: Option<f64>,
}

/// One worker's rounds with at least `from` adds per cycle, reduced; `None` with fewer than `at_least` of them.
pub(super) fn reduce(
    worker: usize,
    samples: &GroupSamples,
    from: f64,
    at_least: usize,
    window_cycles: u64,
) -> Option<Reduced> {
    let kept: Vec<&RoundSamples> =
        samples.rounds.iter().filter(|round| from == 0.0 || round.adds_per_cycle >= from).collect();
    if kept.len() < at_least {
        return None;
    }
    let comparisons = kept.first().map_or(0, |round| round.compared().count());
    let [close, loose] =
        [CLOSE, LOOSE].map(|within| kept.iter().map(|round| of_round(round, within)).collect::<Vec<_>>());
    let measured: Vec<Option<Effect>> = (0..comparisons)
        .map(|column| effect(&kept, &close, CLOSE, column).or_else(|| effect(&kept, &loose, LOOSE, column)))
        .collect();
    let inline_cycles = (0..comparisons).find_map(|column| Some(differences(&loose, column)?.inline_cycles))?;
    // The two A/A comparisons, then every column of the plan in its place, measured or not.
    let places = [0, 1].into_iter().chain(samples.columns.iter().map(|column| column + 2));
    let mut effects = vec![None; samples.columns.iter().max().map_or(0, |last| last + 1) + 2];
    for (place, effect) in places.zip(measured) {
        effects[place] = effect;
    }
    // A window's length is known to a step of the clock; a round's value comes from two windows.
    let ticks_per_cycle = loose.iter().map(|r| r.ticks_per_cycle).fold(f64::NAN, f64::max);
    let window_ticks = window_cycles as f64 * ticks_per_cycle;
    let relative = samples.clock_step as f64 / window_ticks / (2.0 * loose.len() as f64).sqrt();
    Some(Reduced { worker, inline_cycles, effects, resolution_cycles: relative * inline_cycles / 2.0 })
}

/// What a worker found for a column, in the rounds in which its windows agree within a factor. `None` where they never do:
/// then they may be looked at less closely, for a loop that scatters from window to window is no less real.
fn effect(kept: &[&RoundSamples], rounds: &[Round], within: f64, column: usize) -> Option<Effect> {
    let found = differences(rounds, column)?;
    let halves: Vec<f64> = kept.iter().filter_map(|round| halves(round, within, column)).collect();
    let of_one = |round: &Round| Some(differences(std::slice::from_ref(round), column)?.cycles);
    let each: Vec<f64> = rounds.iter().filter_map(of_one).collect();
    let in_a_row: Vec<f64> = each.windows(2).map(|pair| (pair[0] - pair[1]).abs()).collect();
    Some(Effect {
        cycles: found.cycles,
        log_ratio: found.log_ratio,
        halves: median(&halves)?,
        rounds: median(&in_a_row),
    })
}

/// How many values of a group's rounds are passed over, because the two windows of a loop disagreed.
pub(super) fn disagreed(group: &Group, samples: &GroupSamples) -> usize {
    let within = group.regime.tolerance();
    let lost = |twins: &&[f64; 2]| **twins != [0.0; 2] && of_twins(**twins, within).is_none();
    samples.rounds.iter().flat_map(RoundSamples::compared).filter(lost).count()
}

fn of_round(round: &RoundSamples, within: f64) -> Round {
    Round {
        ticks: round.compared().map(|twins| of_twins(*twins, within).unwrap_or(f64::NAN)).collect(),
        inline: of_twins(round.inline, within).unwrap_or(f64::NAN),
        ticks_per_cycle: f64::midpoint(round.ticks_per_cycle[0], round.ticks_per_cycle[1]),
    }
}

/// Half of what the first windows' difference to `inline` differs from the second's, in cycles, without its sign.
fn halves(round: &RoundSamples, within: f64, column: usize) -> Option<f64> {
    let twins = round.compared().nth(column)?;
    of_twins(*twins, within)?;
    let [first, second] = [0, 1].map(|half| twins[half] - round.inline[half]);
    let cycle = f64::midpoint(round.ticks_per_cycle[0], round.ticks_per_cycle[1]);
    Some((first - second).abs() / 2.0 / cycle)
}
