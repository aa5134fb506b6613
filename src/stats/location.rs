//! Median, quantiles, and the median absolute deviation.

/// Standard deviation of normal data per median absolute deviation: `1 / z(3/4)`, with z the normal quantile.
const NORMAL_SD_PER_MAD: f64 = 1.4826;

/// The median; the mean of the two middle values where their number is even. `None` without values, or if one is not
/// finite.
pub fn median(values: &[f64]) -> Option<f64> {
    sorted(values).map(|sorted| median_of_sorted(&sorted))
}

/// The median absolute deviation from the median, times 1.4826: an estimate of the standard deviation of normal data,
/// in the unit of the values. `None` without values, or if a value or a deviation is not finite.
pub fn mad(values: &[f64]) -> Option<f64> {
    let middle = median(values)?;
    let deviations: Vec<f64> = values.iter().map(|v| (v - middle).abs()).collect();
    median(&deviations).map(|deviation| deviation * NORMAL_SD_PER_MAD)
}

/// The quantile at `q` from 0 to 1, interpolated between neighbours (type 7 of Hyndman and Fan 1996: `q` = 0 gives the
/// least value and 1 the greatest). `None` without values, if one is not finite, or for a `q` out of range.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    if !(0.0..=1.0).contains(&q) {
        return None;
    }
    let sorted = sorted(values)?;
    let position = q * (sorted.len() - 1) as f64;
    let below = sorted[position.floor() as usize];
    let above = sorted[position.ceil() as usize];
    Some(between(below, above, position.fract()))
}

/// The values in ascending order. `None` without values, or if one is not finite.
pub(super) fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() || values.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    Some(sorted)
}

/// The median of at least one value in ascending order.
pub(super) fn median_of_sorted(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    sorted[(n - 1) / 2].midpoint(sorted[n / 2])
}

/// Linear interpolation at `fraction` of the way from `below` to `above`. The result lies between the two and is finite
/// where they are.
pub(super) fn between(below: f64, above: f64, fraction: f64) -> f64 {
    (below * (1.0 - fraction) + above * fraction).clamp(below, above)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_of_values_is_the_mean_of_the_two_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
    }

    #[test]
    fn one_outlier_does_not_move_the_median() {
        assert_eq!(median(&[3.74, 3.74, 3.75, 3.74, 7.66]), Some(3.74));
    }

    #[test]
    fn an_empty_list_or_a_value_that_is_not_finite_has_no_location() {
        for bad in [&[][..], &[1.0, f64::NAN], &[f64::INFINITY]] {
            assert_eq!(median(bad), None);
            assert_eq!(mad(bad), None);
            assert_eq!(quantile(bad, 0.5), None);
        }
        for q in [-0.01, 1.01, f64::NAN] {
            assert_eq!(quantile(&[1.0, 2.0], q), None);
        }
    }

    #[test]
    fn the_median_absolute_deviation_is_scaled_to_a_standard_deviation() {
        // The deviations from the median 3 are 2, 1, 0, 1, 2.
        assert_eq!(mad(&[1.0, 2.0, 3.0, 4.0, 5.0]), Some(1.4826));
        assert_eq!(mad(&[5.0, 5.0, 5.0]), Some(0.0));
    }

    #[test]
    fn quantiles_are_of_type_seven() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&values, 0.0), Some(1.0));
        assert_eq!(quantile(&values, 0.25), Some(1.75));
        assert_eq!(quantile(&values, 0.5), Some(2.5));
        assert_eq!(quantile(&values, 1.0), Some(4.0));
    }

    #[test]
    fn values_at_the_ends_of_the_range_do_not_overflow() {
        let ends = [f64::MIN, f64::MAX];
        assert_eq!(median(&ends), Some(0.0));
        assert_eq!(quantile(&ends, 0.5), Some(0.0));
        assert_eq!(median(&[f64::MAX, f64::MAX]), Some(f64::MAX));
    }
}
