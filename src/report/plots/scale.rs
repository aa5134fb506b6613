//! A logarithmic scale in pixels, with the floor as its lowest distinguishable value.

/// From `low` to `high` core cycles over `left..right` pixels.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
    left: i32,
    right: i32,
    /// Nothing is drawn below this value.
    pub floor: f64,
}

/// Where there is no floor, nothing is drawn below this many core cycles.
const NO_FLOOR: f64 = 0.05;
/// A floor below this many core cycles would leave no room for what is above it.
const LEAST: f64 = 0.01;

impl Scale {
    /// A scale that holds the floor and `largest`.
    #[must_use]
    pub fn new(floor: Option<f64>, largest: f64, left: i32, right: i32) -> Self {
        let floor = floor.unwrap_or(NO_FLOOR).clamp(LEAST, 1e3);
        let high = largest.clamp(floor * 10.0, 1e6) * 1.25;
        Self { low: floor / 2.2, high, left, right, floor }
    }

    /// The same scale with another floor: one axis for regimes that differ in it.
    #[must_use]
    pub fn with_floor(self, floor: Option<f64>) -> Self {
        Self { floor: floor.unwrap_or(NO_FLOOR).clamp(LEAST, 1e3).min(self.high), ..self }
    }

    /// Whether a value lies beyond the end of the scale, where it is drawn on the end.
    #[must_use]
    pub fn is_beyond(&self, cycles: f64) -> bool {
        cycles > self.high
    }

    /// The pixel of a value. What is below the floor lies on it.
    #[must_use]
    pub fn x(&self, cycles: f64) -> i32 {
        self.exact(if cycles.is_nan() { self.floor } else { cycles.clamp(self.floor, self.high) })
    }

    fn exact(&self, cycles: f64) -> i32 {
        let share = (cycles / self.low).ln() / (self.high / self.low).ln();
        self.left + (share * f64::from(self.right - self.left)).round() as i32
    }

    /// The values to mark: 1, 2 and 5 in every decade, or powers of ten where that is too many.
    #[must_use]
    pub fn marks(&self, least_gap: i32) -> Vec<(f64, i32)> {
        let mut marks: Vec<(f64, i32)> = Vec::new();
        for decade in -3..=6 {
            for step in [1.0, 2.0, 5.0] {
                let value = step * 10f64.powi(decade);
                if value <= self.floor * 1.15 || value > self.high {
                    continue;
                }
                let x = self.exact(value);
                // A power of ten displaces its neighbour.
                if marks.last().is_some_and(|(_, before)| x - before < least_gap) {
                    if step != 1.0 {
                        continue;
                    }
                    marks.pop();
                }
                marks.push((value, x));
            }
        }
        marks
    }
}

/// A mark of a scale: `0.05`, `0.5`, `20`.
#[must_use]
pub fn mark(value: f64) -> String {
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_the_floor_lies_on_it() {
        let scale = Scale::new(Some(0.05), 40.0, 100, 500);
        assert_eq!(scale.x(-3.0), scale.x(0.05));
        assert_eq!(scale.x(f64::NAN), scale.x(0.05));
        assert!(scale.x(0.05) > 100 && scale.x(40.0) < 500);
        assert!(scale.x(f64::INFINITY) <= 500);
    }

    #[test]
    fn one_scale_serves_several_floors() {
        let scale = Scale::new(Some(0.05), 40.0, 100, 500);
        let higher = scale.with_floor(Some(6.0));
        assert_eq!(scale.x(20.0), higher.x(20.0));
        assert!(higher.x(0.0) > scale.x(0.0) && higher.x(0.0) == scale.x(6.0));
        assert!(!scale.is_beyond(40.0) && scale.is_beyond(500.0));
    }

    #[test]
    fn marks_keep_their_distance() {
        let marks = Scale::new(Some(0.05), 40.0, 100, 400).marks(30);
        assert!(marks.len() >= 3);
        assert!(marks.windows(2).all(|w| w[1].1 - w[0].1 >= 30), "{marks:?}");
    }
}
