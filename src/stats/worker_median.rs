//! The median over workers, with its standard error from the clamped scatter of the workers.
//!
//! A worker can be disturbed, or have another placement than all others, and is then off by any amount. The median
//! ignores it. The scatter ignores it as well: with six workers or more, a sixth of them is clamped at each end
//! (winsorised), and the variance of the rest is scaled to that of normal values.

use super::location::{median_of_sorted, sorted};
use super::measured::Measured;

/// Least number of workers of which the outermost are clamped. The variance of fewer comes from all of them.
const MIN_WORKERS_TO_CLAMP: usize = 6;

/// Winsorised variance per variance of normal values, and degrees of freedom of the winsorised variance, for 6 to 24
/// workers. They come from 150,000 simulated samples of each size.
const WINSORISED: [(f64, f64); 19] = [
    (0.449, 2.5),
    (0.525, 3.4),
    (0.583, 4.3),
    (0.624, 5.3),
    (0.664, 6.3),
    (0.691, 7.2),
    (0.475, 5.8),
    (0.511, 6.8),
    (0.543, 7.6),
    (0.571, 8.6),
    (0.595, 9.6),
    (0.618, 10.5),
    (0.483, 9.0),
    (0.507, 9.9),
    (0.529, 11.0),
    (0.548, 11.9),
    (0.566, 12.8),
    (0.585, 13.8),
    (0.485, 12.4),
];

/// The median over workers, and the scatter of single workers about it.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerMedian {
    /// The median.
    pub value: f64,
    /// Number of workers.
    pub workers: usize,
    /// Variance of a single worker's value, from the clamped values.
    pub variance: f64,
    /// Degrees of freedom of the variance.
    pub degrees_of_freedom: f64,
    /// The clamped values minus their mean, in the order of the workers.
    pub deviations: Vec<f64>,
}

impl WorkerMedian {
    /// The median of one value per worker. `None` for fewer than two, or if a value is not finite.
    #[must_use]
    pub fn from_values(values: &[f64]) -> Option<Self> {
        let sorted = sorted(values).filter(|sorted| sorted.len() > 1)?;
        let workers = sorted.len();
        let clamped = clamped_workers(workers);
        let (least, greatest) = (sorted[clamped], sorted[workers - 1 - clamped]);
        let values: Vec<f64> = values.iter().map(|value| value.clamp(least, greatest)).collect();
        let mean = values.iter().sum::<f64>() / workers as f64;
        let deviations: Vec<f64> = values.iter().map(|value| value - mean).collect();
        let (share, degrees_of_freedom) = winsorised(workers);
        let squares = deviations.iter().map(|deviation| deviation.powi(2)).sum::<f64>();
        let variance = squares / (workers - 1) as f64 / share;
        let value = median_of_sorted(&sorted);
        variance.is_finite().then_some(WorkerMedian { value, workers, variance, degrees_of_freedom, deviations })
    }

    /// The median with its standard error from the scatter of these workers alone.
    #[must_use]
    pub fn measured(&self) -> Measured {
        let standard_error = (self.variance * self.median_variance()).sqrt();
        Measured { value: self.value, standard_error, degrees_of_freedom: self.degrees_of_freedom }
    }

    /// Variance of the median per variance of a single worker, for normal values.
    #[must_use]
    pub fn median_variance(&self) -> f64 {
        let workers = self.workers as f64;
        let per_mean = match self.workers {
            0..=2 => 1.0,
            odd if odd % 2 == 1 => std::f64::consts::FRAC_PI_2 * workers / (workers + 0.571),
            _ => std::f64::consts::FRAC_PI_2 * workers / (workers + 1.3),
        };
        per_mean / workers
    }
}

/// Number of workers that are clamped at each end: a sixth, and none of fewer than [`MIN_WORKERS_TO_CLAMP`].
fn clamped_workers(workers: usize) -> usize {
    if workers < MIN_WORKERS_TO_CLAMP { 0 } else { workers / 6 }
}

/// Winsorised variance per variance of normal values, and its degrees of freedom.
fn winsorised(workers: usize) -> (f64, f64) {
    match workers.checked_sub(MIN_WORKERS_TO_CLAMP) {
        None => (1.0, workers as f64 - 1.0),
        Some(index) => WINSORISED.get(index).copied().unwrap_or((0.5, workers as f64 / 2.0)),
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    #[test]
    fn the_scatter_of_six_workers_ignores_one_that_was_disturbed() {
        let near = WorkerMedian::from_values(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let far = WorkerMedian::from_values(&[1.0, 2.0, 3.0, 4.0, 5.0, 1e9]).unwrap();
        assert_eq!((near.value, near.variance), (3.5, far.variance));
        // Clamped to 2 and 5 the sum of squares is 4 * 1.5^2 + 2 * 0.5^2.
        assert!((near.variance - 9.5 / 5.0 / 0.449).abs() < 1e-12);
        assert_eq!(near.degrees_of_freedom, 2.5);
    }

    #[test]
    fn fewer_than_six_workers_all_count_and_one_has_no_scatter() {
        let three = WorkerMedian::from_values(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!((three.value, three.variance, three.degrees_of_freedom), (2.0, 1.0, 2.0));
        for bad in [&[1.0][..], &[], &[1.0, f64::NAN], &[f64::MAX, f64::MIN]] {
            assert_eq!(WorkerMedian::from_values(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_variance_and_the_error_of_the_median_are_right_for_normal_values() {
        let mut rng = Pcg64Mcg::seed_from_u64(4);
        for workers in [2, 3, 5, 6, 9, 12, 17, 24, 40] {
            let (mut variances, mut medians) = (0.0, 0.0);
            const TRIES: usize = 4000;
            for _ in 0..TRIES {
                let mut normal = || (0..12).map(|_| rng.random_range(-0.5..0.5)).sum::<f64>();
                let values: Vec<f64> = (0..workers).map(|_| normal()).collect();
                let found = WorkerMedian::from_values(&values).unwrap();
                variances += found.variance / TRIES as f64;
                medians += found.value.powi(2) / found.median_variance() / TRIES as f64;
            }
            // Beyond 24 workers the share of the variance is 0.5, at 40 it would be 0.534.
            assert!((0.92..1.12).contains(&variances), "{workers} workers: variance {variances}");
            assert!((0.92..1.08).contains(&medians), "{workers} workers: of the median {medians}");
        }
    }
}
