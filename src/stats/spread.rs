//! Where the uncertainty of a cell comes from.
//!
//! A cell's value is a middle over layouts of middles over workers of middles over rounds, each of two windows per
//! loop. What scatters at each of these levels is told apart here, so that a reader sees which one limits the result:
//! more rounds and workers narrow what windows, rounds and workers scatter, and nothing but a changed question narrows
//! what the layout does.
//!
//! All spreads are standard deviations of single values, estimated from medians of absolute differences, so that a few
//! disturbed ones do not set them.

use super::location::{mad, median};

/// What a worker found for a cell at one layout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Which worker.
    pub worker: usize,
    /// Its value: the middle over its rounds.
    pub value: f64,
    /// Half of what the value from the first windows of a round differs from that of the second, the middle over rounds
    /// of its absolute value.
    pub halves: f64,
    /// Absolute difference between two rounds in a row, the middle over them; `None` with a single round.
    pub rounds: Option<f64>,
}

/// The level whose scatter is the greatest part of the estimate's uncertainty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Windows and rounds: what one process sees from one moment to the next.
    Rounds,
    /// Processes at the same layout.
    Workers,
    /// Offsets of the loop.
    Layouts,
}

/// The scatter at each level, as standard deviations in the unit of the values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Of a round's value, as far as its windows differ.
    pub within_round: f64,
    /// Between the rounds of a worker at one layout, beyond what the windows explain; `None` where no worker made two.
    pub between_rounds: Option<f64>,
    /// Between workers at the same layout, beyond what rounds explain.
    pub between_workers: f64,
    /// Between layouts, beyond what workers explain; `None` with fewer than two.
    pub between_layouts: Option<f64>,
    /// Which one limits.
    pub largest: Source,
}

/// What two values in a row of a normal scatter differ by in the middle, in standard deviations: 0.6745 * sqrt(2).
const MIDDLE_DIFFERENCE: f64 = 0.953_873;
/// And what the absolute value of one is in the middle.
const MIDDLE_SIZE: f64 = 0.674_490;
/// The variance of a median of many is this much of that of a mean.
const OF_MEDIAN: f64 = std::f64::consts::FRAC_PI_2;

/// Modes are six deviations apart at least: half of what two windows differ by is within a quarter of that for nine in
/// ten.
const AGREED: f64 = 4.0;

/// Workers without which those with few layouts count, too.
const ENOUGH_WORKERS: usize = 6;

/// The values in which modes are to be looked for: those no further than `near` from the `middle`, and those which the
/// windows of a round agree on. A worker that is in another mode is in it in both windows; where the two differ by a
/// part of what the value does from the middle, an interruption made it stand apart, and the next one may be as long.
pub fn steady(samples: &[Sample], middle: f64, near: f64) -> Vec<f64> {
    let away = |sample: &Sample| (sample.value - middle).abs();
    let agreed = |sample: &&Sample| away(sample) <= near || sample.halves <= away(sample) / AGREED;
    samples.iter().filter(agreed).map(|sample| sample.value).collect()
}

/// Every worker's own deviation from the cell: the median over layouts of what it differs from the layout's median over
/// workers. Workers with fewer than half of the layouts are left out, where enough have more.
pub fn by_worker(layouts: &[Vec<Sample>]) -> Vec<f64> {
    let centred = centred(layouts);
    let mut workers: Vec<usize> = centred.iter().map(|(worker, _)| *worker).collect();
    workers.sort_unstable();
    workers.dedup();
    let of = |worker: &usize, least: usize| {
        let values: Vec<f64> = centred.iter().filter(|(w, _)| w == worker).map(|(_, value)| *value).collect();
        if values.len() < least { None } else { median(&values) }
    };
    let with = |least: usize| workers.iter().filter_map(|worker| of(worker, least)).collect::<Vec<f64>>();
    let found = with(layouts.len().div_ceil(2));
    if found.len() < ENOUGH_WORKERS { with(1) } else { found }
}

/// The spreads of a cell, from its samples at each layout. `None` where no layout has two workers.
pub fn spread(layouts: &[Vec<Sample>]) -> Option<Spread> {
    let samples = || layouts.iter().flatten();
    let halves: Vec<f64> = samples().map(|sample| sample.halves.abs()).collect();
    let within_round = median(&halves)? / MIDDLE_SIZE;
    let differences: Vec<f64> = samples().filter_map(|sample| sample.rounds).collect();
    let of_rounds = median(&differences).map(|middle| middle / MIDDLE_DIFFERENCE);
    // What a worker's value scatters though nothing but time passed.
    let of_time = of_rounds.unwrap_or(0.0).max(within_round);

    let same_layout: Vec<f64> = centred(layouts).into_iter().map(|(_, value)| value).collect();
    // The median that was taken off took a part of the scatter along.
    let workers = layouts.iter().map(Vec::len).max()? as f64;
    if workers < 2.0 {
        return None;
    }
    let of_values = median(&same_layout.iter().map(|value| value.abs()).collect::<Vec<_>>())? / MIDDLE_SIZE
        * (workers / (workers - 1.0)).sqrt();
    let between_workers = beyond(of_values, of_time);

    let of_one_worker = mad(&by_worker(layouts)).unwrap_or(0.0);
    let count = layouts.len() as f64;
    let share_of = |n: f64| if n > 2.0 { OF_MEDIAN / n } else { 1.0 / n };
    // A worker moves as a whole by this much; the rest of what workers differ by is another at every layout.
    let as_a_whole = beyond(of_one_worker, of_values * share_of(count).sqrt()).min(between_workers);
    let apart = beyond(between_workers, as_a_whole);

    let middles: Vec<f64> =
        layouts.iter().filter_map(|l| median(&l.iter().map(|sample| sample.value).collect::<Vec<_>>())).collect();
    let between_layouts =
        (middles.len() > 1).then(|| beyond(deviation(&middles), of_values * share_of(workers).sqrt()));

    let parts = [
        (Source::Rounds, of_time.powi(2) / (workers * count)),
        (Source::Workers, as_a_whole.powi(2) / workers + apart.powi(2) / (workers * count)),
        (Source::Layouts, between_layouts.unwrap_or(0.0).powi(2) / count),
    ];
    let largest = parts.into_iter().fold(parts[0], |largest, part| if part.1 > largest.1 { part } else { largest }).0;
    Some(Spread {
        within_round,
        between_rounds: of_rounds.map(|of_rounds| beyond(of_rounds, within_round)),
        between_workers,
        between_layouts,
        largest,
    })
}

/// Worker, and its value less the median of its layout.
fn centred(layouts: &[Vec<Sample>]) -> Vec<(usize, f64)> {
    let of_layout = |samples: &Vec<Sample>| {
        let middle = median(&samples.iter().map(|sample| sample.value).collect::<Vec<_>>());
        let centre = move |sample: &Sample| middle.map(|middle| (sample.worker, sample.value - middle));
        samples.iter().filter_map(centre).collect::<Vec<_>>()
    };
    layouts.iter().flat_map(of_layout).collect()
}

/// The part of a scatter that another one does not explain.
fn beyond(all: f64, explained: f64) -> f64 {
    (all.powi(2) - explained.powi(2)).max(0.0).sqrt()
}

/// The standard deviation of at least two values.
fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples in which worker w at layout l finds `value(w, l)`, and time adds nothing.
    fn samples(workers: usize, layouts: usize, value: impl Fn(usize, usize) -> f64) -> Vec<Vec<Sample>> {
        let sample = |worker, layout| Sample { worker, value: value(worker, layout), halves: 0.0, rounds: Some(0.0) };
        (0..layouts).map(|layout| (0..workers).map(|worker| sample(worker, layout)).collect()).collect()
    }

    /// Evenly from -1 to 1 over `n`.
    fn even(i: usize, n: usize) -> f64 {
        2.0 * i as f64 / (n - 1) as f64 - 1.0
    }

    #[test]
    fn what_only_layouts_move_is_between_layouts() {
        let found = spread(&samples(12, 8, |_, layout| even(layout, 8))).unwrap();
        assert_eq!(found.largest, Source::Layouts);
        assert_eq!((found.within_round, found.between_rounds, found.between_workers), (0.0, Some(0.0), 0.0));
        assert!((found.between_layouts.unwrap() - 0.7).abs() < 0.05, "{found:?}");
    }

    #[test]
    fn what_only_workers_move_is_between_workers() {
        let found = spread(&samples(13, 8, |worker, _| even(worker, 13))).unwrap();
        assert_eq!(found.largest, Source::Workers);
        assert_eq!(found.between_layouts, Some(0.0));
        assert!(found.between_workers > 0.5 && found.between_workers < 1.0, "{found:?}");
    }

    #[test]
    fn what_windows_and_rounds_explain_is_no_difference_between_workers() {
        let mut noisy = samples(12, 8, |worker, layout| 0.1 * even((worker * 5 + layout * 3) % 12, 12));
        for sample in noisy.iter_mut().flatten() {
            (sample.halves, sample.rounds) = (0.05, Some(0.12));
        }
        let found = spread(&noisy).unwrap();
        assert_eq!((found.largest, found.between_workers), (Source::Rounds, 0.0));
        assert!((found.within_round - 0.05 / 0.674).abs() < 1e-3, "{found:?}");
        assert!((found.between_rounds.unwrap() - 0.1016).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn values_that_an_interruption_set_apart_are_no_mode_and_those_of_a_mode_stay() {
        let sample = |value, halves| Sample { worker: 0, value, halves, rounds: None };
        // In the middle, whatever its windows; interrupted in one window; in another mode.
        let samples = [sample(1.0, 0.3), sample(1.5, 0.5), sample(0.5, 0.01)];
        assert_eq!(steady(&samples, 1.0, 0.1), [1.0, 0.5]);
    }

    #[test]
    fn levels_that_were_not_repeated_say_nothing() {
        let mut single = samples(4, 1, |worker, _| even(worker, 4));
        for sample in single.iter_mut().flatten() {
            sample.rounds = None;
        }
        let found = spread(&single).unwrap();
        assert_eq!((found.between_rounds, found.between_layouts), (None, None));
        assert_eq!(spread(&samples(1, 8, |_, layout| even(layout, 8))), None);
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_layout_that_one_worker_lacks_does_not_count_as_that_workers_own() {
        // Layouts are far apart; worker 0 was at the first four alone.
        let mut uneven = samples(7, 8, |_, layout| 10.0 * layout as f64);
        uneven[4..].iter_mut().for_each(|layout| layout.retain(|sample| sample.worker != 0));
        assert_eq!(by_worker(&uneven), [0.0; 7]);
        uneven[3].retain(|sample| sample.worker != 0);
        assert_eq!(by_worker(&uneven).len(), 6);
    }

    #[test]
    fn workers_with_few_layouts_count_where_there_are_too_few_others() {
        let mut sparse = samples(8, 8, |_, layout| 10.0 * layout as f64);
        let first = |sample: &Sample| sample.worker < 3;
        sparse[1..].iter_mut().for_each(|layout| layout.retain(first));
        assert_eq!(by_worker(&sparse), [0.0; 8]);
    }
}
