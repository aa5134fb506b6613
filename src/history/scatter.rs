//! The scatter between runs: robust, and shared among cells that have too few runs to know their own.
//!
//! It comes from the differences between runs that follow each other, while neither instructions nor bytes changed.
//! Runs of one commit are replicates; where each commit was measured once, most commits leave most cells alone, and
//! the median of the differences ignores those that do not.

/// Runs whose differences a pooled scatter counts as, in each cell: a cell with as many of its own has half of the say.
pub const POOLED_RUNS: f64 = 6.0;

/// Degrees of freedom from which the scatter of a mechanism in a regime counts as known. Below, it is learning.
pub const MIN_DEGREES_OF_FREEDOM: f64 = 30.0;

/// Runs from which a series counts as known.
pub const MIN_RUNS: usize = 5;

/// Standard deviation of a normal variable per median absolute deviation.
const PER_MAD: f64 = 1.4826;

/// Returns the median; `None` of nothing. Sorts the values.
#[must_use]
pub fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let half = values.len() / 2;
    let (_, &mut upper, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = values[..half].iter().copied().max_by(f64::total_cmp).unwrap_or(upper);
    Some(f64::midpoint(lower, upper))
}

/// Returns the standard deviation between the values that the differences of neighbours show; `None` of less than two.
///
/// Half of the differences decide, so that steps and single outliers do not count. Differences that are mostly zero
/// leave nothing of a scatter: their mean size then stands for it.
#[must_use]
pub fn between_neighbours(values: &[f64]) -> Option<f64> {
    let mut differences: Vec<f64> = values.windows(2).map(|it| (it[1] - it[0]).abs()).collect();
    let median = median(&mut differences)?;
    Some(median * PER_MAD / std::f64::consts::SQRT_2)
}

/// Returns the scatter of a cell: its own, moderated by that of cells of its kind.
#[must_use]
pub fn moderate(own: Option<f64>, runs: usize, pooled: f64) -> f64 {
    let Some(own) = own else { return pooled };
    let runs = runs.saturating_sub(1) as f64;
    ((POOLED_RUNS * pooled * pooled + runs * own * own) / (POOLED_RUNS + runs)).sqrt()
}

/// Returns the logarithm of the probability that at least `after_high` of `after` values, and at most `before_high` of
/// `before`, lie on one side of a bound, if all values are exchangeable: Fisher's exact test, for one side.
///
/// It holds whatever the distribution is, so that two modes that alternate are no step.
#[must_use]
pub fn ln_exchangeable(before_high: usize, before: usize, after_high: usize, after: usize) -> f64 {
    let high = before_high + after_high;
    let total = ln_choose(before + after, high);
    let mut sum = 0.0;
    for count in after_high..=after.min(high) {
        if high - count <= before {
            sum += (ln_choose(after, count) + ln_choose(before, high - count) - total).exp();
        }
    }
    sum.ln()
}

/// The logarithm of the binomial coefficient.
fn ln_choose(of: usize, choose: usize) -> f64 {
    let choose = choose.min(of - choose);
    (0..choose).map(|i| ((of - i) as f64 / (i + 1) as f64).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_and_an_outlier_leave_the_scatter_alone() {
        let quiet = [0.0, 0.1, 0.0, -0.1, 0.0, 0.1, 0.2, 0.1];
        let known = between_neighbours(&quiet).unwrap();
        let step: Vec<f64> = quiet.iter().enumerate().map(|(i, it)| if i < 4 { *it } else { it + 50.0 }).collect();
        assert!((between_neighbours(&step).unwrap() / known - 1.0).abs() < 0.01);
        assert_eq!(between_neighbours(&[1.0]), None);
    }

    #[test]
    fn a_cell_with_few_runs_has_the_scatter_of_its_kind() {
        assert!((moderate(None, 0, 0.5) - 0.5).abs() < 1e-12);
        assert!(moderate(Some(0.0), 2, 0.5) > 0.4);
        assert!(moderate(Some(0.0), 60, 0.5) < 0.2);
    }

    #[test]
    fn complete_separation_has_the_probability_of_one_order_among_all() {
        assert!((ln_exchangeable(0, 8, 8, 8) - (1.0f64 / 12870.0).ln()).abs() < 1e-9);
        assert!(ln_exchangeable(4, 8, 4, 8) > -0.6);
        assert!(ln_exchangeable(0, 0, 0, 0).abs() < 1e-12);
    }
}
