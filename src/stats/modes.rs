//! Detection of modes: values that workers gather at, where they disagree.
//!
//! A cell can be bimodal between processes: 0.13 cycles in one, 0.68 in the next, stable within each, depending on
//! placement. The median of such a cell describes neither.
//!
//! The sorted values are divided at the widest gaps between neighbours, first into two parts. A division is accepted if
//! the gap is wide against the standard deviations on both sides and each part holds enough workers. Each
//! part is then divided in the same way. A single worker far from all others is an outlier and makes no mode.

use super::location::{median_of_sorted, sorted};

/// Least gap between two modes, in standard deviations of the wider mode. Fewer than 1 in 500 samples of 20 normal or
/// t3 values have such a gap. The spread is not a robust one, so that a long tail counts in full and makes no mode of
/// its own.
const MIN_GAP_DEVIATIONS: f64 = 6.0;

/// The same for few workers, whose standard deviations are themselves uncertain: this value divided by their number. Of
/// samples of 8 workers nearly 3 in 100 have a gap of 6 standard deviations by chance; the stricter bound of 9 keeps
/// false modes below 1 in 100.
const MIN_GAP_DEVIATIONS_TIMES_WORKERS: f64 = 72.0;

/// Least gap between two modes, in steps of the resolution. Neighbours on the grid of a clock are one step apart, plus
/// rounding, and must not be two modes; two steps may be.
const MIN_GAP_STEPS: f64 = 1.5;

/// Least number of workers that are searched for modes. Fewer can form two tight groups by chance.
const MIN_WORKERS: usize = 8;

/// A mode holds at least one in this many workers, and at least two. At most the same share of a part, or one worker,
/// may be outliers.
const WORKERS_PER_MODE_MEMBER: usize = 10;

/// A group of workers that agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mode {
    /// The median of the group, in the unit of the values.
    pub value: f64,
    /// Share of all workers in the group, above 0 and up to 1. Outliers belong to no group, so shares may add up to
    /// less than 1.
    pub share: f64,
}

/// The modes of one value per worker, in descending order of share, then in ascending order of value.
///
/// The normal case is one mode, the median of all values; with fewer than 8 workers it is the only case. `resolution`
/// is the smallest meaningful difference, in the unit of the values: modes are more than 1.5 times that apart. The list
/// is empty without values, or if one is not finite.
pub fn modes(values: &[f64], resolution: f64) -> Vec<Mode> {
    let Some(sorted) = sorted(values) else {
        return Vec::new();
    };
    // A difference of a few units in the last place is rounding, however fine the clock.
    let largest = sorted.iter().fold(0.0, |largest: f64, v| largest.max(v.abs()));
    let resolution = resolution.max(8.0 * f64::EPSILON * largest);
    let mut groups = Vec::new();
    divide(&sorted, sorted.len(), resolution, &mut groups);
    let mut modes: Vec<Mode> = groups
        .iter()
        .map(|group| Mode { value: median_of_sorted(group), share: group.len() as f64 / sorted.len() as f64 })
        .collect();
    modes.sort_by(|a, b| b.share.total_cmp(&a.share));
    modes
}

/// Adds the groups that `part` divides into, or `part` itself if it is one group. `workers` is the number of all
/// workers.
fn divide<'a>(part: &'a [f64], workers: usize, resolution: f64, groups: &mut Vec<&'a [f64]>) {
    match split(part, workers, resolution) {
        Some(parts) => parts.into_iter().for_each(|part| divide(part, workers, resolution, groups)),
        None => groups.push(part),
    }
}

/// The fewest groups, at least two, that `part` can be divided into; `None` if no division is accepted.
fn split(part: &[f64], workers: usize, resolution: f64) -> Option<Vec<&[f64]>> {
    let n = part.len();
    if n < MIN_WORKERS {
        return None;
    }
    let min_members = workers.div_ceil(WORKERS_PER_MODE_MEMBER).max(2);
    let max_outliers = (n / WORKERS_PER_MODE_MEMBER).max(1);
    let min_deviations = MIN_GAP_DEVIATIONS.max(MIN_GAP_DEVIATIONS_TIMES_WORKERS / n as f64);
    let gap = |i: usize| part[i] - part[i - 1];
    let mut widest_first: Vec<usize> = (1..n).collect();
    widest_first.sort_by(|&a, &b| gap(b).total_cmp(&gap(a)));
    // Enough cuts to separate the greatest number of groups, and two for every outlier.
    let max_cuts = (n / min_members + 2 * max_outliers).min(n - 1);
    (1..=max_cuts).find_map(|cuts| {
        let mut bounds = vec![0, n];
        bounds.extend(&widest_first[..cuts]);
        bounds.sort_unstable();
        let groups: Vec<(usize, usize)> = bounds
            .windows(2)
            .map(|ends| (ends[0], ends[1]))
            .filter(|(start, end)| end - start >= min_members)
            .collect();
        let members: usize = groups.iter().map(|(start, end)| end - start).sum();
        let are_separate = |pair: &[(usize, usize)]| {
            let ((start, end), (next_start, next_end)) = (pair[0], pair[1]);
            let widest = (end..=next_start).map(gap).fold(0.0, f64::max);
            let spread = standard_deviation(&part[start..end]).max(standard_deviation(&part[next_start..next_end]));
            widest > MIN_GAP_STEPS * resolution && widest > min_deviations * spread
        };
        let sound = groups.len() >= 2 && n - members <= max_outliers && groups.windows(2).all(are_separate);
        sound.then(|| groups.iter().map(|&(start, end)| &part[start..end]).collect())
    })
}

/// The sample standard deviation of at least two values.
fn standard_deviation(group: &[f64]) -> f64 {
    let n = group.len() as f64;
    let mean = group.iter().map(|v| v / n).sum::<f64>();
    (group.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(middle: f64, count: usize) -> Vec<f64> {
        (0..count).map(|i| middle + 0.004 * (i as f64 - (count as f64 - 1.0) / 2.0)).collect()
    }

    fn round_modes(modes: &[Mode]) -> Vec<(f64, f64)> {
        let rounded = |x: f64| (x * 1000.0).round() / 1000.0;
        modes.iter().map(|m| (rounded(m.value), rounded(m.share))).collect()
    }

    #[test]
    fn workers_that_agree_are_one_mode_at_their_median() {
        assert_eq!(round_modes(&modes(&around(3.5, 20), 0.0)), [(3.5, 1.0)]);
        assert_eq!(round_modes(&modes(&[3.5; 20], 0.0)), [(3.5, 1.0)]);
    }

    #[test]
    fn two_groups_are_two_modes_in_descending_order_of_share() {
        let values = [around(0.13, 5), around(0.68, 15)].concat();
        assert_eq!(round_modes(&modes(&values, 0.001)), [(0.68, 0.75), (0.13, 0.25)]);
    }

    #[test]
    fn modes_within_a_mode_are_found_at_their_own_scale() {
        let values = [vec![0.13; 8], vec![0.15; 8], around(2.0, 4)].concat();
        assert_eq!(round_modes(&modes(&values, 0.001)), [(0.13, 0.4), (0.15, 0.4), (2.0, 0.2)]);
    }

    #[test]
    fn a_single_outlier_makes_no_mode() {
        let values = [around(3.738, 19), vec![7.66]].concat();
        assert_eq!(round_modes(&modes(&values, 0.001)), [(3.74, 1.0)]);
    }

    #[test]
    fn an_outlier_does_not_hide_two_modes_and_belongs_to_neither() {
        for outlier in [-3.0, 0.4, 7.66] {
            let values = [around(0.13, 10), vec![outlier], around(0.68, 9)].concat();
            assert_eq!(round_modes(&modes(&values, 0.001)), [(0.13, 0.5), (0.68, 0.45)]);
        }
    }

    #[test]
    fn a_mode_holds_at_least_a_tenth_of_the_workers() {
        assert_eq!(modes(&[around(1.0, 38), around(9.0, 2)].concat(), 0.0).len(), 1);
        assert_eq!(modes(&[around(1.0, 36), around(9.0, 4)].concat(), 0.0).len(), 2);
    }

    #[test]
    fn neighbouring_steps_of_a_coarse_clock_are_not_two_modes() {
        let values = [vec![0.1; 10], vec![0.1 + 0.01; 10]].concat();
        assert_eq!(modes(&values, 0.01).len(), 1);
        assert_eq!(modes(&values, 0.001).len(), 2);
    }

    #[test]
    fn values_that_differ_by_rounding_are_one_mode() {
        let values = [vec![0.3; 10], vec![0.1 + 0.2; 10]].concat();
        assert_eq!(modes(&values, 0.0).len(), 1);
    }

    #[test]
    fn few_workers_are_one_mode() {
        let values = [around(0.13, 4), around(0.68, 3)].concat();
        assert_eq!(round_modes(&modes(&values, 0.001)), [(0.136, 1.0)]);
    }

    #[test]
    fn an_empty_list_or_a_value_that_is_not_finite_has_no_mode() {
        assert_eq!(modes(&[], 0.0), []);
        assert_eq!(modes(&[1.0, f64::NAN], 0.0), []);
        assert_eq!(modes(&[1.0; 9], f64::NAN).len(), 1);
    }
}
