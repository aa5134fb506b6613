//! The mean over workers whose rounds are each a draw of their own.
//!
//! A loop stands where it stands for the life of a worker, and its rounds say no more than one of them: there medians
//! serve (see [`bootstrap`](super::bootstrap)). Where every round draws anew what matters most, rounds scatter about
//! the truth as workers do, and a mean over all of them needs half as many as a median for the same width (the median
//! of normal values has pi / 2 times the variance of their mean, and its interval is that of ranks). What a mean cannot
//! bear is the round in which something came in between: so values in the tails are brought in to two deviations from
//! the middle of all (Huber, "Robust Estimation of a Location Parameter", 1964, winsorised as in Dixon and Tukey 1968).
//!
//! Workers may still have something in common with themselves, so the interval is over workers: of the mean in which
//! each counts as its rounds do, for rounds differ far more among each other than workers do, and workers need not have
//! equally many. What a worker's mean is off by, counted so, has the variance that is expected of it where nothing is
//! in common (Bell and McCaffrey, "Bias Reduction in Standard Errors for Linear Regression with Multi-Stage Samples",
//! 2002).

use super::Interval;
use super::location::{mad, median, quantile};
use super::student::t_quantile;

/// Values farther from the middle than so many deviations count as those at that distance.
const REACH: f64 = 2.0;
/// What comes in between is in fewer than so many of the rounds, on either side: no other value is brought in. Of a few
/// costs
/// [`mad`] is that of the most frequent one alone where more than half of the values have it.
const TAIL: f64 = 0.1;

/// Workers' rounds, brought in.
#[derive(Clone, Debug, Default)]
pub struct ClusterMean {
    /// Each worker's mean, and of how many values; of those that have one.
    means: Vec<(f64, f64)>,
    /// The share of values that lie within reach.
    within: f64,
    /// The variance of the values.
    variance: f64,
}

impl ClusterMean {
    /// Brings in the rounds of workers. What is not finite is left out.
    #[must_use]
    pub fn of(workers: &[Vec<f64>]) -> Self {
        let all: Vec<f64> = workers.iter().flatten().copied().filter(|value| value.is_finite()).collect();
        let Some((middle, deviation)) = median(&all).zip(mad(&all)) else { return ClusterMean::default() };
        let Some((low, high)) = quantile(&all, TAIL).zip(quantile(&all, 1.0 - TAIL)) else {
            return ClusterMean::default();
        };
        let (least, most) = ((middle - REACH * deviation).min(low), (middle + REACH * deviation).max(high));
        let worker = |values: &Vec<f64>| {
            let finite = values.iter().filter(|value| value.is_finite());
            let (count, sum) = finite.fold((0, 0.0), |(count, sum), value| (count + 1, sum + value.clamp(least, most)));
            (count > 0).then(|| (sum / f64::from(count), f64::from(count)))
        };
        let within = all.iter().filter(|value| (least..=most).contains(value)).count();
        let means: Vec<(f64, f64)> = workers.iter().filter_map(worker).collect();
        let count = all.len() as f64;
        let mean = means.iter().map(|(mean, values)| mean * values).sum::<f64>() / count;
        let variance = all.iter().map(|value| (value.clamp(least, most) - mean).powi(2)).sum::<f64>() / count;
        ClusterMean { means, within: within as f64 / count, variance }
    }

    /// What the variance of the mean would be were there one value.
    #[must_use]
    pub fn unit_variance(&self) -> f64 {
        self.variance / self.within.powi(2)
    }

    /// The mean with Student's interval over workers. `None` for fewer than two, or a confidence that is none.
    #[must_use]
    pub fn interval(&self, confidence: f64) -> Option<Interval> {
        if self.means.len() < 2 {
            return None;
        }
        let all = self.means.iter().map(|(_, count)| count).sum::<f64>();
        let shares = || self.means.iter().map(|(mean, count)| (mean, count / all));
        let estimate = shares().map(|(mean, share)| mean * share).sum::<f64>();
        let variance = shares().map(|(mean, share)| (share * (mean - estimate)).powi(2) / (1.0 - share)).sum::<f64>();
        // Of so many equal workers as would tell the variance as well, were all of a worker's rounds alike.
        let power = |exponent| shares().map(|(_, share)| share.powi(exponent)).sum::<f64>();
        let quantile = t_quantile(f64::midpoint(1.0, confidence), (power(2).powi(2) / power(4) - 1.0).max(1.0))?;
        // What is brought in follows the middle, which scatters by itself (Tukey and McLaughlin 1963, as for trimmed
        // means).
        let half = quantile * variance.sqrt() / self.within;
        half.is_finite().then_some(Interval { estimate, low: estimate - half, high: estimate + half })
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;
    use crate::stats::binomial::allowed;

    const TRUTH: f64 = 4.0;

    fn normal(rng: &mut Pcg64Mcg) -> f64 {
        (0..12).map(|_| rng.random_range(-0.5..0.5)).sum()
    }

    /// Rounds of `workers` that share something of size `common`, with an outlier either way in one of twenty; eight,
    /// and `later` in the second half of the workers.
    fn drawn(rng: &mut Pcg64Mcg, workers: usize, common: f64, later: usize) -> Vec<Vec<f64>> {
        let worker = |rng: &mut Pcg64Mcg, rounds: usize| {
            let shared = common * normal(rng);
            let round = |rng: &mut Pcg64Mcg| {
                let outlier = if rng.random_bool(0.05) { 20.0 } else { 1.0 };
                TRUTH + shared + outlier * normal(rng)
            };
            (0..rounds).map(|_| round(rng)).collect()
        };
        (0..workers).map(|number| worker(rng, if number < workers / 2 { 8 } else { later })).collect()
    }

    #[test]
    fn the_interval_holds_the_truth_as_often_as_it_says_with_outliers_and_with_what_workers_share() {
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        for common in [0.0, 0.5, 2.0] {
            for (workers, later) in [(4, 8), (20, 8), (20, 2), (20, 40), (60, 40)] {
                const TRIES: u32 = 2000;
                let misses = |rng: &mut Pcg64Mcg| {
                    let found = ClusterMean::of(&drawn(rng, workers, common, later)).interval(0.95).unwrap();
                    u32::from(found.low > TRUTH || found.high < TRUTH)
                };
                let missed: u32 = (0..TRIES).map(|_| misses(&mut rng)).sum();
                assert!(missed <= allowed(TRIES, 0.05, 1e-4), "{common} {workers} {later}: {missed} of {TRIES}");
                assert!(missed > TRIES / 50, "{common} {workers} {later}: needlessly wide, {missed} of {TRIES} missed");
            }
        }
    }

    #[test]
    fn the_interval_holds_the_truth_where_a_few_workers_have_most_of_the_rounds() {
        const TRIES: u32 = 500;
        let mut rng = Pcg64Mcg::seed_from_u64(5);
        let mut misses = 0;
        for _ in 0..TRIES {
            let mut workers = drawn(&mut rng, 200, 0.3, 8);
            workers.truncate(100);
            workers.extend(drawn(&mut rng, 40, 0.3, 400).drain(20..));
            let found = ClusterMean::of(&workers).interval(0.95).unwrap();
            misses += u32::from(found.low > TRUTH || found.high < TRUTH);
        }
        assert!(misses <= allowed(TRIES, 0.05, 1e-3), "{misses} of {TRIES}");
    }

    #[test]
    fn a_worker_with_more_rounds_counts_for_more() {
        let of = |later| {
            let mut rng = Pcg64Mcg::seed_from_u64(3);
            let mut width = || {
                let found = ClusterMean::of(&drawn(&mut rng, 40, 0.0, later)).interval(0.95).unwrap();
                found.high - found.low
            };
            (0..200).map(|_| width()).sum::<f64>()
        };
        // 960 rounds for 320: a width of 0.58. Were workers equal it would be that of 8 and 40 in turn: 0.77.
        let ratio = of(40) / of(8);
        assert!((0.52..0.66).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_burst_in_one_worker_moves_the_mean_by_no_more_than_its_share() {
        let mut rng = Pcg64Mcg::seed_from_u64(2);
        let mut workers = drawn(&mut rng, 20, 0.0, 8);
        let before = ClusterMean::of(&workers).interval(0.95).unwrap().estimate;
        workers[3] = vec![1e6; 8];
        let after = ClusterMean::of(&workers).interval(0.95).unwrap().estimate;
        assert!((after - before).abs() < 3.0 / 20.0, "{before} became {after}");
    }

    #[test]
    fn of_three_costs_the_mean_is_theirs_whether_or_not_half_of_the_rounds_have_the_middle_one() {
        let mut rng = Pcg64Mcg::seed_from_u64(4);
        for middle in [0.46, 0.49, 0.51, 0.54] {
            // Retpolines apart, this is `spinlock` behind the table: two functions lie well or badly within a line.
            let (low, high) = (0.87 - middle, 0.13);
            let round = |rng: &mut Pcg64Mcg| {
                let drawn: f64 = rng.random_range(0.0..1.0);
                let cost = if drawn < low {
                    64.0
                } else if drawn < low + middle {
                    71.0
                } else {
                    78.0
                };
                cost + 0.1 * normal(rng)
            };
            let workers: Vec<Vec<f64>> = (0..400).map(|_| (0..8).map(|_| round(&mut rng)).collect()).collect();
            let truth = 64.0 * low + 71.0 * middle + 78.0 * high;
            let found = ClusterMean::of(&workers).interval(0.999).unwrap();
            assert!(
                found.low < truth && truth < found.high && found.high - found.low < 0.8,
                "{middle}: {truth} {found:?}"
            );
        }
    }

    #[test]
    fn nothing_says_nothing() {
        for workers in [&[][..], &[Vec::new(), vec![f64::NAN]], &[vec![1.0, 2.0], Vec::new()]] {
            assert_eq!(ClusterMean::of(workers).interval(0.95), None, "{workers:?}");
        }
        let two = ClusterMean::of(&[vec![1.0], Vec::new(), vec![1.0, 3.0]]);
        assert!(two.interval(0.95).is_some());
        assert_eq!(two.interval(1.0), None);
    }
}
