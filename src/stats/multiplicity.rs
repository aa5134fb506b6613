//! Multiplicity: judging many cells at a family-wise error.
//!
//! Of a hundred cells without any overhead, five would seem to have one at 95% each. The confidence of a single cell is
//! therefore raised until the whole family has the requested error.

pub use super::student::t_quantile;

/// The confidence that each of `cells` intervals needs so that all hold together with probability `1 - family_alpha`:
/// `(1 - family_alpha)^(1 / cells)` (Sidak 1967). It is exact for independent cells and conservative for positively
/// dependent ones.
///
/// `family_alpha` is clamped to 0 to 1, so the result is too. Zero cells count as one.
pub fn confidence_for(cells: usize, family_alpha: f64) -> f64 {
    let alpha = if family_alpha.is_nan() { 0.0 } else { family_alpha.clamp(0.0, 1.0) };
    ((-alpha).ln_1p() / cells.max(1) as f64).exp()
}

/// Holm's step-down procedure (1979): for each p-value in `p`, in the given order, whether its hypothesis is rejected
/// at family-wise error `alpha`. It needs no independence.
///
/// A p-value that is not a number rejects nothing, and still counts as a hypothesis.
pub fn holm(p: &[f64], alpha: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    let rank = |i: usize| if p[i].is_nan() { f64::INFINITY } else { p[i] };
    order.sort_by(|&a, &b| rank(a).total_cmp(&rank(b)));
    let mut rejected = vec![false; p.len()];
    for (step, &i) in order.iter().enumerate() {
        if rank(i) * (p.len() - step) as f64 > alpha || alpha.is_nan() {
            break;
        }
        rejected[i] = true;
    }
    rejected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cell_has_the_confidence_of_the_family() {
        assert!((confidence_for(1, 0.05) - 0.95).abs() < 1e-15);
        assert!((confidence_for(0, 0.05) - 0.95).abs() < 1e-15);
    }

    #[test]
    fn independent_cells_hold_together_at_the_confidence_of_the_family() {
        for cells in [2, 10, 120, 5000] {
            let all = confidence_for(cells, 0.05).powf(cells as f64);
            assert!((all - 0.95).abs() < 1e-10, "{cells}: {all}");
        }
    }

    #[test]
    fn a_level_out_of_range_is_clamped() {
        assert_eq!(confidence_for(3, -1.0), 1.0);
        assert_eq!(confidence_for(3, 2.0), 0.0);
        assert_eq!(confidence_for(3, f64::NAN), 1.0);
    }

    #[test]
    fn holm_stops_at_the_first_p_value_above_its_bound() {
        // The bounds at 0.05 are 0.0125, 0.0167, 0.025 and 0.05. The third p-value exceeds its bound, so the fourth is
        // not rejected either, although it lies within its own.
        assert_eq!(holm(&[0.045, 0.01, 0.03, 0.015], 0.05), [false, true, false, true]);
        assert_eq!(holm(&[0.02, 0.02], 0.05), [true, true]);
        assert_eq!(holm(&[0.03, 0.03], 0.05), [false, false]);
        assert_eq!(holm(&[], 0.05), [] as [bool; 0]);
    }

    #[test]
    fn a_p_value_that_is_not_a_number_rejects_nothing_and_still_counts() {
        assert_eq!(holm(&[f64::NAN, 0.03], 0.05), [false, false]);
        assert_eq!(holm(&[-f64::NAN, 0.02], 0.05), [false, true]);
        assert_eq!(holm(&[0.0], f64::NAN), [false]);
    }
}
