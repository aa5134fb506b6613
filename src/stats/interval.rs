//! An estimate with its confidence interval.

use serde::{Deserialize, Serialize};

/// An estimate with the ends of its confidence interval, all in the same unit, with `low <= estimate <= high`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The estimate; not necessarily the midpoint of the interval.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// The distance between the ends.
    pub fn width(&self) -> f64 {
        self.high - self.low
    }

    /// Half of [`width`](Self::width).
    pub fn half_width(&self) -> f64 {
        self.width() / 2.0
    }

    /// Whether `x` lies in the interval, ends included.
    pub fn contains(&self, x: f64) -> bool {
        self.low <= x && x <= self.high
    }

    /// Whether the whole interval lies above `x`, without touching it.
    pub fn is_above(&self, x: f64) -> bool {
        self.low > x
    }

    /// Whether the whole interval lies below `x`, without touching it.
    pub fn is_below(&self, x: f64) -> bool {
        self.high < x
    }

    /// The interval of the transformed quantity, for a strictly increasing `f`; `exp` turns a log-ratio into a ratio.
    /// Such an `f` preserves ranks, so it maps the estimate and both ends one by one.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self { estimate: f(self.estimate), low: f(self.low), high: f(self.high) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Interval = Interval { estimate: 1.0, low: 0.5, high: 2.5 };

    #[test]
    fn the_width_depends_on_the_ends_alone() {
        assert_eq!(SOME.width(), 2.0);
        assert_eq!(SOME.half_width(), 1.0);
    }

    #[test]
    fn the_ends_belong_to_the_interval() {
        assert!(SOME.contains(0.5) && SOME.contains(2.5));
        assert!(!SOME.contains(0.49) && !SOME.contains(2.51));
        assert!(!SOME.is_above(0.5) && SOME.is_above(0.49));
        assert!(!SOME.is_below(2.5) && SOME.is_below(2.51));
    }

    #[test]
    fn no_comparison_with_nan_holds() {
        assert!(!SOME.contains(f64::NAN) && !SOME.is_above(f64::NAN) && !SOME.is_below(f64::NAN));
    }

    #[test]
    fn a_log_ratio_becomes_a_ratio() {
        let ratio = Interval { estimate: 0.0, low: -1.0, high: 1.0 }.map(f64::exp);
        assert_eq!(ratio.estimate, 1.0);
        assert!((ratio.low * ratio.high - 1.0).abs() < 1e-15);
    }
}
