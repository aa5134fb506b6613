//! Whether workers scatter about one middle or fall into groups.
//!
//! A cell can be bimodal between processes: 0.13 cycles in one, 0.68 in the next, stable within each, by chance of
//! placement. Its median is then no fact about the machine.
//!
//! Values are cut at the widest empty spaces between neighbours, two parts first. A cut stands if the space is wide
//! against the standard deviations of the parts on its two sides and each part holds enough workers to be no accident;
//! each part is then looked at in the same way. A lone worker far off from the others is a straggler and makes no mode.

use super::location::{median_of_sorted, sorted};

/// How wide the empty space between two modes has to be at least, in standard deviations of the wider of the two.
///
/// Standard deviations and not a robust spread, so that a long tail counts in full and does not end as a mode of its
/// own. Of samples of 20 normal or t3 values fewer than 1 in 500 have such a space.
const GAP_IN_DEVIATIONS: f64 = 6.0;

/// The same for few workers, whose deviations are themselves uncertain: this many divided by their number. It keeps 8
/// workers, where chance makes a space of 6 deviations in nearly 3 of 100 samples, below 1 in 100.
const GAP_IN_DEVIATIONS_OF_FEW: f64 = 72.0;

/// How far modes are apart at least, in steps of the resolution: more than the one step between neighbours on the grid
/// of a clock, whatever rounding adds to it, and less than two.
const GAP_IN_STEPS: f64 = 1.5;

/// The fewest workers among which modes are looked for: fewer come to lie in two tight heaps by chance.
const MIN_WORKERS: usize = 8;

/// A mode holds at least one in this many workers, and at least two.
const MIN_IN_MODE_ONE_IN: usize = 10;

/// A group of workers that agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mode {
    /// The median of the group, in the unit of the values.
    pub value: f64,
    /// Share of all workers in the group, above 0 and up to 1. Shares add up to less than 1 if there are stragglers
    /// that belong to no group.
    pub share: f64,
}

/// The modes of one value per worker, by share from the greatest (then by value).
///
/// One mode, the median of them all, is the normal case, and the only one with fewer than 8 workers. `resolution` is
/// the smallest difference that means anything, in the unit of the values: modes are further apart than one and a half
/// of it. No mode for no value, or if one is not finite.
pub fn modes(values: &[f64], resolution: f64) -> Vec<Mode> {
    let Some(sorted) = sorted(values) else {
        return Vec::new();
    };
    // Below some units in the last place a difference is rounding, however fine the clock.
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

/// Adds the groups into which `part` falls, or `part` itself if it holds together. `workers` is the number of them all.
fn divide<'a>(part: &'a [f64], workers: usize, resolution: f64, groups: &mut Vec<&'a [f64]>) {
    match cut(part, workers, resolution) {
        Some(parts) => parts.into_iter().for_each(|part| divide(part, workers, resolution, groups)),
        None => groups.push(part),
    }
}

/// The fewest groups (two at least) into which `part` can be cut soundly.
fn cut(part: &[f64], workers: usize, resolution: f64) -> Option<Vec<&[f64]>> {
    let n = part.len();
    if n < MIN_WORKERS {
        return None;
    }
    let fewest = workers.div_ceil(MIN_IN_MODE_ONE_IN).max(2);
    let stragglers = (n / MIN_IN_MODE_ONE_IN).max(1);
    let wide = GAP_IN_DEVIATIONS.max(GAP_IN_DEVIATIONS_OF_FEW / n as f64);
    let space = |i: usize| part[i] - part[i - 1];
    let mut widest_first: Vec<usize> = (1..n).collect();
    widest_first.sort_by(|&a, &b| space(b).total_cmp(&space(a)));
    // As many cuts as part the greatest number of groups, and two for every straggler.
    let most = (n / fewest + 2 * stragglers).min(n - 1);
    (1..=most).find_map(|cuts| {
        let mut bounds = vec![0, n];
        bounds.extend(&widest_first[..cuts]);
        bounds.sort_unstable();
        let groups: Vec<(usize, usize)> =
            bounds.windows(2).map(|ends| (ends[0], ends[1])).filter(|(start, end)| end - start >= fewest).collect();
        let held: usize = groups.iter().map(|(start, end)| end - start).sum();
        let apart = |pair: &[(usize, usize)]| {
            let ((start, end), (next_start, next_end)) = (pair[0], pair[1]);
            let widest = (end..=next_start).map(space).fold(0.0, f64::max);
            let spread = deviation(&part[start..end]).max(deviation(&part[next_start..next_end]));
            widest > GAP_IN_STEPS * resolution && widest > wide * spread
        };
        let sound = groups.len() >= 2 && n - held <= stragglers && groups.windows(2).all(apart);
        sound.then(|| groups.iter().map(|&(start, end)| &part[start..end]).collect())
    })
}

/// The standard deviation of at least two values.
fn deviation(group: &[f64]) -> f64 {
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

    fn with_shares(modes: &[Mode]) -> Vec<(f64, f64)> {
        let rounded = |x: f64| (x * 1000.0).round() / 1000.0;
        modes.iter().map(|m| (rounded(m.value), rounded(m.share))).collect()
    }

    #[test]
    fn workers_that_agree_are_one_mode_at_their_median() {
        assert_eq!(with_shares(&modes(&around(3.5, 20), 0.0)), [(3.5, 1.0)]);
        assert_eq!(with_shares(&modes(&[3.5; 20], 0.0)), [(3.5, 1.0)]);
    }

    #[test]
    fn two_groups_are_two_modes_the_greater_first() {
        let values = [around(0.13, 5), around(0.68, 15)].concat();
        assert_eq!(with_shares(&modes(&values, 0.001)), [(0.68, 0.75), (0.13, 0.25)]);
    }

    #[test]
    fn modes_within_a_mode_are_found_at_their_own_scale() {
        let values = [vec![0.13; 8], vec![0.15; 8], around(2.0, 4)].concat();
        assert_eq!(with_shares(&modes(&values, 0.001)), [(0.13, 0.4), (0.15, 0.4), (2.0, 0.2)]);
    }

    #[test]
    fn one_worker_far_off_is_no_mode() {
        let values = [around(3.738, 19), vec![7.66]].concat();
        assert_eq!(with_shares(&modes(&values, 0.001)), [(3.74, 1.0)]);
    }

    #[test]
    fn a_straggler_does_not_hide_two_modes_and_is_in_neither() {
        for straggler in [-3.0, 0.4, 7.66] {
            let values = [around(0.13, 10), vec![straggler], around(0.68, 9)].concat();
            assert_eq!(with_shares(&modes(&values, 0.001)), [(0.13, 0.5), (0.68, 0.45)]);
        }
    }

    #[test]
    fn two_of_forty_are_too_few_for_a_mode_and_four_are_not() {
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
    fn rounding_is_not_a_mode() {
        let values = [vec![0.3; 10], vec![0.1 + 0.2; 10]].concat();
        assert_eq!(modes(&values, 0.0).len(), 1);
    }

    #[test]
    fn few_workers_are_one_mode() {
        let values = [around(0.13, 4), around(0.68, 3)].concat();
        assert_eq!(with_shares(&modes(&values, 0.001)), [(0.136, 1.0)]);
    }

    #[test]
    fn there_is_no_mode_of_nothing() {
        assert_eq!(modes(&[], 0.0), []);
        assert_eq!(modes(&[1.0, f64::NAN], 0.0), []);
        assert_eq!(modes(&[1.0; 9], f64::NAN).len(), 1);
    }
}
