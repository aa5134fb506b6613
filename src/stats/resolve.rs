//! The rule that decides whether an overhead is resolved, and the limit that it names if not.

use serde::{Deserialize, Serialize};

use super::measured::Measured;
use super::student::t_quantile;

/// Largest probability that an overhead is resolved by chance. The floor has an allowance for it, so that one interval
/// serves the reader and the verdict.
pub const MAX_ERROR: f64 = 0.001;

/// Why an overhead of a cell, or of a workload on a kernel, is not resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// The overhead lies within the noise: no difference is visible.
    Floor,
    /// The interval reaches into the floor. More time narrows the interval.
    Interval,
    /// Workers gather at several values, which differ by as much as the overhead. More time does not help.
    Modes,
    /// The layout range is as large as the overhead. More time does not help.
    Layout,
    /// The op traps to the hypervisor. Its time is the hypervisor's and says nothing about the mechanism.
    Traps,
}

/// What an overhead must exceed to be a finding, all in the unit of the overhead and at least 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Obstacles {
    /// What A/A comparisons show.
    pub noise: f64,
    /// Largest minus smallest overhead over the layouts.
    pub layout_range: f64,
    /// Largest minus smallest mode at one layout.
    pub mode_range: f64,
}

impl Obstacles {
    /// The floor of an overhead: the largest obstacle, plus the distance by which an interval of confidence 1 -
    /// [`MAX_ERROR`] exceeds one of `confidence`. `None` where the overhead has no interval.
    #[must_use]
    pub fn floor(&self, measured: &Measured, confidence: f64) -> Option<f64> {
        let quantile = |confidence| t_quantile(f64::midpoint(1.0, confidence), measured.degrees_of_freedom);
        let allowance = (quantile(1.0 - MAX_ERROR)? - quantile(confidence)?).max(0.0) * measured.standard_error;
        let floor = self.noise.max(self.layout_range).max(self.mode_range) + allowance;
        floor.is_finite().then_some(floor)
    }

    /// The limit of an overhead; `None` for a resolved one, whose interval of `confidence` lies beyond the floor.
    #[must_use]
    pub fn limit(&self, measured: &Measured, confidence: f64) -> Option<Limit> {
        let beyond = self.floor(measured, confidence).zip(measured.interval(confidence));
        if beyond.is_some_and(|(floor, interval)| interval.is_above(floor) || interval.is_below(-floor)) {
            return None;
        }
        let size = measured.value.abs();
        // A range that the overhead exceeds by no more than the noise is as large as the overhead.
        let within = |range: f64| range > 0.0 && size <= range + self.noise;
        Some(if size.is_nan() || size <= self.noise {
            Limit::Floor
        } else if within(self.layout_range) {
            Limit::Layout
        } else if within(self.mode_range) {
            Limit::Modes
        } else {
            Limit::Interval
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAR: Measured = Measured { value: 3.6, standard_error: 0.1, degrees_of_freedom: 10.0 };
    const NOISE: Obstacles = Obstacles { noise: 0.01, layout_range: 0.0, mode_range: 0.0 };

    fn limit(measured: Measured, obstacles: Obstacles) -> Option<Limit> {
        obstacles.limit(&measured, 0.95)
    }

    #[test]
    fn an_overhead_clear_of_every_obstacle_is_resolved_on_either_side_of_zero() {
        let all = Obstacles { layout_range: 2.9, mode_range: 1.0, ..NOISE };
        assert_eq!(limit(CLEAR, all), None);
        assert_eq!(limit(CLEAR.scaled(-1.0), all), None);
    }

    #[test]
    fn an_estimate_within_the_noise_is_not_resolved_however_narrow_its_interval() {
        for standard_error in [0.0, 1e-4, 5.0] {
            for value in [0.005, -0.01, 0.0] {
                let within = Measured { value, standard_error, ..CLEAR };
                assert_eq!(limit(within, NOISE), Some(Limit::Floor), "{value} {standard_error}");
            }
        }
    }

    #[test]
    fn the_interval_beyond_the_floor_is_the_strict_interval_beyond_the_obstacles() {
        // The quantile of Student's t with 10 degrees of freedom at 0.9995 is 4.5869.
        let at = |standard_error| limit(Measured { standard_error, ..CLEAR }, NOISE);
        assert_eq!(at(3.59 / 4.586), Some(Limit::Interval));
        assert_eq!(at(3.59 / 4.588), None);
    }

    #[test]
    fn a_range_as_large_as_the_overhead_is_named_and_a_smaller_one_calls_for_more_time() {
        assert_eq!(limit(CLEAR, Obstacles { layout_range: 3.6, ..NOISE }), Some(Limit::Layout));
        assert_eq!(limit(CLEAR, Obstacles { mode_range: 3.605, ..NOISE }), Some(Limit::Modes));
        assert_eq!(limit(CLEAR, Obstacles { mode_range: 4.0, layout_range: 4.0, ..NOISE }), Some(Limit::Layout));
        assert_eq!(limit(CLEAR, Obstacles { mode_range: 3.4, ..NOISE }), Some(Limit::Interval));
    }

    #[test]
    fn an_overhead_with_a_number_that_is_not_finite_is_not_resolved() {
        assert_eq!(limit(Measured { value: f64::NAN, ..CLEAR }, NOISE), Some(Limit::Floor));
        assert_eq!(limit(Measured { standard_error: f64::NAN, ..CLEAR }, NOISE), Some(Limit::Interval));
        assert_eq!(limit(Measured { degrees_of_freedom: 0.0, ..CLEAR }, NOISE), Some(Limit::Interval));
        assert!(limit(CLEAR, Obstacles { noise: f64::INFINITY, ..NOISE }).is_some());
    }
}
