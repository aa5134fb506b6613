//! Whether a cell shows a difference at all.

use super::Interval;
use super::modes::Mode;

/// Whether an overhead stands clear of everything that could pass for one: at every layout the whole interval lies beyond
/// the floor, on the same side of zero as the estimate; every mode does too; and the estimate is greater than the
/// distance by which the layout alone moves it.
///
/// All in one unit. `per_layout` holds an interval per layout and must not be empty. `modes` are those of the cell; none
/// given means that workers agree, and leaves the decision to the rest. Whatever is not finite is not resolved.
pub fn resolved(per_layout: &[Interval], modes: &[Mode], estimate: f64, layout_range: f64, floor: f64) -> bool {
    let known = estimate.is_finite() && layout_range.is_finite() && floor.is_finite();
    if per_layout.is_empty() || !known {
        return false;
    }
    let floor = floor.abs();
    let beyond = |interval: &Interval| {
        interval.low.is_finite()
            && interval.high.is_finite()
            && if estimate > 0.0 { interval.is_above(floor) } else { interval.is_below(-floor) }
    };
    let mode_beyond =
        |mode: &Mode| mode.value.is_finite() && if estimate > 0.0 { mode.value > floor } else { mode.value < -floor };
    estimate.abs() > layout_range.abs() && per_layout.iter().all(beyond) && modes.iter().all(mode_beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(low: f64, high: f64) -> Interval {
        Interval { estimate: f64::midpoint(low, high), low, high }
    }

    const AT: fn(f64) -> Mode = |value| Mode { value, share: 0.5 };

    #[test]
    fn an_overhead_clear_of_everything_is_resolved_on_either_side() {
        let layouts = [interval(3.4, 3.6), interval(3.7, 3.8)];
        assert!(resolved(&layouts, &[AT(3.5)], 3.6, 0.25, 0.01));
        let gains = [interval(-3.6, -3.4), interval(-3.8, -3.7)];
        assert!(resolved(&gains, &[AT(-3.5)], -3.6, 0.25, 0.01));
    }

    #[test]
    fn one_layout_within_the_floor_is_enough_to_leave_it_open() {
        let layouts = [interval(3.4, 3.6), interval(0.01, 0.8)];
        assert!(!resolved(&layouts, &[], 3.0, 0.1, 0.01));
        assert!(resolved(&layouts, &[], 3.0, 0.1, 0.009));
    }

    #[test]
    fn layouts_on_both_sides_of_zero_leave_it_open() {
        let layouts = [interval(1.0, 1.1), interval(-1.1, -1.0)];
        assert!(!resolved(&layouts, &[], 1.0, 0.0, 0.01));
        assert!(!resolved(&layouts, &[], -1.0, 0.0, 0.01));
    }

    #[test]
    fn every_mode_has_to_stand_clear() {
        let layouts = [interval(0.1, 0.7)];
        assert!(!resolved(&layouts, &[AT(0.68), AT(0.0)], 0.4, 0.0, 0.01));
        assert!(!resolved(&layouts, &[AT(0.68), AT(-0.5)], 0.4, 0.0, 0.01));
        assert!(resolved(&layouts, &[AT(0.68), AT(0.13)], 0.4, 0.0, 0.01));
    }

    #[test]
    fn nothing_below_the_layout_range_is_a_difference() {
        let layouts = [interval(0.1, 0.2)];
        assert!(!resolved(&layouts, &[], 0.15, 0.15, 0.01));
        assert!(resolved(&layouts, &[], 0.15, 0.14, 0.01));
    }

    #[test]
    fn what_was_not_measured_is_not_resolved() {
        let good = [interval(1.0, 2.0)];
        assert!(!resolved(&[], &[], 1.5, 0.0, 0.01));
        assert!(!resolved(&good, &[], f64::NAN, 0.0, 0.01));
        assert!(!resolved(&good, &[], 1.5, f64::NAN, 0.01));
        assert!(!resolved(&good, &[], 1.5, 0.0, f64::NAN));
        assert!(!resolved(&good, &[AT(f64::NAN)], 1.5, 0.0, 0.01));
        assert!(!resolved(&[interval(1.0, f64::INFINITY)], &[], 1.5, 0.0, 0.01));
        assert!(!resolved(&[interval(-0.1, 0.1)], &[], 0.0, 0.0, 0.0));
    }
}
