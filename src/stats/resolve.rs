//! The rule that decides whether an overhead is resolved, and the limit that it names if not.

use super::Interval;

/// The evidence about a cell, all in one unit.
#[derive(Clone, Copy, Debug)]
pub struct Deciders<'a> {
    /// The estimate.
    pub estimate: f64,
    /// Its interval; `None` where too few workers measured the cell.
    pub interval: Option<Interval>,
    /// The estimate at each layout.
    pub layouts: &'a [f64],
    /// Whether layouts contribute more to the estimate's variance than rounds or workers do.
    pub layouts_dominate: bool,
    /// The values that workers gather at; empty where they agree.
    pub modes: &'a [f64],
    /// The floor; a smaller overhead is not a difference.
    pub floor: f64,
}

/// The reason why a cell is not resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The estimate lies within the floor.
    Floor,
    /// The estimate lies beyond the floor, but its interval reaches into the floor.
    Interval,
    /// A mode does not lie beyond the floor on the estimate's side of zero.
    Modes,
    /// A layout does not lie beyond the floor on the estimate's side of zero, or the layout range is at least the
    /// estimate's absolute value.
    Layouts,
}

impl Deciders<'_> {
    /// The obstacle to name; `None` for a resolved cell. A cell with a value that is not finite is not resolved.
    ///
    /// The interval comes before modes and layouts: with few rounds these scatter by chance as well, and more time
    /// shows whether they persist. Where layouts contribute most of the variance they come first, because more time
    /// does not reduce their part.
    pub fn obstacle(&self) -> Option<Obstacle> {
        if !self.is_beyond(self.estimate) {
            return Some(Obstacle::Floor);
        }
        let layouts =
            self.layout_range() >= self.estimate.abs() || !self.layouts.iter().all(|value| self.is_beyond(*value));
        if layouts && self.layouts_dominate {
            Some(Obstacle::Layouts)
        } else if !self.interval.is_some_and(|i| self.is_beyond(i.low) && self.is_beyond(i.high)) {
            Some(Obstacle::Interval)
        } else if !self.modes.iter().all(|value| self.is_beyond(*value)) {
            Some(Obstacle::Modes)
        } else {
            layouts.then_some(Obstacle::Layouts)
        }
    }

    /// The layout range: largest minus smallest estimate; 0 without layouts.
    fn layout_range(&self) -> f64 {
        let most = self.layouts.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let least = self.layouts.iter().copied().fold(f64::INFINITY, f64::min);
        if self.layouts.is_empty() { 0.0 } else { most - least }
    }

    /// Whether a value lies beyond the floor on the estimate's side of zero, without touching it.
    fn is_beyond(&self, value: f64) -> bool {
        let floor = self.floor.abs();
        value.is_finite() && if self.estimate > 0.0 { value > floor } else { value < -floor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAR: Deciders<'static> = Deciders {
        estimate: 3.6,
        interval: Some(Interval { estimate: 3.6, low: 3.4, high: 3.8 }),
        layouts: &[3.5, 3.75],
        layouts_dominate: false,
        modes: &[],
        floor: 0.01,
    };

    fn around(estimate: f64, half: f64) -> Option<Interval> {
        Some(Interval { estimate, low: estimate - half, high: estimate + half })
    }

    #[test]
    fn an_overhead_clear_of_every_obstacle_is_resolved_on_either_side_of_zero() {
        assert_eq!(CLEAR.obstacle(), None);
        let gain = Deciders { estimate: -3.6, interval: around(-3.6, 0.2), layouts: &[-3.5, -3.75], ..CLEAR };
        assert_eq!(gain.obstacle(), None);
        assert_eq!(Deciders { modes: &[3.5, 3.7], ..CLEAR }.obstacle(), None);
    }

    #[test]
    fn an_estimate_within_the_floor_is_not_resolved_however_narrow_its_interval() {
        for half in [0.001, 5.0] {
            let within = Deciders { estimate: 0.05, interval: around(0.05, half), floor: 0.06, ..CLEAR };
            assert_eq!(within.obstacle(), Some(Obstacle::Floor));
            assert_eq!(
                Deciders { estimate: -0.06, ..within }.obstacle(),
                Some(Obstacle::Floor),
                "it touches the floor"
            );
        }
    }

    #[test]
    fn an_estimate_beyond_the_floor_is_not_resolved_while_its_interval_reaches_into_the_floor() {
        let wide = Deciders { interval: around(3.6, 3.595), ..CLEAR };
        assert_eq!(wide.obstacle(), Some(Obstacle::Interval));
        assert_eq!(Deciders { interval: around(3.6, 3.58), ..CLEAR }.obstacle(), None);
        assert_eq!(Deciders { interval: None, ..CLEAR }.obstacle(), Some(Obstacle::Interval));
        let modes_too = Deciders { modes: &[0.0], layouts: &[0.0, 3.6], ..wide };
        assert_eq!(modes_too.obstacle(), Some(Obstacle::Interval), "with so few rounds modes and layouts may be noise");
    }

    #[test]
    fn every_mode_must_lie_beyond_the_floor_on_the_same_side() {
        for mode in [0.0, 0.01, -3.6] {
            assert_eq!(Deciders { modes: &[3.6, mode], ..CLEAR }.obstacle(), Some(Obstacle::Modes), "{mode}");
        }
    }

    #[test]
    fn every_layout_must_lie_beyond_the_floor_and_the_layout_range_below_the_estimate() {
        let layouts = |layouts: &'static [f64]| Deciders { layouts, ..CLEAR };
        assert_eq!(layouts(&[0.01, 3.6]).obstacle(), Some(Obstacle::Layouts), "one touches the floor");
        assert_eq!(layouts(&[1.0, 4.625]).obstacle(), Some(Obstacle::Layouts), "they differ by more than the estimate");
        assert_eq!(layouts(&[1.0, 4.5]).obstacle(), None);
        assert_eq!(layouts(&[]).obstacle(), None);
    }

    #[test]
    fn layouts_with_most_of_the_variance_are_named_before_the_interval() {
        let both = Deciders { interval: around(3.6, 5.0), layouts: &[0.0, 3.6], ..CLEAR };
        assert_eq!(both.obstacle(), Some(Obstacle::Interval));
        assert_eq!(Deciders { layouts_dominate: true, ..both }.obstacle(), Some(Obstacle::Layouts));
        assert_eq!(Deciders { layouts_dominate: true, ..CLEAR }.obstacle(), None);
    }

    #[test]
    fn a_cell_with_a_value_that_is_not_finite_is_not_resolved() {
        assert_eq!(Deciders { estimate: f64::NAN, ..CLEAR }.obstacle(), Some(Obstacle::Floor));
        assert_eq!(Deciders { floor: f64::NAN, ..CLEAR }.obstacle(), Some(Obstacle::Floor));
        assert_eq!(Deciders { modes: &[f64::NAN], ..CLEAR }.obstacle(), Some(Obstacle::Modes));
        assert_eq!(Deciders { layouts: &[3.6, f64::NAN], ..CLEAR }.obstacle(), Some(Obstacle::Layouts));
        assert_eq!(Deciders { interval: around(3.6, f64::INFINITY), ..CLEAR }.obstacle(), Some(Obstacle::Interval));
        assert_eq!(Deciders { estimate: 0.0, floor: 0.0, ..CLEAR }.obstacle(), Some(Obstacle::Floor));
    }
}
