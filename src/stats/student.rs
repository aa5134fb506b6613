//! Quantiles of Student's t distribution, and the intervals they make.
//!
//! Ten pairs judged by the normal quantile 2.58 as "99%" are judged at less than 97.1%: with 9 degrees of freedom the
//! quantile is 3.25.

use super::Interval;
use super::location::sorted;

/// Intervals of one confidence around estimates that workers scatter about: for confidences that resampling so few
/// workers cannot give.
///
/// They are those of the trimmed mean (Tukey and McLaughlin 1963; Yuen 1974): of ten workers the least and the greatest
/// count as their neighbours do, and the degrees of freedom are fewer by two. A worker that was disturbed from its
/// first window to its last does not make the interval of all the others useless.
#[derive(Clone, Debug)]
pub struct Student {
    /// By the number of workers, from two.
    quantiles: Vec<Option<f64>>,
}

/// How many of `n` workers are brought in at each end: of few one in ten, for every one costs two degrees of freedom;
/// of many one in five, for then a burst may have met several.
fn trimmed(n: usize) -> usize {
    if n < 12 { n / 10 } else { n / 5 }
}

impl Student {
    /// For up to `most` workers.
    pub fn new(confidence: f64, most: usize) -> Self {
        let quantile = |workers: usize| {
            let kept = workers - 2 * trimmed(workers);
            t_quantile(f64::midpoint(1.0, confidence), kept as f64 - 1.0)
        };
        Student { quantiles: (2..=most).map(quantile).collect() }
    }

    /// The interval around `estimate`, a median, where the workers deviate from it by `deviations`. `None` for fewer
    /// than two workers, more than were said, or what is not finite.
    pub fn around(&self, estimate: f64, deviations: &[f64]) -> Option<Interval> {
        let quantile = self.quantiles.get(deviations.len().checked_sub(2)?).copied().flatten()?;
        let mut brought_in = sorted(deviations)?;
        let n = brought_in.len();
        let trimmed = trimmed(n);
        let (least, greatest) = (brought_in[trimmed], brought_in[n - 1 - trimmed]);
        brought_in.iter_mut().for_each(|value| *value = value.clamp(least, greatest));
        let mean = brought_in.iter().sum::<f64>() / n as f64;
        let variance = brought_in.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
        let kept = (n - 2 * trimmed) as f64 / n as f64;
        let half = quantile * OF_MEDIAN * (variance / n as f64).sqrt() / kept;
        (half.is_finite() && estimate.is_finite()).then_some(Interval {
            estimate,
            low: estimate - half,
            high: estimate + half,
        })
    }
}

/// The standard error of a median of normal values over that of their mean: the root of pi / 2. With heavier tails,
/// where a median is the better of the two, the interval is too wide rather than too narrow.
const OF_MEDIAN: f64 = 1.253_314;

/// Beyond this many degrees of freedom the quantile is that of this many: the two differ by less than 1e-6 (the
/// difference is about z^3 / 4 dof), while the logarithms of the gamma function lose their digits.
const DOF_LIMIT: f64 = 1e7;

/// The value which a t-distributed variable with `dof` degrees of freedom stays below with probability `p`. Two-sided
/// at 99% is `p` = 0.995. `None` unless `p` lies strictly between 0 and 1 and `dof` is at least 1.
pub fn t_quantile(p: f64, dof: f64) -> Option<f64> {
    if !(p > 0.0 && p < 1.0 && dof >= 1.0) {
        return None;
    }
    let dof = dof.min(DOF_LIMIT);
    // Always in the upper half, where the tail comes without cancellation.
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

/// The probability that a t-distributed variable exceeds `t`, for `t` from 0 up: half the regularised incomplete beta
/// function at dof / (dof + t^2) (Abramowitz and Stegun 26.5.27).
fn upper_tail(t: f64, dof: f64) -> f64 {
    let square = t * t;
    let x = dof / (dof + square);
    let rest = square / (dof + square);
    let (a, b) = (dof / 2.0, 0.5);
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * rest.ln()).exp();
    // The fraction converges fast on this side of the mean of the beta distribution only; the other is its complement.
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
    // The number of steps grows with the root of the greater parameter: some thousands at the limit above.
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

/// The logarithm of the gamma function for `x` from 0.5 up: Stirling's series (Abramowitz and Stegun 6.1.41) after
/// shifting the argument to where six terms of it reach full precision.
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
    fn the_interval_of_few_is_wider_and_one_has_none() {
        let ten: Vec<f64> = (0..10).map(|i| f64::from(i) / 4.5 - 1.0).collect();
        let student = Student::new(0.99, 10);
        let found = student.around(5.0, &ten).unwrap();
        // t7 at 99% is 3.499; with the ends at +-0.778 the deviation is 0.604.
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
        // To the seven digits of the usual tables.
        close(0.995, 9.0, 3.249_835_5);
        close(0.975, 9.0, 2.262_157_2);
        close(0.975, 19.0, 2.093_024_1);
        close(0.975, 30.0, 2.042_272_5);
        close(0.995, 100.0, 2.625_890_5);
    }

    #[test]
    fn many_degrees_of_freedom_are_the_normal_distribution() {
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
    fn there_is_no_quantile_outside_of_the_range() {
        for (p, dof) in [(0.0, 9.0), (1.0, 9.0), (f64::NAN, 9.0), (0.9, 0.5), (0.9, f64::NAN)] {
            assert_eq!(t_quantile(p, dof), None);
        }
    }
}
