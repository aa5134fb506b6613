//! Rounding of measured values to a resolution far below their error.
//!
//! An error is kept to within 4.5%, on a scale of eight steps per factor of two. Its own uncertainty is 10% and more.
//! A value is kept in steps of 1/16 to 1/32 of its error: rounding adds less than 0.04% to the error.

/// Steps per factor of two of an error or a floor. At half of it, they are kept to within 9%; twice of it takes an
/// eighth of a byte more for each.
const STEPS_PER_OCTAVE: f64 = 8.0;
/// The exponent in steps that has the smallest code: 2^-9, the error of a usual cell in cycles.
const CENTRE: i64 = -72;
/// Smallest and largest exponent in steps: 2^-60 to 2^60.
const MAX_EXPONENT: i64 = 480;
/// Halvings from the power of two below an error to the step of its value.
const VALUE_HALVINGS: i64 = 4;
/// Halvings from the power of two below an error to the step of a mode. A mode belongs to one layout, so its own
/// error is two to three times that of the cell.
const MODE_HALVINGS: i64 = 2;
/// Step of a mode where the cell has no error, in cycles.
const USUAL_MODE_STEP: f64 = 1.0 / 4096.0;
/// Steps per factor of two of degrees of freedom: to within 9%.
const FREEDOM_STEPS_PER_OCTAVE: f64 = 4.0;
/// Largest code of degrees of freedom, 2^(255/4).
const MAX_FREEDOM: u64 = 255;
/// Steps per 1 of a share. All shares of 2 to 6, 8, 10 and 12 workers are whole numbers of it.
const SHARE_STEPS: f64 = 240.0;

/// The code of a magnitude, such as an error; 0 stands for 0.
pub(super) fn encode_magnitude(value: f64) -> u64 {
    if value.is_nan() || value <= 0.0 {
        return 0;
    }
    let exponent = ((value.log2() * STEPS_PER_OCTAVE).round() as i64).clamp(-MAX_EXPONENT, MAX_EXPONENT) - CENTRE;
    1 + (exponent << 1 ^ exponent >> 63).cast_unsigned()
}

/// The exponent of a code, in steps. `None` for the code of 0 and for codes that no magnitude has.
fn exponent(code: u64) -> Option<i64> {
    let zigzag = code.checked_sub(1).filter(|it| *it < 1 << 20)?;
    let exponent = ((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed()) + CENTRE;
    (-MAX_EXPONENT..=MAX_EXPONENT).contains(&exponent).then_some(exponent)
}

/// The magnitude of a code.
pub(super) fn decode_magnitude(code: u64) -> Option<f64> {
    if code == 0 { Some(0.0) } else { exponent(code).map(|it| (it as f64 / STEPS_PER_OCTAVE).exp2()) }
}

/// The step of a value by the code of its error, an exact power of two. `None` where the error is 0.
pub(super) fn value_step(error: u64) -> Option<f64> {
    step(error, VALUE_HALVINGS)
}

/// The step of a mode by the code of the cell's error; a usual one where the error is 0.
pub(super) fn mode_step(error: u64) -> f64 {
    step(error, MODE_HALVINGS).unwrap_or(USUAL_MODE_STEP)
}

fn step(error: u64, halvings: i64) -> Option<f64> {
    let octave = exponent(error)?.div_euclid(STEPS_PER_OCTAVE as i64) - halvings;
    Some((octave as f64).exp2())
}

/// The number of steps of a value. `None` if it has too many for an exact number.
pub(super) fn encode_value(value: f64, step: f64) -> Option<i64> {
    let steps = (value / step).round();
    (steps.abs() < 2f64.powi(52)).then_some(steps as i64)
}

/// The value of a number of steps.
pub(super) fn decode_value(steps: i64, step: f64) -> f64 {
    steps as f64 * step
}

/// The code of degrees of freedom.
pub(super) fn encode_freedom(freedom: f64) -> u64 {
    ((freedom.max(1.0).log2() * FREEDOM_STEPS_PER_OCTAVE).round() as u64).min(MAX_FREEDOM)
}

/// Degrees of freedom of a code.
pub(super) fn decode_freedom(code: u64) -> Option<f64> {
    (code <= MAX_FREEDOM).then(|| (code as f64 / FREEDOM_STEPS_PER_OCTAVE).exp2())
}

/// The code of a share.
pub(super) fn encode_share(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * SHARE_STEPS).round() as u64
}

/// The share of a code.
pub(super) fn decode_share(code: u64) -> Option<f64> {
    let share = code as f64 / SHARE_STEPS;
    (share <= 1.0).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magnitudes_are_kept_to_within_four_and_a_half_percent_and_zero_exactly() {
        let mut value = 1e-15;
        while value < 1e15 {
            let kept = decode_magnitude(encode_magnitude(value)).unwrap();
            assert!((kept / value - 1.0).abs() < 0.045, "{value} {kept}");
            value *= 1.037;
        }
        assert_eq!(decode_magnitude(encode_magnitude(0.0)), Some(0.0));
        assert_eq!(encode_magnitude(f64::NAN), 0);
        assert!(encode_magnitude(3e-5) < 256 && encode_magnitude(100.0) < 256, "usual errors take a byte");
        for code in [5000, u64::MAX, u64::MAX - 1, 1 << 21] {
            assert_eq!(decode_magnitude(code), None);
        }
    }

    #[test]
    fn a_value_is_kept_to_a_thirtysecond_of_its_error() {
        for (value, error) in [(3.916_55, 0.000_422), (-6.6e-7, 0.002_188), (1e6, 3.0), (0.0, 1e-9)] {
            let step = value_step(encode_magnitude(error)).unwrap();
            let kept = decode_value(encode_value(value, step).unwrap(), step);
            assert!((kept - value).abs() <= error / 31.0, "{value} {kept} {error}");
        }
        assert_eq!(value_step(0), None);
        assert_eq!(encode_value(1e300, 1e-12), None);
    }

    #[test]
    fn freedom_and_shares_are_kept_as_promised() {
        for freedom in [1.0, 3.4, 85.4, 1e4] {
            assert!((decode_freedom(encode_freedom(freedom)).unwrap() / freedom - 1.0).abs() < 0.095);
        }
        assert_eq!((decode_freedom(256), decode_share(241)), (None, None));
        for (some, of) in [(1.0, 3.0), (5.0, 12.0), (7.0, 10.0), (1.0, 1.0)] {
            assert!((decode_share(encode_share(some / of)).unwrap() - some / of).abs() < 1e-12);
        }
    }
}
