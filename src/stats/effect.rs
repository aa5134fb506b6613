//! The overhead that one worker's blocks show: paired differences within blocks, and their median over blocks.

use super::location::{median, quantile};

/// Largest ratio between the two windows of an undisturbed loop in a block. Drift and the scatter of a window are about
/// 1%; a timer interrupt in a window of 100,000 cycles adds more than a twentieth.
pub const CLOSE: f64 = 1.05;

/// The same ratio for a loop that itself scatters, as it does after caches or predictors were emptied. A window in
/// which the process was stopped, or lost its CPU for a time slice, exceeds it.
pub const LOOSE: f64 = 1.5;

/// Reject a pair of windows that differs by more than this many times the lower-quartile pair difference of its loop.
/// The lower quartile of normal scatter is 0.32 standard deviations, so the bound rejects one normal pair in seven
/// thousand; half the bound rejects one in 18.
const MAX_LOWER_QUARTILES: f64 = 12.0;

/// Quantile of the pair differences that is taken as undisturbed. In a burst of interruptions a quarter of the pairs is
/// still undisturbed.
const UNDISTURBED_QUANTILE: f64 = 0.25;

/// Relative difference within which a pair always agrees, however small the lower quartile is. One interruption by the
/// hypervisor adds one part in fifty of a window, ten times this value.
const MIN_TOLERANCE: f64 = 0.002;

/// Clock steps by which the windows of a pair may differ: both ends of both windows can be one step off.
const CLOCK_STEPS_PER_PAIR: f64 = 4.0;

/// The factor within which the undisturbed windows of a loop agree: `1 + 12 * q`, where q is the lower quartile of the
/// relative pair differences. A steady loop was interrupted where two windows differ by a hundredth; a loop that
/// scatters from window to window keeps its wider pairs. The factor is at most [`LOOSE`], also without pairs.
///
/// The rule uses only differences between two windows of the same loop, never their lengths, so it favours neither of
/// two loops. `step` is one step of the clock as a share of a window.
pub fn pair_tolerance(pairs: impl IntoIterator<Item = [f64; 2]>, step: f64) -> f64 {
    let usable = pairs.into_iter().filter(|pair| pair.iter().all(|ticks| *ticks > 0.0 && ticks.is_finite()));
    let differences: Vec<f64> = usable.map(|[first, second]| first.max(second) / first.min(second) - 1.0).collect();
    let least = MIN_TOLERANCE.max(CLOCK_STEPS_PER_PAIR * step);
    quantile(&differences, UNDISTURBED_QUANTILE)
        .map_or(LOOSE, |quartile| 1.0 + (MAX_LOWER_QUARTILES * quartile).max(least).min(LOOSE - 1.0))
}

/// Largest ratio between the two calibrations of a block. Beyond it the frequency jumped in between, or a calibration
/// was interrupted, and the mean of both is the rate of neither window.
const MAX_CALIBRATION_RATIO: f64 = 1.1;

/// The value of a loop in a block: the mean of its two windows, in which a linear drift over the block cancels. `None`
/// where the two differ by more than the factor `within`: one was interrupted, and their mean is the value of neither.
pub fn pair_mean(pair: [f64; 2], within: f64) -> Option<f64> {
    agree(pair, within).then(|| f64::midpoint(pair[0], pair[1]))
}

/// Whether the machine kept its frequency through a block: the calibrations and the `inline` windows at its two ends
/// agree.
pub fn steady(ticks_per_cycle: [f64; 2], inline: [f64; 2]) -> bool {
    agree(ticks_per_cycle, MAX_CALIBRATION_RATIO) && agree(inline, LOOSE)
}

/// The two closest of three windows of a loop, in the order of time: `third` repeats a pair that did not agree.
pub fn closest([first, second]: [f64; 2], third: f64) -> [f64; 2] {
    if (first - third).abs() < (second - third).abs() { [first, third] } else { [second, third] }
}

/// Whether two windows of a loop agree within a factor.
pub fn agree([first, second]: [f64; 2], within: f64) -> bool {
    first > 0.0 && second > 0.0 && first.max(second) <= within * first.min(second)
}

/// A variant beside `inline` in one block: both were timed within milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired {
    /// Ticks per op of the variant: the mean of its two windows, or NaN where they disagreed.
    pub ticks: f64,
    /// Ticks per op of `inline`: the mean of its two windows.
    pub inline: f64,
    /// Ticks per core cycle, from the calibration chains of this block. The frequency changes within minutes, so each
    /// block needs a calibration of its own.
    pub ticks_per_cycle: f64,
}

/// The overhead of one variant at one layout, from one worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    /// Core cycles per op above `inline`: the median over blocks of the difference within the block.
    pub cycles: f64,
    /// Natural logarithm of the ratio to `inline` in time per op: the median over blocks. It needs no calibration.
    pub log_ratio: f64,
    /// Core cycles per op of `inline` itself: the median over the same blocks.
    pub inline_cycles: f64,
}

/// The median over blocks of the paired differences between a variant and `inline`, for one worker.
///
/// A block is left out where the variant, `inline` or the calibration is missing, zero, negative or not finite. `None`
/// if no block is left.
pub fn estimate_effect(blocks: &[Paired]) -> Option<Effect> {
    let effects: Vec<Effect> = blocks.iter().filter_map(block_effect).collect();
    let median_of = |part: fn(&Effect) -> f64| median(&effects.iter().map(part).collect::<Vec<f64>>());
    Some(Effect {
        cycles: median_of(|effect| effect.cycles)?,
        log_ratio: median_of(|effect| effect.log_ratio)?,
        inline_cycles: median_of(|effect| effect.inline_cycles)?,
    })
}

/// The paired difference within one block; `None` where a number is missing, zero, negative or not finite.
pub fn block_effect(block: &Paired) -> Option<Effect> {
    let Paired { ticks, inline, ticks_per_cycle } = *block;
    let usable = |x: f64| x.is_finite() && x > 0.0;
    if !(usable(ticks) && usable(inline) && usable(ticks_per_cycle)) {
        return None;
    }
    let effect = Effect {
        cycles: (ticks - inline) / ticks_per_cycle,
        log_ratio: ticks.ln() - inline.ln(),
        inline_cycles: inline / ticks_per_cycle,
    };
    // The quotient of two usable numbers may still overflow or underflow.
    (effect.cycles.is_finite() && usable(effect.inline_cycles)).then_some(effect)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(ticks: f64, inline: f64, ticks_per_cycle: f64) -> Paired {
        Paired { ticks, inline, ticks_per_cycle }
    }

    #[test]
    fn a_change_of_frequency_between_blocks_does_not_change_the_overhead() {
        // 2 and 6 cycles, at three frequencies.
        let effect = estimate_effect(&[0.5, 0.75, 0.9].map(|tpc| block(6.0 * tpc, 2.0 * tpc, tpc))).unwrap();
        assert!((effect.cycles - 4.0).abs() < 1e-12);
        assert!((effect.inline_cycles - 2.0).abs() < 1e-12);
        assert!((effect.log_ratio - 3.0f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn a_block_with_an_interrupt_does_not_move_the_median() {
        let mut blocks = vec![block(3.0, 1.0, 1.0); 4];
        blocks.push(block(3000.0, 1.0, 1.0));
        assert_eq!(estimate_effect(&blocks).unwrap().cycles, 2.0);
    }

    #[test]
    fn a_replicate_pair_outside_its_tolerance_has_no_mean() {
        assert_eq!(pair_mean([1.0, 1.4], LOOSE), Some(1.2));
        assert_eq!(pair_mean([1.4, 1.0], LOOSE), Some(1.2));
        assert_eq!(pair_mean([1.4, 1.0], CLOSE), None);
        for bad in [[1.0, 1.6], [1.6, 1.0], [1.0, 5000.0], [0.0, 0.0], [-1.0, 1.0], [f64::NAN, 1.0]] {
            assert_eq!(pair_mean(bad, LOOSE), None, "{bad:?}");
        }
    }

    #[test]
    fn the_pair_tolerance_follows_from_the_lower_quartile_of_the_pair_differences() {
        let pairs = |difference: f64, times: usize| vec![[1000.0, 1000.0 * (1.0 + difference)]; times];
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
        near(pair_tolerance(pairs(0.0, 9), 0.0), 1.002);
        near(pair_tolerance(pairs(0.0, 9), 0.01), 1.04);
        near(pair_tolerance([pairs(0.0005, 6), pairs(0.04, 14)].concat(), 0.0), 1.006);
        near(pair_tolerance(pairs(0.01, 9), 0.0), 1.12);
        near(pair_tolerance(pairs(0.2, 9), 0.0), LOOSE);
        near(pair_tolerance(pairs(0.0, 9), 1.0), LOOSE);
        near(pair_tolerance([], 0.0), LOOSE);
        near(
            pair_tolerance([vec![[0.0, 0.0], [f64::NAN, 1.0], [1.0, f64::INFINITY]], pairs(0.001, 1)].concat(), 0.0),
            1.012,
        );
    }

    #[test]
    fn the_two_closest_of_three_windows_are_kept() {
        assert_eq!(closest([1.0, 1.2], 1.01), [1.0, 1.01]);
        assert_eq!(closest([1.2, 1.0], 1.01), [1.0, 1.01]);
        assert_eq!(closest([1.0, 1.01], 9.0), [1.01, 9.0], "an interrupted third window disagrees with the second");
    }

    #[test]
    fn a_block_in_which_the_frequency_jumps_by_half_is_not_steady() {
        assert!(steady([0.6, 0.62], [2.0, 2.05]));
        assert!(!steady([0.6, 0.9], [2.0, 3.0]));
        assert!(!steady([0.9, 0.6], [3.0, 2.0]));
        // The process was stopped in a window of `inline`.
        assert!(!steady([0.6, 0.6], [2.0, 70_000.0]));
        assert!(!steady([0.6, f64::NAN], [2.0, 2.0]));
    }

    #[test]
    fn unusable_windows_are_left_out() {
        let good = block(5.0, 1.0, 1.0);
        for bad in [
            block(f64::NAN, 1.0, 1.0),
            block(0.0, 1.0, 1.0),
            block(-5.0, 1.0, 1.0),
            block(5.0, f64::INFINITY, 1.0),
            block(5.0, 0.0, 1.0),
            block(5.0, 1.0, 0.0),
            block(f64::MAX, 1.0, f64::MIN_POSITIVE),
            block(1e-200, 1e-200, 1e200),
        ] {
            assert_eq!(estimate_effect(&[bad]), None, "{bad:?}");
            assert_eq!(estimate_effect(&[bad, good]).unwrap().cycles, 4.0);
        }
        assert_eq!(estimate_effect(&[]), None);
    }

    #[test]
    fn inline_against_equal_windows_has_no_overhead() {
        let effect = estimate_effect(&[block(7.5, 7.5, 0.6)]).unwrap();
        assert_eq!((effect.cycles, effect.log_ratio), (0.0, 0.0));
    }
}
