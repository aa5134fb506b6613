//! Multiplicity: judging many cells at a family-wise error.
//!
//! Of a hundred cells without any overhead, five would seem to have one at 95% each. The confidence of a single cell is
//! therefore raised until the whole family has the requested error.

/// The confidence that each of `cells` intervals needs so that all hold together with probability `1 - family_alpha`:
/// `(1 - family_alpha)^(1 / cells)` (Sidak 1967). It is exact for independent cells and conservative for positively
/// dependent ones.
///
/// `family_alpha` is clamped to 0 to 1, so the result is too. Zero cells count as one.
pub fn confidence_for(cells: usize, family_alpha: f64) -> f64 {
    let alpha = if family_alpha.is_nan() { 0.0 } else { family_alpha.clamp(0.0, 1.0) };
    ((-alpha).ln_1p() / cells.max(1) as f64).exp()
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
}
