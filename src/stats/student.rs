//! Quantiles of Student's t distribution, and intervals from them.
//!
//! The normal quantile 2.58 for 99% gives ten pairs a confidence below 97.1%: with 9 degrees of freedom the quantile is
//! 3.25.

use super::Interval;
use super::location::sorted;

/// Student's intervals of one confidence, from the winsorised variance over workers. They serve strict confidences,
/// which a bootstrap over few workers cannot give.
///
/// The interval is that of the trimmed mean (Tukey and McLaughlin 1963; Yuen 1974), scaled for a median. With g of n
/// workers clamped at each end and the winsorised standard deviation s, its half-width is
/// `t * sqrt(pi / 2) * s * sqrt(n) / (n - 2g)`, where t has `n - 2g - 1` degrees of freedom. So one worker that was
/// disturbed in all of its windows does not widen the interval of all others.
#[derive(Clone, Debug)]
pub struct Student {
    /// Quantiles of Student's t by the number of workers, from two.
    quantiles: Vec<Option<f64>>,
}

/// The number of workers that are clamped at each end: a tenth of fewer than 12, because each clamped pair costs two
/// degrees of freedom; a fifth of more, because a burst may have disturbed several of them.
fn trim_count(n: usize) -> usize {
    if n < 12 { n / 10 } else { n / 5 }
}

impl Student {
    /// Intervals at `confidence` for up to `max_workers` workers.
    pub fn new(confidence: f64, max_workers: usize) -> Self {
        let quantile = |workers: usize| {
            let kept = workers - 2 * trim_count(workers);
            t_quantile(f64::midpoint(1.0, confidence), kept as f64 - 1.0)
        };
        Student { quantiles: (2..=max_workers).map(quantile).collect() }
    }

    /// The interval around `estimate`, a median, from each worker's deviation. `None` for fewer than two workers, more
    /// than `max_workers`, or a value that is not finite.
    pub fn around(&self, estimate: f64, deviations: &[f64]) -> Option<Interval> {
        let quantile = self.quantiles.get(deviations.len().checked_sub(2)?).copied().flatten()?;
        let mut winsorised = sorted(deviations)?;
        let n = winsorised.len();
        let trimmed = trim_count(n);
        let (least, greatest) = (winsorised[trimmed], winsorised[n - 1 - trimmed]);
        winsorised.iter_mut().for_each(|value| *value = value.clamp(least, greatest));
        let mean = winsorised.iter().sum::<f64>() / n as f64;
        let variance = winsorised.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
        let kept = (n - 2 * trimmed) as f64 / n as f64;
        let half = quantile * MEDIAN_TO_MEAN_ERROR * (variance / n as f64).sqrt() / kept;
        (half.is_finite() && estimate.is_finite()).then_some(Interval {
            estimate,
            low: estimate - half,
            high: estimate + half,
        })
    }
}

/// Standard error of the median of normal values per standard error of their mean: `sqrt(pi / 2)`. With heavier tails
/// the median has the smaller error, so the interval is too wide rather than too narrow.
const MEDIAN_TO_MEAN_ERROR: f64 = 1.253_314;

/// Upper bound on the degrees of freedom; more count as this many. The quantiles differ by about `z^3 / (4 dof)`, less
/// than 1e-6. Beyond the bound the logarithms of the gamma function lose their digits.
const MAX_DOF: f64 = 1e7;

/// The quantile of Student's t distribution at `p` with `dof` degrees of freedom. A two-sided interval of 99% takes `p`
/// = 0.995. `None` unless `p` lies strictly between 0 and 1 and `dof` is at least 1.
pub fn t_quantile(p: f64, dof: f64) -> Option<f64> {
    if !(p > 0.0 && p < 1.0 && dof >= 1.0) {
        return None;
    }
    let dof = dof.min(MAX_DOF);
    // The search stays in the upper half, where the tail has no cancellation.
    let tail = p.min(1.0 - p);
    let mut high = 1.0;
    while upper_tail(high, dof) > tail {
        high *= 2.0;
    }
    let mut low = 0.0;
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high || high - low <= 1e-13 * high {
            return Some(if p < 0.5 { -middle } else { middle });
        }
        if upper_tail(middle, dof) > tail {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// The upper tail probability of Student's t for `t >= 0`: half the regularised incomplete beta function at
/// `dof / (dof + t^2)` (Abramowitz and Stegun 26.5.27).
fn upper_tail(t: f64, dof: f64) -> f64 {
    let square = t * t;
    let x = dof / (dof + square);
    let rest = square / (dof + square);
    let (a, b) = (dof / 2.0, 0.5);
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * rest.ln()).exp();
    // The fraction converges fast only on this side of the mean of the beta distribution; the other side is the
    // complement.
    let whole = if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(x, a, b) / a
    } else {
        1.0 - front * beta_fraction(rest, b, a) / b
    };
    whole / 2.0
}

/// The continued fraction of the incomplete beta function (Abramowitz and Stegun 26.5.8), evaluated from the front by
/// the method of Lentz.
fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    let away_from_zero = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    // The number of steps grows with the square root of the greater parameter: some thousands at `MAX_DOF`.
    for step in 1..20_000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = value;
        for term in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            value *= c * d;
        }
        if (value / before - 1.0).abs() < 1e-15 {
            break;
        }
    }
    value
}

/// The logarithm of the gamma function for `x >= 0.5`: Stirling's series (Abramowitz and Stegun 6.1.41) after
/// shifting the argument up to 12, where six terms reach full precision.
fn ln_gamma(x: f64) -> f64 {
    let mut shift = 1.0;
    let mut x = x;
    while x < 12.0 {
        shift *= x;
        x += 1.0;
    }
    let square = x * x;
    let series = [-691.0 / 360_360.0, 1.0 / 1188.0, -1.0 / 1680.0, 1.0 / 1260.0, -1.0 / 360.0, 1.0 / 12.0]
        .iter()
        .fold(0.0, |sum, term| sum / square + term)
        / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - f64::ln(shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_workers_have_a_wider_interval_and_one_worker_has_none() {
        let ten: Vec<f64> = (0..10).map(|i| f64::from(i) / 4.5 - 1.0).collect();
        let student = Student::new(0.99, 10);
        let found = student.around(5.0, &ten).unwrap();
        // The t quantile at 99% with 7 degrees of freedom is 3.499; winsorised at +-0.778 the deviation is 0.604.
        assert!((found.half_width() - 1.2533 * 3.499 * 0.604 / 0.8 / 10f64.sqrt()).abs() < 2e-3, "{found:?}");
        let mut disturbed = ten.clone();
        disturbed[9] = 1e6;
        assert_eq!(student.around(5.0, &disturbed), Some(found));
        assert!(student.around(5.0, &[-0.67, 0.0, 0.67]).unwrap().width() > found.width());
        for bad in [&ten[..1], &[], &[1.0; 11], &[1.0, f64::NAN]] {
            assert_eq!(student.around(5.0, bad), None);
        }
        assert_eq!(student.around(f64::NAN, &ten), None);
    }

    fn close(p: f64, dof: f64, expected: f64) {
        let t = t_quantile(p, dof).unwrap();
        assert!((t - expected).abs() < 1e-6 * expected.abs().max(1.0), "t({p}, {dof}) = {t}, not {expected}");
    }

    #[test]
    fn one_and_two_degrees_of_freedom_have_closed_forms() {
        for p in [1e-6, 0.01, 0.3, 0.5, 0.6, 0.975, 0.9995] {
            close(p, 1.0, (std::f64::consts::PI * (p - 0.5)).tan());
            close(p, 2.0, (2.0 * p - 1.0) / (2.0 * p * (1.0 - p)).sqrt());
        }
    }

    #[test]
    fn quantiles_agree_with_the_tables() {
        // The usual tables have seven digits.
        close(0.995, 9.0, 3.249_835_5);
        close(0.975, 9.0, 2.262_157_2);
        close(0.975, 19.0, 2.093_024_1);
        close(0.975, 30.0, 2.042_272_5);
        close(0.995, 100.0, 2.625_890_5);
    }

    #[test]
    fn many_degrees_of_freedom_give_the_normal_quantile() {
        close(0.975, 1e12, 1.959_964_0);
        close(0.995, 1e9, 2.575_829_3);
        close(0.975, f64::INFINITY, 1.959_964_0);
    }

    #[test]
    fn the_two_tails_mirror_each_other() {
        assert_eq!(t_quantile(0.25, 7.0).unwrap(), -t_quantile(0.75, 7.0).unwrap());
        assert!(t_quantile(0.5, 7.0).unwrap().abs() < 1e-12);
    }

    #[test]
    fn a_probability_or_degrees_of_freedom_out_of_range_have_no_quantile() {
        for (p, dof) in [(0.0, 9.0), (1.0, 9.0), (f64::NAN, 9.0), (0.9, 0.5), (0.9, f64::NAN)] {
            assert_eq!(t_quantile(p, dof), None);
        }
    }
}
