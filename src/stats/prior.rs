//! The usual scatter of workers in a regime, and the moderation of a single cell's scatter by it.
//!
//! The variance of five or six workers is uncertain by a factor of two. Thousands of cells of the same regime tell how
//! much workers usually scatter there, so the two are averaged by their degrees of freedom (as by limma: Smyth, "Linear
//! Models and Empirical Bayes Methods", 2004). The usual scatter is a median over cells, so that cells with placement
//! modes do not raise it, and a cell whose workers scatter far more than usual keeps its own scatter.

use super::location::median;

/// Least number of variances that the usual one comes from. With fewer, every cell has its own.
const MIN_VARIANCES: usize = 10;

/// Degrees of freedom that the usual variance counts as. At half of it small samples have wide intervals; at twice of
/// it a cell with more scatter than usual would have too narrow ones.
const PRIOR_FREEDOM: f64 = 6.0;

/// Ratio to the usual variance beyond which a cell keeps its own: the 95% quantile of the ratio for six workers.
const MAX_RATIO: f64 = 5.0;

/// The variance of a single worker, relative to the squared scale of its cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RelativeVariance {
    /// The variance over the squared scale.
    pub variance: f64,
    /// Its degrees of freedom.
    pub degrees_of_freedom: f64,
}

/// The usual relative variance; `None` with fewer than ten, or if one is not finite.
///
/// It is the median over cells. The median of a variance with n degrees of freedom is smaller than its mean by about
/// `(1 - 2 / 9n)^3` (Wilson and Hilferty 1931).
#[must_use]
pub fn usual_variance(variances: &[RelativeVariance]) -> Option<f64> {
    let unbiased: Vec<f64> =
        variances.iter().map(|one| one.variance / (1.0 - 2.0 / (9.0 * one.degrees_of_freedom)).powi(3)).collect();
    if unbiased.len() < MIN_VARIANCES { None } else { median(&unbiased) }
}

/// A variance moderated by the usual one, with its degrees of freedom.
#[must_use]
pub fn moderate(variance: f64, degrees_of_freedom: f64, usual: Option<f64>) -> (f64, f64) {
    match usual {
        Some(usual) if variance <= MAX_RATIO * usual => {
            let freedom = PRIOR_FREEDOM + degrees_of_freedom;
            ((PRIOR_FREEDOM * usual + degrees_of_freedom * variance) / freedom, freedom)
        }
        _ => (variance, degrees_of_freedom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_variance_is_unbiased_and_ignores_cells_with_modes() {
        let of = |variance| RelativeVariance { variance, degrees_of_freedom: 5.0 };
        let mut variances = vec![of(2.0); 15];
        let usual = usual_variance(&variances).unwrap();
        assert!((usual - 2.0 / (1.0f64 - 2.0 / 45.0).powi(3)).abs() < 1e-12);
        variances.extend([of(1e6); 5]);
        assert_eq!(usual_variance(&variances), Some(usual));
        assert_eq!(usual_variance(&variances[..9]), None, "too few");
        assert_eq!(usual_variance(&[of(f64::NAN); 20]), None);
    }

    #[test]
    fn a_variance_moves_towards_the_usual_one_unless_it_is_far_larger() {
        assert_eq!(moderate(1.0, 6.0, Some(3.0)), (2.0, 12.0));
        assert_eq!(moderate(0.0, 2.0, Some(4.0)), (3.0, 8.0));
        assert_eq!(moderate(16.0, 6.0, Some(3.0)), (16.0, 6.0));
        assert_eq!(moderate(16.0, 6.0, None), (16.0, 6.0));
    }
}
