//! Evidence for a verdict, and the outcome that follows from it.

use super::verdict::Outcome;
use crate::stats::Interval;
use crate::stats::multiplicity::confidence_for;

/// Largest probability that chance alone makes any verdict of a gate fail, whatever the number of verdicts.
pub(crate) const ERROR: f64 = 0.001;

/// The confidence of a single interval at which all `judgements` hold together with probability 1 - `ERROR` (Sidak).
///
/// An interval of a report is a 95% interval of one cell: of a thousand of them fifty miss, and a gate on them would
/// raise false alarms. With few workers the tails of Student's t are long, so intervals of twenty workers are half as
/// wide as those of six.
#[must_use]
pub fn confidence(judgements: usize) -> f64 {
    confidence_for(judgements, ERROR)
}

/// Everything that a verdict depends on, in the unit of its bound.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Evidence {
    /// The estimate with its interval, at the confidence at which all verdicts hold together.
    pub interval: Interval,
    /// The modes, if workers disagree.
    pub modes: Vec<f64>,
    /// The value at each layout.
    pub layouts: Vec<f64>,
    /// The largest minus the smallest of these values.
    pub layout_range: f64,
    /// The floor: nothing below it is a difference.
    pub floor: f64,
}

impl Evidence {
    /// Makes evidence of an exact count.
    #[must_use]
    pub fn counted(value: f64) -> Self {
        let interval = Interval { estimate: value, low: value, high: value };
        Evidence { interval, modes: Vec::new(), layouts: Vec::new(), layout_range: 0.0, floor: 0.0 }
    }

    /// Decides the outcome for a bound. With `both_ways` a value below the negative bound is an improvement.
    ///
    /// The outcome is a pass if the interval and every mode are at or below the bound. It is a failure if the interval,
    /// every mode and every layout are above the bound, the estimate by more than the floor, and if the interval lies
    /// above the floor and the layout range is smaller than the value. Anything else is inconclusive.
    #[must_use]
    pub fn against(&self, bound: f64, both_ways: bool) -> (Outcome, Option<String>) {
        let Interval { estimate, low, high } = self.interval;
        let open = |reason: String| (Outcome::Inconclusive, Some(reason));
        if high <= bound {
            if let Some(mode) = self.modes.iter().find(|mode| **mode > bound) {
                return open(format!("workers fall into modes, one of them at {mode:.4}"));
            }
            let improved = both_ways
                && high < -bound.max(self.floor)
                && estimate.abs() - bound > self.floor
                && estimate.abs() > self.layout_range
                && self.modes.iter().chain(&self.layouts).all(|value| *value < -bound);
            return (if improved { Outcome::Improved } else { Outcome::Pass }, None);
        }
        if low <= bound {
            return open("the interval reaches over the bound".to_owned());
        }
        if let Some(mode) = self.modes.iter().find(|mode| **mode <= bound) {
            return open(format!("workers fall into modes, one of them at {mode:.4}"));
        }
        if estimate - bound <= self.floor {
            return open(format!("above the bound by no more than the floor of {:.4}", self.floor));
        }
        if low <= self.floor {
            return open(format!("the interval reaches into the floor of {:.4}", self.floor));
        }
        if estimate.abs() <= self.layout_range {
            return open(format!("the layout range of {:.4} is not smaller than the value", self.layout_range));
        }
        if let Some(layout) = self.layouts.iter().find(|layout| **layout <= bound) {
            return open(format!("at one layout it is {layout:.4}, within the bound"));
        }
        (Outcome::Fail, None)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;
    use crate::stats::worker_median::WorkerMedian;

    fn around(estimate: f64, half: f64) -> Evidence {
        Evidence {
            interval: Interval { estimate, low: estimate - half, high: estimate + half },
            ..Evidence::counted(0.0)
        }
    }

    fn outcome(evidence: &Evidence, bound: f64) -> Outcome {
        evidence.against(bound, false).0
    }

    #[test]
    fn an_interval_below_the_bound_passes_one_above_fails_and_one_across_is_inconclusive() {
        assert_eq!(outcome(&around(0.2, 0.04), 0.25), Outcome::Pass);
        assert_eq!(outcome(&around(0.3, 0.04), 0.25), Outcome::Fail);
        for straddling in [around(0.24, 0.04), around(0.26, 0.04), around(0.25, 0.0001)] {
            let (outcome, reason) = straddling.against(0.25, false);
            assert_eq!(outcome, Outcome::Inconclusive);
            assert!(reason.unwrap().contains("over the bound"));
        }
    }

    #[test]
    fn modes_on_both_sides_of_the_bound_are_inconclusive() {
        let fast = Evidence { modes: vec![0.1, 0.68], ..around(0.15, 0.05) };
        assert_eq!(outcome(&fast, 0.25), Outcome::Inconclusive);
        let slow = Evidence { modes: vec![0.1, 0.68], ..around(0.6, 0.05) };
        assert_eq!(outcome(&slow, 0.25), Outcome::Inconclusive);
        assert_eq!(outcome(&slow, 0.05), Outcome::Fail, "both are above");
        assert_eq!(outcome(&fast, 0.7), Outcome::Pass, "both are below");
    }

    #[test]
    fn an_excess_within_floor_or_layout_range_does_not_fail() {
        assert_eq!(outcome(&Evidence { floor: 0.06, ..around(0.3, 0.01) }, 0.25), Outcome::Inconclusive);
        assert_eq!(outcome(&Evidence { floor: 0.04, ..around(0.3, 0.01) }, 0.25), Outcome::Fail);
        assert_eq!(outcome(&Evidence { layout_range: 0.31, ..around(0.3, 0.01) }, 0.25), Outcome::Inconclusive);
        let moved = Evidence { layouts: vec![0.2, 0.3, 0.4], layout_range: 0.2, ..around(0.3, 0.01) };
        assert_eq!(outcome(&moved, 0.25), Outcome::Inconclusive);
        assert_eq!(outcome(&moved, 0.19), Outcome::Fail);
    }

    #[test]
    fn an_improvement_meets_the_same_conditions_as_a_regression() {
        let better = around(-0.3, 0.04);
        assert_eq!(better.against(0.25, true).0, Outcome::Improved);
        assert_eq!(better.against(0.25, false).0, Outcome::Pass);
        assert_eq!(around(-0.27, 0.04).against(0.25, true).0, Outcome::Pass, "the interval reaches over");
        assert_eq!(Evidence { floor: 0.06, ..better.clone() }.against(0.25, true).0, Outcome::Pass);
        assert_eq!(Evidence { modes: vec![-0.3, 0.0], ..better }.against(0.25, true).0, Outcome::Pass);
    }

    #[test]
    fn a_count_may_equal_its_bound() {
        assert_eq!(outcome(&Evidence::counted(1.0), 1.0), Outcome::Pass);
        assert_eq!(outcome(&Evidence::counted(2.0), 1.0), Outcome::Fail);
        assert_eq!(Evidence::counted(-1.0).against(0.0, true).0, Outcome::Improved);
        assert_eq!(Evidence::counted(0.0).against(0.0, true).0, Outcome::Pass);
    }

    #[test]
    fn more_verdicts_and_fewer_workers_widen_the_intervals() {
        let width = |judgements, workers: usize| {
            let values: Vec<f64> = (0..workers).map(|worker| worker as f64 / workers as f64).collect();
            let measured = WorkerMedian::from_values(&values).unwrap().measured();
            let scaled = measured.scaled(0.1 / measured.standard_error);
            scaled.interval(confidence(judgements)).unwrap().width()
        };
        assert!(width(1000, 20) > width(1, 20) && width(1000, 6) > width(1000, 20));
        assert_eq!(confidence(1), 0.999);
    }

    #[test]
    fn at_most_a_few_in_a_thousand_families_of_intervals_have_one_that_misses() {
        // Forty cells of eight workers each; values are normal around 0 (sums of twelve uniform numbers).
        let mut rng = Pcg64Mcg::seed_from_u64(17);
        let (cells, families) = (40, 1500);
        let mut wrong = 0;
        for _ in 0..families {
            let misses = (0..cells).any(|_| {
                let mut normal = || (0..12).map(|_| rng.random_range(0.0..1.0)).sum::<f64>() - 6.0;
                let values: Vec<f64> = (0..8).map(|_| normal()).collect();
                let measured = WorkerMedian::from_values(&values).unwrap().measured();
                !measured.interval(confidence(cells)).unwrap().contains(0.0)
            });
            wrong += usize::from(misses);
        }
        assert!(wrong <= 6, "{wrong} of {families}");
    }
}
