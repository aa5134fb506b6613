//! From the rounds of one worker to its overhead.

use super::location::{median, quantile};

/// The two windows of a loop in a round agree within this factor where nothing came in between: drift and the scatter
/// of a window are a percent, a timer interrupt in 100,000 cycles is more than a twentieth.
pub const CLOSE: f64 = 1.05;

/// And within this one where the loop itself scatters, as it does when caches or predictors were emptied before. A
/// window in which the process was stopped, or lost its CPU for a slice, is longer than that.
pub const LOOSE: f64 = 1.5;

/// So many times as far apart as the closest quarter of them are at most, two windows are no longer twins: of normal
/// scatter one pair in seven thousand is (the quarter ends at 0.32 deviations).
const UNUSUAL: f64 = 12.0;

/// Pairs that show what nothing came in between of: in a burst of interruptions a quarter still are.
const CLOSEST: f64 = 0.25;

/// Windows that are closer than this part are twins, however much closer most are: one interruption by the hypervisor
/// adds a part in fifty of a window.
const ALIKE: f64 = 0.002;

/// Two readings of a clock can each be a step off at both of their ends.
const STEPS: f64 = 4.0;

/// The factor within which the windows of a loop agree where nothing came in between, by how the closest of them agree:
/// a loop that takes the same in every window is known to have been interrupted where two differ by a hundredth, while
/// one that scatters from window to window is no less real. [`LOOSE`] at most, which is also what no windows give.
///
/// It looks at what two windows of the same loop differ by and not at what they took, so that it favours none of two
/// loops. `step` is the part of a window that a step of the clock is.
pub fn pair_tolerance(twins: impl IntoIterator<Item = [f64; 2]>, step: f64) -> f64 {
    let apart = twins.into_iter().filter(|twins| twins.iter().all(|ticks| *ticks > 0.0 && ticks.is_finite()));
    let apart: Vec<f64> = apart.map(|[first, second]| first.max(second) / first.min(second) - 1.0).collect();
    let alike = ALIKE.max(STEPS * step);
    quantile(&apart, CLOSEST).map_or(LOOSE, |closest| 1.0 + (UNUSUAL * closest).max(alike).min(LOOSE - 1.0))
}

/// The two calibrations of a round agree within this factor, or the frequency jumped in between, or one was
/// interrupted: then the middle of the two is the rate of none of its windows.
const RATES_AGREE: f64 = 1.1;

/// What a loop took in a round: the mean of its two windows, in which a drift that is linear over the round cancels.
/// `None` where the two differ by more than the factor: one of them was interrupted, and the mean would be neither's.
pub fn pair_mean(twins: [f64; 2], within: f64) -> Option<f64> {
    agree(twins, within).then(|| f64::midpoint(twins[0], twins[1]))
}

/// Whether the machine kept its pace through a round, by the calibrations and the `inline` windows at its two ends.
pub fn steady(ticks_per_cycle: [f64; 2], inline: [f64; 2]) -> bool {
    agree(ticks_per_cycle, RATES_AGREE) && agree(inline, LOOSE)
}

/// Of two windows of a loop that were to agree and a third, the two that are closest to each other, in the order of
/// time.
pub fn closest([first, second]: [f64; 2], third: f64) -> [f64; 2] {
    if (first - third).abs() < (second - third).abs() { [first, third] } else { [second, third] }
}

/// Whether two windows of a loop agree within a factor.
pub fn agree([first, second]: [f64; 2], within: f64) -> bool {
    first > 0.0 && second > 0.0 && first.max(second) <= within * first.min(second)
}

/// One palindromic round of a group: every mechanism, `inline` and the calibration, measured within the same
/// milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// Ticks per op of each mechanism, in the order of the plan, averaged over its two windows in the round; not a
    /// number where they disagreed.
    pub ticks: Vec<f64>,
    /// Ticks per op of `inline`, averaged over its two windows.
    pub inline: f64,
    /// Ticks per core cycle, from the calibration chains of this round. The frequency moves within minutes, so a
    /// calibration from elsewhere does not serve.
    pub ticks_per_cycle: f64,
}

/// What one worker found for one mechanism at one layout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    /// Core cycles per op above `inline`: the median over rounds of the difference within the round.
    pub cycles: f64,
    /// The natural logarithm of the time per op over that of `inline`: the median over rounds. It needs no calibration.
    pub log_ratio: f64,
    /// Core cycles per op of `inline` itself: the median over the same rounds.
    pub inline_cycles: f64,
}

/// The overhead of the mechanism at index `mechanism` over `inline`, from the rounds of one worker.
///
/// A round in which the mechanism, `inline` or the calibration is missing, zero, negative or not finite is passed over.
/// `None` if no round is left.
pub fn differences(rounds: &[Round], mechanism: usize) -> Option<Effect> {
    let (mut cycles, mut log_ratios, mut inline_cycles) = (Vec::new(), Vec::new(), Vec::new());
    for round in rounds {
        let Some(one) = of_round(round, mechanism) else {
            continue;
        };
        cycles.push(one.cycles);
        log_ratios.push(one.log_ratio);
        inline_cycles.push(one.inline_cycles);
    }
    Some(Effect { cycles: median(&cycles)?, log_ratio: median(&log_ratios)?, inline_cycles: median(&inline_cycles)? })
}

fn of_round(round: &Round, mechanism: usize) -> Option<Effect> {
    let ticks = *round.ticks.get(mechanism)?;
    let usable = |x: f64| x.is_finite() && x > 0.0;
    if !(usable(ticks) && usable(round.inline) && usable(round.ticks_per_cycle)) {
        return None;
    }
    let effect = Effect {
        cycles: (ticks - round.inline) / round.ticks_per_cycle,
        log_ratio: ticks.ln() - round.inline.ln(),
        inline_cycles: round.inline / round.ticks_per_cycle,
    };
    // The quotient of two usable numbers may still overflow, or vanish.
    (effect.cycles.is_finite() && usable(effect.inline_cycles)).then_some(effect)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(ticks: &[f64], inline: f64, ticks_per_cycle: f64) -> Round {
        Round { ticks: ticks.to_vec(), inline, ticks_per_cycle }
    }

    #[test]
    fn a_change_of_frequency_between_rounds_leaves_the_overhead_alone() {
        // 2 and 6 cycles, at three frequencies.
        let rounds: Vec<Round> = [0.5, 0.75, 0.9].map(|tpc| round(&[6.0 * tpc], 2.0 * tpc, tpc)).to_vec();
        let effect = differences(&rounds, 0).unwrap();
        assert!((effect.cycles - 4.0).abs() < 1e-12);
        assert!((effect.inline_cycles - 2.0).abs() < 1e-12);
        assert!((effect.log_ratio - 3.0f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn a_round_with_an_interrupt_in_it_does_not_count_for_more() {
        let mut rounds = vec![round(&[3.0], 1.0, 1.0); 4];
        rounds.push(round(&[3000.0], 1.0, 1.0));
        assert_eq!(differences(&rounds, 0).unwrap().cycles, 2.0);
    }

    #[test]
    fn twins_that_differ_by_more_than_they_may_are_no_value() {
        assert_eq!(pair_mean([1.0, 1.4], LOOSE), Some(1.2));
        assert_eq!(pair_mean([1.4, 1.0], LOOSE), Some(1.2));
        assert_eq!(pair_mean([1.4, 1.0], CLOSE), None);
        for bad in [[1.0, 1.6], [1.6, 1.0], [1.0, 5000.0], [0.0, 0.0], [-1.0, 1.0], [f64::NAN, 1.0]] {
            assert_eq!(pair_mean(bad, LOOSE), None, "{bad:?}");
        }
    }

    #[test]
    fn what_twins_may_differ_by_follows_from_what_the_closest_differ_by() {
        let apart = |part: f64, times: usize| vec![[1000.0, 1000.0 * (1.0 + part)]; times];
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
        near(pair_tolerance(apart(0.0, 9), 0.0), 1.002);
        near(pair_tolerance(apart(0.0, 9), 0.01), 1.04);
        near(pair_tolerance([apart(0.0005, 6), apart(0.04, 14)].concat(), 0.0), 1.006);
        near(pair_tolerance(apart(0.01, 9), 0.0), 1.12);
        near(pair_tolerance(apart(0.2, 9), 0.0), LOOSE);
        near(pair_tolerance(apart(0.0, 9), 1.0), LOOSE);
        near(pair_tolerance([], 0.0), LOOSE);
        near(
            pair_tolerance([vec![[0.0, 0.0], [f64::NAN, 1.0], [1.0, f64::INFINITY]], apart(0.001, 1)].concat(), 0.0),
            1.012,
        );
    }

    #[test]
    fn of_three_windows_the_two_closest_are_kept() {
        assert_eq!(closest([1.0, 1.2], 1.01), [1.0, 1.01]);
        assert_eq!(closest([1.2, 1.0], 1.01), [1.0, 1.01]);
        assert_eq!(closest([1.0, 1.01], 9.0), [1.01, 9.0], "the third may be the interrupted one: then they disagree");
    }

    #[test]
    fn a_round_in_which_the_frequency_jumps_by_half_is_not_steady() {
        assert!(steady([0.6, 0.62], [2.0, 2.05]));
        assert!(!steady([0.6, 0.9], [2.0, 3.0]));
        assert!(!steady([0.9, 0.6], [3.0, 2.0]));
        // Stopped in the middle of `inline`'s window.
        assert!(!steady([0.6, 0.6], [2.0, 70_000.0]));
        assert!(!steady([0.6, f64::NAN], [2.0, 2.0]));
    }

    #[test]
    fn unusable_windows_are_passed_over() {
        let good = round(&[2.0, 5.0], 1.0, 1.0);
        for bad in [
            round(&[2.0, f64::NAN], 1.0, 1.0),
            round(&[2.0, 0.0], 1.0, 1.0),
            round(&[2.0, -5.0], 1.0, 1.0),
            round(&[2.0, 5.0], f64::INFINITY, 1.0),
            round(&[2.0, 5.0], 0.0, 1.0),
            round(&[2.0, 5.0], 1.0, 0.0),
            round(&[2.0, f64::MAX], 1.0, f64::MIN_POSITIVE),
            round(&[2.0, 1e-200], 1e-200, 1e200),
            round(&[2.0], 1.0, 1.0),
        ] {
            assert_eq!(differences(std::slice::from_ref(&bad), 1), None, "{bad:?}");
            assert_eq!(differences(&[bad, good.clone()], 1).unwrap().cycles, 4.0);
        }
        assert_eq!(differences(&[], 0), None);
    }

    #[test]
    fn the_same_thing_twice_has_no_overhead() {
        let effect = differences(&[round(&[7.5], 7.5, 0.6)], 0).unwrap();
        assert_eq!((effect.cycles, effect.log_ratio), (0.0, 0.0));
    }
}
