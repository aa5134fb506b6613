//! A measured value and how sure it is: the triple that every interval comes from.

use super::Interval;
use super::student::t_quantile;

/// A value with its standard error, and the degrees of freedom of that error. The interval that a report shows, the
/// verdict `resolved` and the gate all come from this triple.
///
/// ```
/// use pvbench::stats::measured::Measured;
///
/// let one = Measured { value: 5.0, standard_error: 0.3, degrees_of_freedom: 10.0 };
/// let other = Measured { value: 3.0, standard_error: 0.4, degrees_of_freedom: 12.0 };
/// let difference = one.minus(&other);
/// assert_eq!((difference.value, difference.standard_error), (2.0, 0.5));
/// assert!(difference.interval(0.95).is_some_and(|interval| interval.is_above(0.9)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The value.
    pub value: f64,
    /// Its standard error, in the same unit.
    pub standard_error: f64,
    /// Degrees of freedom of the standard error, at least 1.
    pub degrees_of_freedom: f64,
}

impl Measured {
    /// The interval that covers the truth with this probability, between 0 and 1, by Student's t. `None` where a number
    /// is not finite or out of range.
    #[must_use]
    pub fn interval(&self, confidence: f64) -> Option<Interval> {
        let half_width = self.half_width(confidence)?;
        let Measured { value, .. } = *self;
        Some(Interval { estimate: value, low: value - half_width, high: value + half_width })
    }

    /// Half the width of [`interval`](Self::interval).
    #[must_use]
    pub fn half_width(&self, confidence: f64) -> Option<f64> {
        let half_width = t_quantile(f64::midpoint(1.0, confidence), self.degrees_of_freedom)? * self.standard_error;
        (half_width.is_finite() && self.value.is_finite()).then_some(half_width)
    }

    /// The difference to an independent value: errors add in quadrature, and the degrees of freedom are those of Welch
    /// and Satterthwaite.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let [one, two] = [self, other].map(|measured| measured.standard_error.powi(2));
        let per_freedom = one.powi(2) / self.degrees_of_freedom + two.powi(2) / other.degrees_of_freedom;
        let degrees_of_freedom = if per_freedom > 0.0 {
            (one + two).powi(2) / per_freedom
        } else {
            self.degrees_of_freedom.min(other.degrees_of_freedom)
        };
        Measured { value: self.value - other.value, standard_error: (one + two).sqrt(), degrees_of_freedom }
    }

    /// The value in another unit, `factor` times as large.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        Measured { value: self.value * factor, standard_error: self.standard_error * factor.abs(), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Measured = Measured { value: 2.0, standard_error: 0.5, degrees_of_freedom: 10.0 };

    #[test]
    fn an_interval_is_the_value_and_students_t_times_its_standard_error_on_both_sides() {
        let interval = SOME.interval(0.95).unwrap();
        // The quantile of Student's t with 10 degrees of freedom at 0.975 is 2.2281.
        assert!((interval.low - (2.0 - 0.5 * 2.2281)).abs() < 1e-4 && interval.contains(2.0));
        assert!((interval.high - (2.0 + 0.5 * 2.2281)).abs() < 1e-4);
        assert!(SOME.interval(0.999).unwrap().width() > interval.width());
    }

    #[test]
    fn a_difference_has_the_freedom_of_welch_and_satterthwaite() {
        let same = SOME.minus(&SOME);
        assert_eq!((same.value, same.degrees_of_freedom), (0.0, 20.0));
        let exact = Measured { standard_error: 0.0, ..SOME };
        assert_eq!(SOME.minus(&exact), Measured { value: 0.0, ..SOME }, "an exact number adds no error");
        assert_eq!(exact.minus(&exact).standard_error, 0.0);
    }

    #[test]
    fn a_value_in_another_unit_is_as_sure_as_before() {
        let halved = SOME.scaled(-0.5);
        assert_eq!((halved.value, halved.standard_error, halved.degrees_of_freedom), (-1.0, 0.25, 10.0));
    }

    #[test]
    fn numbers_out_of_range_have_no_interval() {
        for bad in [
            Measured { value: f64::NAN, ..SOME },
            Measured { standard_error: f64::INFINITY, ..SOME },
            Measured { degrees_of_freedom: 0.0, ..SOME },
        ] {
            assert_eq!(bad.interval(0.95), None, "{bad:?}");
        }
        assert_eq!(SOME.interval(1.0), None);
    }
}
