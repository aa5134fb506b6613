//! Variance components of a cell: the scatter within blocks, and between blocks, workers and layouts.
//!
//! A cell's value is a median over layouts of medians over workers of medians over blocks, with two windows per loop
//! and block. The components show which level limits the result. More blocks and workers narrow the first three; the
//! scatter between layouts belongs to the question and stays.
//!
//! All spreads are standard deviations of single values. They are estimated from medians of absolute differences, so a
//! few disturbed values do not determine them.

use serde::{Deserialize, Serialize};

use super::layout_median::worker_deviations;
use super::location::{mad, median};

/// One worker's value for a cell at one layout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Number of the worker.
    pub worker: usize,
    /// The median over its blocks.
    pub value: f64,
    /// Half the absolute difference between the values from the first and from the second windows of a block: the
    /// median over blocks.
    pub half_difference: f64,
    /// Absolute difference between two successive blocks: the median over them; `None` with a single block.
    pub successive_difference: Option<f64>,
}

/// Scatter of an overhead at four levels: standard deviations of single values in core cycles. Each level excludes
/// what the levels before it explain.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Within a block, from the difference of its windows.
    pub within_round: f64,
    /// Between blocks of one worker at one layout; absent if no worker measured two blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between_rounds: Option<f64>,
    /// Between workers at the same layout.
    pub between_workers: f64,
    /// Between layouts; absent with fewer than two layouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between_layouts: Option<f64>,
    /// The level that adds most to the scatter of a repeated run, with the run's number of blocks, workers and layouts.
    pub largest: SpreadSource,
}

/// A level at which values scatter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SpreadSource {
    /// Windows and blocks. Four times the blocks halve the width of the interval.
    Rounds,
    /// Worker processes. Four times the workers halve the width of the interval.
    Workers,
    /// Layouts. More time changes nothing: the overhead depends on the address of the code.
    Layouts,
}

/// Median absolute difference of two independent normal values, in standard deviations: `0.6745 * sqrt(2)`.
const NORMAL_MEDIAN_DIFFERENCE: f64 = 0.953_873;
/// Median absolute value of a centred normal variable, in standard deviations: its quantile at 3/4.
const NORMAL_MEDIAN_ABS: f64 = 0.674_490;
/// Variance of the median of many normal values per variance of their mean: `pi / 2`.
const MEDIAN_TO_MEAN_VARIANCE: f64 = std::f64::consts::FRAC_PI_2;

/// Least distance of a mode from the median, in half differences between the windows of a block. Modes are at least six
/// standard deviations apart; in nine of ten blocks the half difference is within a quarter of that.
const MIN_MODE_HALF_DIFFERENCES: f64 = 4.0;

/// The values to search for modes: those within `near` of the `median`, and those on which both windows of a block
/// agree. A worker in another mode is in it in both windows. Where the windows differ by a quarter of the value's
/// distance from the median or more, an interruption may have caused that distance.
pub fn mode_candidates(samples: &[Sample], median: f64, near: f64) -> Vec<f64> {
    let distance = |sample: &Sample| (sample.value - median).abs();
    let agrees = |sample: &&Sample| {
        distance(sample) <= near || sample.half_difference <= distance(sample) / MIN_MODE_HALF_DIFFERENCES
    };
    samples.iter().filter(agrees).map(|sample| sample.value).collect()
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

    let same_layout = subtract_layout_medians(layouts);
    // The subtracted median reduces the variance by the factor (n - 1) / n.
    let workers = layouts.iter().map(Vec::len).max()? as f64;
    if workers < 2.0 {
        return None;
    }
    let value_deviation = median(&same_layout.iter().map(|value| value.abs()).collect::<Vec<_>>())? / NORMAL_MEDIAN_ABS
        * (workers / (workers - 1.0)).sqrt();
    let between_workers = remaining_deviation(value_deviation, time_deviation);

    let values = |samples: &Vec<Sample>| samples.iter().map(|sample| (sample.worker, sample.value)).collect();
    let deviations = worker_deviations(&layouts.iter().map(values).collect::<Vec<_>>());
    let worker_deviation = mad(&deviations.iter().map(|(_, value)| *value).collect::<Vec<_>>()).unwrap_or(0.0);
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
        (SpreadSource::Rounds, time_deviation.powi(2) / (workers * layout_count)),
        (SpreadSource::Workers, common.powi(2) / workers + own.powi(2) / (workers * layout_count)),
        (SpreadSource::Layouts, between_layouts.unwrap_or(0.0).powi(2) / layout_count),
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

/// The values minus the median of their layout, of all samples.
fn subtract_layout_medians(layouts: &[Vec<Sample>]) -> Vec<f64> {
    let centre_layout = |samples: &Vec<Sample>| {
        let median = median(&samples.iter().map(|sample| sample.value).collect::<Vec<_>>());
        let centre = move |sample: &Sample| median.map(|median| sample.value - median);
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
        assert_eq!(found.largest, SpreadSource::Layouts);
        assert_eq!((found.within_round, found.between_rounds, found.between_workers), (0.0, Some(0.0), 0.0));
        assert!((found.between_layouts.unwrap() - 0.7).abs() < 0.05, "{found:?}");
    }

    #[test]
    fn an_effect_of_workers_is_scatter_between_workers() {
        let found = spread(&samples(13, 8, |worker, _| even(worker, 13))).unwrap();
        assert_eq!(found.largest, SpreadSource::Workers);
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
        assert_eq!((found.largest, found.between_workers), (SpreadSource::Rounds, 0.0));
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
}
