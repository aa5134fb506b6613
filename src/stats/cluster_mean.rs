//! The winsorised mean over rounds, with a cluster-robust interval over workers.
//!
//! # Why a mean
//!
//! A loop keeps its addresses for the life of a worker, so all its rounds share one placement. There the estimate is a
//! median over workers (see [`bootstrap`](super::bootstrap)). A workload draws new placements in every round, so its
//! rounds scatter about the truth as workers do. A mean over all rounds then needs half as many as a median for the
//! same width: the median of normal values has pi / 2 times the variance of their mean, and its interval rests on
//! ranks.
//!
//! # Winsorising
//!
//! A mean has no protection against disturbed rounds. Values in the tails are therefore clamped to two deviations from
//! the median of all rounds (Huber, "Robust Estimation of a Location Parameter", 1964; winsorised as in Dixon and Tukey
//! 1968).
//!
//! # The interval
//!
//! The rounds of one worker may share an effect, so workers are the clusters. With `n_i` rounds in worker i, its weight
//! is `w_i = n_i / sum(n)`: rounds differ far more from each other than workers do, and workers need not have equally
//! many. The mean is `m = sum(w_i m_i)` and its variance `sum((w_i (m_i - m))^2 / (1 - w_i))`. The divisor `1 - w_i`
//! removes the bias where rounds share nothing (Bell and McCaffrey, "Bias Reduction in Standard Errors for Linear
//! Regression with Multi-Stage Samples", 2002).

use super::Interval;
use super::location::{mad, median, quantile};
use super::measured::Measured;

/// Clamping distance from the median, in standard deviations estimated by [`mad`]. At 2 about 5% of normal values are
/// clamped, at half of it the 20% of [`MAX_CLAMPED_SHARE`], at twice the value hardly any.
const MAX_DEVIATIONS: f64 = 2.0;
/// Largest share of the values that is clamped on either side. If more than half of the values share one cost, [`mad`]
/// measures only the scatter around that cost; so the central 80% is never clamped. Disturbances reach fewer rounds
/// than this share. At half the value more of the disturbed rounds would count in full; at twice it a cost that a fifth
/// of the rounds have could be clamped.
const MAX_CLAMPED_SHARE: f64 = 0.1;

/// The winsorised rounds of all workers, reduced to one mean per worker.
#[derive(Clone, Debug, Default)]
pub struct ClusterMean {
    /// The winsorised mean and the number of values of each worker that has any.
    means: Vec<(f64, f64)>,
    /// The share of the values that were not clamped, above 0 and up to 1.
    unclamped_share: f64,
    /// The variance of the winsorised values.
    variance: f64,
}

impl ClusterMean {
    /// Winsorises the rounds of all workers. Values that are not finite are left out.
    #[must_use]
    pub fn from_workers(workers: &[Vec<f64>]) -> Self {
        let all: Vec<f64> = workers.iter().flatten().copied().filter(|value| value.is_finite()).collect();
        let Some((middle, deviation)) = median(&all).zip(mad(&all)) else { return ClusterMean::default() };
        let Some((low, high)) = quantile(&all, MAX_CLAMPED_SHARE).zip(quantile(&all, 1.0 - MAX_CLAMPED_SHARE)) else {
            return ClusterMean::default();
        };
        let reach = MAX_DEVIATIONS * deviation;
        let (least, most) = ((middle - reach).min(low), (middle + reach).max(high));
        let worker = |values: &Vec<f64>| {
            let finite = values.iter().filter(|value| value.is_finite());
            let (count, sum) = finite.fold((0, 0.0), |(count, sum), value| (count + 1, sum + value.clamp(least, most)));
            (count > 0).then(|| (sum / f64::from(count), f64::from(count)))
        };
        let unclamped = all.iter().filter(|value| (least..=most).contains(value)).count();
        let means: Vec<(f64, f64)> = workers.iter().filter_map(worker).collect();
        let count = all.len() as f64;
        let mean = means.iter().map(|(mean, values)| mean * values).sum::<f64>() / count;
        let variance = all.iter().map(|value| (value.clamp(least, most) - mean).powi(2)).sum::<f64>() / count;
        ClusterMean { means, unclamped_share: unclamped as f64 / count, variance }
    }

    /// The variance of the mean times the number of values: the winsorised variance over the squared unclamped share.
    #[must_use]
    pub fn unit_variance(&self) -> f64 {
        self.variance / self.unclamped_share.powi(2)
    }

    /// The mean with Student's interval over workers, in the unit of the values. `None` for fewer than two workers, or
    /// a confidence that is not strictly between 0 and 1.
    #[must_use]
    pub fn interval(&self, confidence: f64) -> Option<Interval> {
        self.measured()?.interval(confidence)
    }

    /// The mean with its standard error over workers. `None` for fewer than two workers.
    #[must_use]
    pub fn measured(&self) -> Option<Measured> {
        if self.means.len() < 2 {
            return None;
        }
        let all = self.means.iter().map(|(_, count)| count).sum::<f64>();
        let shares = || self.means.iter().map(|(mean, count)| (mean, count / all));
        let estimate = shares().map(|(mean, share)| mean * share).sum::<f64>();
        let variance = shares().map(|(mean, share)| (share * (mean - estimate)).powi(2) / (1.0 - share)).sum::<f64>();
        // Degrees of freedom `(sum w^2)^2 / sum w^4 - 1`: the number of equal workers that would give the variance as
        // precisely, if all rounds of a worker were alike.
        let power = |exponent| shares().map(|(_, share)| share.powi(exponent)).sum::<f64>();
        let degrees_of_freedom = (power(2).powi(2) / power(4) - 1.0).max(1.0);
        // Clamped values follow the median, which itself scatters; so the standard error is divided by the unclamped
        // share (Tukey and McLaughlin 1963, as for trimmed means).
        let standard_error = variance.sqrt() / self.unclamped_share;
        standard_error.is_finite().then_some(Measured { value: estimate, standard_error, degrees_of_freedom })
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

    /// Rounds of `workers` that share an effect of size `common`; one in twenty is an outlier on either side. The first
    /// half of the workers has eight rounds, the second half `later`.
    fn draw_rounds(rng: &mut Pcg64Mcg, workers: usize, common: f64, later: usize) -> Vec<Vec<f64>> {
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
    fn the_interval_covers_the_truth_at_its_confidence_with_outliers_and_effects_of_workers() {
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        for common in [0.0, 0.5, 2.0] {
            for (workers, later) in [(4, 8), (20, 8), (20, 2), (20, 40), (60, 40)] {
                const TRIES: u32 = 2000;
                let misses = |rng: &mut Pcg64Mcg| {
                    let found =
                        ClusterMean::from_workers(&draw_rounds(rng, workers, common, later)).interval(0.95).unwrap();
                    u32::from(found.low > TRUTH || found.high < TRUTH)
                };
                let missed: u32 = (0..TRIES).map(|_| misses(&mut rng)).sum();
                assert!(missed <= allowed(TRIES, 0.05, 1e-4), "{common} {workers} {later}: {missed} of {TRIES}");
                assert!(missed > TRIES / 50, "{common} {workers} {later}: needlessly wide, {missed} of {TRIES} missed");
            }
        }
    }

    #[test]
    fn the_interval_covers_the_truth_where_a_few_workers_have_most_of_the_rounds() {
        const TRIES: u32 = 500;
        let mut rng = Pcg64Mcg::seed_from_u64(5);
        let mut misses = 0;
        for _ in 0..TRIES {
            let mut workers = draw_rounds(&mut rng, 200, 0.3, 8);
            workers.truncate(100);
            workers.extend(draw_rounds(&mut rng, 40, 0.3, 400).drain(20..));
            let found = ClusterMean::from_workers(&workers).interval(0.95).unwrap();
            misses += u32::from(found.low > TRUTH || found.high < TRUTH);
        }
        assert!(misses <= allowed(TRIES, 0.05, 1e-3), "{misses} of {TRIES}");
    }

    #[test]
    fn a_worker_with_more_rounds_has_more_weight() {
        let total_width = |later| {
            let mut rng = Pcg64Mcg::seed_from_u64(3);
            let mut width = || {
                let found = ClusterMean::from_workers(&draw_rounds(&mut rng, 40, 0.0, later)).interval(0.95).unwrap();
                found.high - found.low
            };
            (0..200).map(|_| width()).sum::<f64>()
        };
        // 960 rounds instead of 320 give 0.58 of the width. With equal weights of workers it would be 0.77.
        let ratio = total_width(40) / total_width(8);
        assert!((0.52..0.66).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_burst_in_one_worker_moves_the_mean_by_at_most_its_weight() {
        let mut rng = Pcg64Mcg::seed_from_u64(2);
        let mut workers = draw_rounds(&mut rng, 20, 0.0, 8);
        let before = ClusterMean::from_workers(&workers).interval(0.95).unwrap().estimate;
        workers[3] = vec![1e6; 8];
        let after = ClusterMean::from_workers(&workers).interval(0.95).unwrap().estimate;
        assert!((after - before).abs() < 3.0 / 20.0, "{before} became {after}");
    }

    #[test]
    fn the_mean_of_three_costs_is_right_whether_or_not_half_of_the_rounds_have_the_middle_one() {
        let mut rng = Pcg64Mcg::seed_from_u64(4);
        for middle in [0.46, 0.49, 0.51, 0.54] {
            // The costs of `spinlock` behind the table without retpolines: each of two functions lies well or badly
            // within a cache line.
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
            let found = ClusterMean::from_workers(&workers).interval(0.999).unwrap();
            assert!(
                found.low < truth && truth < found.high && found.high - found.low < 0.8,
                "{middle}: {truth} {found:?}"
            );
        }
    }

    #[test]
    fn fewer_than_two_workers_with_values_have_no_interval() {
        for workers in [&[][..], &[Vec::new(), vec![f64::NAN]], &[vec![1.0, 2.0], Vec::new()]] {
            assert_eq!(ClusterMean::from_workers(workers).interval(0.95), None, "{workers:?}");
        }
        let two = ClusterMean::from_workers(&[vec![1.0], Vec::new(), vec![1.0, 3.0]]);
        assert!(two.interval(0.95).is_some());
        assert_eq!(two.interval(1.0), None);
    }
}
