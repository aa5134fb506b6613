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

    /// The values to mark, no two closer than `least_gap` pixels: powers of ten, then 2 and 5 of every decade where
    /// there is room between them.
    #[must_use]
    pub fn marks(&self, least_gap: i32) -> Vec<(f64, i32)> {
        let mut marks: Vec<(f64, i32)> = Vec::new();
        for step in [1.0, 2.0, 5.0] {
            for decade in -3..=6 {
                let value = step * 10f64.powi(decade);
                if value <= self.floor * 1.15 || value > self.high {
                    continue;
                }
                let x = self.exact(value);
                if marks.iter().all(|(_, other)| (x - other).abs() >= least_gap) {
                    marks.push((value, x));
                }
            }
        }
        marks.sort_by_key(|mark| mark.1);
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
        // Decades that are closer than that have every other one.
        let narrow = Scale::new(Some(0.01), 150.0, 100, 210).marks(30);
        assert!(narrow.len() >= 2, "{narrow:?}");
    }
}
