//! A logarithmic scale from core cycles to pixels, which begins at the floor.

/// A scale of `low` to `high` core cycles over `left..right` pixels.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
    left: i32,
    right: i32,
    /// Smallest drawn value in core cycles. Smaller values are drawn here.
    pub floor: f64,
}

/// Start of the scale in core cycles if the report has no floor.
const DEFAULT_FLOOR_CYCLES: f64 = 0.05;
/// Minimum start of the scale in core cycles. A lower start would leave too little room for the values above it.
const MIN_FLOOR_CYCLES: f64 = 0.01;

impl Scale {
    /// A scale from the floor to `largest`, both in core cycles.
    #[must_use]
    pub fn new(floor: Option<f64>, largest: f64, left: i32, right: i32) -> Self {
        let floor = floor.unwrap_or(DEFAULT_FLOOR_CYCLES).clamp(MIN_FLOOR_CYCLES, 1e3);
        let high = largest.clamp(floor * 10.0, 1e6) * 1.25;
        Self { low: floor / 2.2, high, left, right, floor }
    }

    /// The same scale with another floor, for regimes that share an axis.
    #[must_use]
    pub fn with_floor(self, floor: Option<f64>) -> Self {
        let floor = floor.unwrap_or(DEFAULT_FLOOR_CYCLES).clamp(MIN_FLOOR_CYCLES, 1e3);
        Self { floor: floor.min(self.high), ..self }
    }

    /// Whether a value lies beyond the end of the scale, so that it is drawn at the end.
    #[must_use]
    pub fn is_beyond(&self, cycles: f64) -> bool {
        cycles > self.high
    }

    /// The pixel of a value. Values below the floor are drawn at the floor.
    #[must_use]
    pub fn x(&self, cycles: f64) -> i32 {
        self.exact(if cycles.is_nan() { self.floor } else { cycles.clamp(self.floor, self.high) })
    }

    fn exact(&self, cycles: f64) -> i32 {
        let share = (cycles / self.low).ln() / (self.high / self.low).ln();
        self.left + (share * f64::from(self.right - self.left)).round() as i32
    }

    /// The marked values with their pixels, no two closer than `min_gap` pixels: powers of ten, then 2 and 5 of every
    /// decade if there is room between them.
    #[must_use]
    pub fn marks(&self, min_gap: i32) -> Vec<(f64, i32)> {
        let mut marks: Vec<(f64, i32)> = Vec::new();
        for step in [1.0, 2.0, 5.0] {
            for decade in -3..=6 {
                let value = step * 10f64.powi(decade);
                if value <= self.floor * 1.15 || value > self.high {
                    continue;
                }
                let x = self.exact(value);
                if marks.iter().all(|(_, other)| (x - other).abs() >= min_gap) {
                    marks.push((value, x));
                }
            }
        }
        marks.sort_by_key(|mark| mark.1);
        marks
    }
}

/// The text of a mark: `0.05`, `0.5`, `20`.
#[must_use]
pub fn mark(value: f64) -> String {
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_below_the_floor_is_drawn_at_the_floor() {
        let scale = Scale::new(Some(0.05), 40.0, 100, 500);
        assert_eq!(scale.x(-3.0), scale.x(0.05));
        assert_eq!(scale.x(f64::NAN), scale.x(0.05));
        assert!(scale.x(0.05) > 100 && scale.x(40.0) < 500);
        assert!(scale.x(f64::INFINITY) <= 500);
    }

    #[test]
    fn one_scale_holds_several_floors() {
        let scale = Scale::new(Some(0.05), 40.0, 100, 500);
        let higher = scale.with_floor(Some(6.0));
        assert_eq!(scale.x(20.0), higher.x(20.0));
        assert!(higher.x(0.0) > scale.x(0.0) && higher.x(0.0) == scale.x(6.0));
        assert!(!scale.is_beyond(40.0) && scale.is_beyond(500.0));
    }

    #[test]
    fn marks_are_no_closer_than_the_minimum_gap() {
        let marks = Scale::new(Some(0.05), 40.0, 100, 400).marks(30);
        assert!(marks.len() >= 3);
        assert!(marks.windows(2).all(|w| w[1].1 - w[0].1 >= 30), "{marks:?}");
        // If decades are closer than the gap, only some of them have a mark.
        let narrow = Scale::new(Some(0.01), 150.0, 100, 210).marks(30);
        assert!(narrow.len() >= 2, "{narrow:?}");
    }
}
