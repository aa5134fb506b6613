//! Variance components of a cell: the scatter within rounds, and between rounds, workers and layouts.
//!
//! A cell's value is a median over layouts of medians over workers of medians over rounds, with two windows per loop
//! and round. The components show which level limits the result. More rounds and workers narrow the first three; the
//! scatter between layouts belongs to the question and stays.
//!
//! All spreads are standard deviations of single values. They are estimated from medians of absolute differences, so a
//! few disturbed values do not determine them.

use super::location::{mad, median};

/// One worker's value for a cell at one layout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Number of the worker.
    pub worker: usize,
    /// The median over its rounds.
    pub value: f64,
    /// Half the absolute difference between the values from the first and from the second windows of a round: the
    /// median over rounds.
    pub half_difference: f64,
    /// Absolute difference between two successive rounds: the median over them; `None` with a single round.
    pub successive_difference: Option<f64>,
}

/// The level with the largest part of the estimate's variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Windows and rounds: the scatter over time within one process.
    Rounds,
    /// Processes at the same layout.
    Workers,
    /// Offsets of the loop.
    Layouts,
}

/// The scatter at each level: standard deviations in the unit of the values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Within a round: the scatter of its value that the difference between its windows shows.
    pub within_round: f64,
    /// Between the rounds of a worker at one layout, beyond what the windows explain; `None` where no worker made two.
    pub between_rounds: Option<f64>,
    /// Between workers at the same layout, beyond what rounds explain.
    pub between_workers: f64,
    /// Between layouts, beyond what workers explain; `None` with fewer than two.
    pub between_layouts: Option<f64>,
    /// The level that contributes most to the estimate's variance.
    pub largest: Source,
}

/// Median absolute difference of two independent normal values, in standard deviations: `0.6745 * sqrt(2)`.
const NORMAL_MEDIAN_DIFFERENCE: f64 = 0.953_873;
/// Median absolute value of a centred normal variable, in standard deviations: its quantile at 3/4.
const NORMAL_MEDIAN_ABS: f64 = 0.674_490;
/// Variance of the median of many normal values per variance of their mean: `pi / 2`.
const MEDIAN_TO_MEAN_VARIANCE: f64 = std::f64::consts::FRAC_PI_2;

/// Least distance of a mode from the median, in half differences between the windows of a round. Modes are at least six
/// standard deviations apart; in nine of ten rounds the half difference is within a quarter of that.
const MIN_MODE_HALF_DIFFERENCES: f64 = 4.0;

/// Least number of workers that measured half of the layouts or more. With fewer, workers with few layouts count too.
const MIN_WORKERS_WITH_HALF_OF_LAYOUTS: usize = 6;

/// The values to search for modes: those within `near` of the `median`, and those on which both windows of a round
/// agree. A worker in another mode is in it in both windows. Where the windows differ by a quarter of the value's
/// distance from the median or more, an interruption may have caused that distance.
pub fn mode_candidates(samples: &[Sample], median: f64, near: f64) -> Vec<f64> {
    let distance = |sample: &Sample| (sample.value - median).abs();
    let agrees = |sample: &&Sample| {
        distance(sample) <= near || sample.half_difference <= distance(sample) / MIN_MODE_HALF_DIFFERENCES
    };
    samples.iter().filter(agrees).map(|sample| sample.value).collect()
}

/// The deviation of each worker from the cell: the median over layouts of its difference from the layout's median over
/// workers. Workers with fewer than half of the layouts are left out where six or more have at least half.
pub fn worker_deviations(layouts: &[Vec<Sample>]) -> Vec<f64> {
    let centred = subtract_layout_medians(layouts);
    let mut workers: Vec<usize> = centred.iter().map(|(worker, _)| *worker).collect();
    workers.sort_unstable();
    workers.dedup();
    let deviation = |worker: &usize, min_layouts: usize| {
        let values: Vec<f64> = centred.iter().filter(|(w, _)| w == worker).map(|(_, value)| *value).collect();
        if values.len() < min_layouts { None } else { median(&values) }
    };
    let deviations =
        |min_layouts: usize| workers.iter().filter_map(|worker| deviation(worker, min_layouts)).collect::<Vec<f64>>();
    let found = deviations(layouts.len().div_ceil(2));
    if found.len() < MIN_WORKERS_WITH_HALF_OF_LAYOUTS { deviations(1) } else { found }
}

/// The variance components of a cell from its samples at each layout. `None` where no layout has two workers.
pub fn spread(layouts: &[Vec<Sample>]) -> Option<Spread> {
    let samples = || layouts.iter().flatten();
    let half_differences: Vec<f64> = samples().map(|sample| sample.half_difference.abs()).collect();
    let within_round = median(&half_differences)? / NORMAL_MEDIAN_ABS;
    let differences: Vec<f64> = samples().filter_map(|sample| sample.successive_difference).collect();
    let rounds_deviation = median(&differences).map(|difference| difference / NORMAL_MEDIAN_DIFFERENCE);
    // The scatter over time of one worker's value.
    let time_deviation = rounds_deviation.unwrap_or(0.0).max(within_round);

    let same_layout: Vec<f64> = subtract_layout_medians(layouts).into_iter().map(|(_, value)| value).collect();
    // The subtracted median reduces the variance by the factor (n - 1) / n.
    let workers = layouts.iter().map(Vec::len).max()? as f64;
    if workers < 2.0 {
        return None;
    }
    let value_deviation = median(&same_layout.iter().map(|value| value.abs()).collect::<Vec<_>>())? / NORMAL_MEDIAN_ABS
        * (workers / (workers - 1.0)).sqrt();
    let between_workers = remaining_deviation(value_deviation, time_deviation);

    let worker_deviation = mad(&worker_deviations(layouts)).unwrap_or(0.0);
    let layout_count = layouts.len() as f64;
    let median_variance = |n: f64| if n > 2.0 { MEDIAN_TO_MEAN_VARIANCE / n } else { 1.0 / n };
    // The effect that a worker has at all layouts in common; the remaining part differs from layout to layout.
    let common = remaining_deviation(worker_deviation, value_deviation * median_variance(layout_count).sqrt())
        .min(between_workers);
    let own = remaining_deviation(between_workers, common);

    let medians: Vec<f64> =
        layouts.iter().filter_map(|l| median(&l.iter().map(|sample| sample.value).collect::<Vec<_>>())).collect();
    let between_layouts = (medians.len() > 1)
        .then(|| remaining_deviation(standard_deviation(&medians), value_deviation * median_variance(workers).sqrt()));

    let parts = [
        (Source::Rounds, time_deviation.powi(2) / (workers * layout_count)),
        (Source::Workers, common.powi(2) / workers + own.powi(2) / (workers * layout_count)),
        (Source::Layouts, between_layouts.unwrap_or(0.0).powi(2) / layout_count),
    ];
    let largest = parts.into_iter().fold(parts[0], |largest, part| if part.1 > largest.1 { part } else { largest }).0;
    Some(Spread {
        within_round,
        between_rounds: rounds_deviation.map(|rounds_deviation| remaining_deviation(rounds_deviation, within_round)),
        between_workers,
        between_layouts,
        largest,
    })
}

/// The number of the worker and its value minus the median of the layout, for every sample.
fn subtract_layout_medians(layouts: &[Vec<Sample>]) -> Vec<(usize, f64)> {
    let centre_layout = |samples: &Vec<Sample>| {
        let median = median(&samples.iter().map(|sample| sample.value).collect::<Vec<_>>());
        let centre = move |sample: &Sample| median.map(|median| (sample.worker, sample.value - median));
        samples.iter().filter_map(centre).collect::<Vec<_>>()
    };
    layouts.iter().flat_map(centre_layout).collect()
}

/// The standard deviation that remains when an explained one is removed: `sqrt(max(0, all^2 - explained^2))`.
fn remaining_deviation(all: f64, explained: f64) -> f64 {
    (all.powi(2) - explained.powi(2)).max(0.0).sqrt()
}

/// The sample standard deviation of at least two values.
fn standard_deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples in which worker w at layout l has `value(w, l)`, without scatter over time.
    fn samples(workers: usize, layouts: usize, value: impl Fn(usize, usize) -> f64) -> Vec<Vec<Sample>> {
        let sample = |worker, layout| Sample {
            worker,
            value: value(worker, layout),
            half_difference: 0.0,
            successive_difference: Some(0.0),
        };
        (0..layouts).map(|layout| (0..workers).map(|worker| sample(worker, layout)).collect()).collect()
    }

    /// The value at `i` of `n` equally spaced values from -1 to 1.
    fn even(i: usize, n: usize) -> f64 {
        2.0 * i as f64 / (n - 1) as f64 - 1.0
    }

    #[test]
    fn an_effect_of_layouts_is_scatter_between_layouts() {
        let found = spread(&samples(12, 8, |_, layout| even(layout, 8))).unwrap();
        assert_eq!(found.largest, Source::Layouts);
        assert_eq!((found.within_round, found.between_rounds, found.between_workers), (0.0, Some(0.0), 0.0));
        assert!((found.between_layouts.unwrap() - 0.7).abs() < 0.05, "{found:?}");
    }

    #[test]
    fn an_effect_of_workers_is_scatter_between_workers() {
        let found = spread(&samples(13, 8, |worker, _| even(worker, 13))).unwrap();
        assert_eq!(found.largest, Source::Workers);
        assert_eq!(found.between_layouts, Some(0.0));
        assert!(found.between_workers > 0.5 && found.between_workers < 1.0, "{found:?}");
    }

    #[test]
    fn scatter_over_time_is_not_counted_as_scatter_between_workers() {
        let mut noisy = samples(12, 8, |worker, layout| 0.1 * even((worker * 5 + layout * 3) % 12, 12));
        for sample in noisy.iter_mut().flatten() {
            (sample.half_difference, sample.successive_difference) = (0.05, Some(0.12));
        }
        let found = spread(&noisy).unwrap();
        assert_eq!((found.largest, found.between_workers), (Source::Rounds, 0.0));
        assert!((found.within_round - 0.05 / 0.674).abs() < 1e-3, "{found:?}");
        assert!((found.between_rounds.unwrap() - 0.1016).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn a_value_that_an_interruption_moved_is_no_mode_candidate_and_one_in_a_mode_is() {
        let sample = |value, half_difference| Sample { worker: 0, value, half_difference, successive_difference: None };
        // At the median, whatever its windows; interrupted in one window; in another mode.
        let samples = [sample(1.0, 0.3), sample(1.5, 0.5), sample(0.5, 0.01)];
        assert_eq!(mode_candidates(&samples, 1.0, 0.1), [1.0, 0.5]);
    }

    #[test]
    fn a_level_that_was_not_repeated_has_no_spread() {
        let mut single = samples(4, 1, |worker, _| even(worker, 4));
        for sample in single.iter_mut().flatten() {
            sample.successive_difference = None;
        }
        let found = spread(&single).unwrap();
        assert_eq!((found.between_rounds, found.between_layouts), (None, None));
        assert_eq!(spread(&samples(1, 8, |_, layout| even(layout, 8))), None);
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_worker_with_half_of_the_layouts_counts_without_an_effect_of_the_missing_ones() {
        // The layouts differ widely; worker 0 measured only the first four.
        let mut uneven = samples(7, 8, |_, layout| 10.0 * layout as f64);
        uneven[4..].iter_mut().for_each(|layout| layout.retain(|sample| sample.worker != 0));
        assert_eq!(worker_deviations(&uneven), [0.0; 7]);
        uneven[3].retain(|sample| sample.worker != 0);
        assert_eq!(worker_deviations(&uneven).len(), 6);
    }

    #[test]
    fn workers_with_few_layouts_count_where_fewer_than_six_have_half_of_them() {
        let mut sparse = samples(8, 8, |_, layout| 10.0 * layout as f64);
        let first = |sample: &Sample| sample.worker < 3;
        sparse[1..].iter_mut().for_each(|layout| layout.retain(first));
        assert_eq!(worker_deviations(&sparse), [0.0; 8]);
    }
}
