//! The floor: the bound that 95% of the A/A comparisons of a run stay within.

use super::location::sorted;

/// One in this many A/A comparisons may exceed the floor, so at least 95% lie within. At half the value 90% would, at
/// twice the value 97.5%.
const COMPARISONS_PER_EXCEEDANCE: usize = 20;

/// The bound on the absolute differences of at least 95% of the A/A comparisons of a run. A smaller overhead is not a
/// difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// In core cycles per op.
    pub cycles: f64,
    /// As a relative difference, `|a / b - 1|`.
    pub ratio: f64,
    /// Number of A/A comparisons behind it.
    pub comparisons: usize,
}

/// The floor of a run from all its A/A comparisons: signed differences in core cycles per op, and natural logarithms of
/// the ratios, in the same order.
///
/// Both bounds are order statistics of the absolute differences: the least value that at most 5% of them exceed,
/// without interpolation. With fewer than 20 comparisons this is the greatest. `None` without comparisons, if the two
/// lists differ in length, or if a value is not finite.
pub fn floor(aa_cycles: &[f64], aa_log_ratios: &[f64]) -> Option<Floor> {
    if aa_cycles.len() != aa_log_ratios.len() {
        return None;
    }
    let cycles: Vec<f64> = aa_cycles.iter().map(|c| c.abs()).collect();
    let ratios: Vec<f64> = aa_log_ratios.iter().map(|l| l.exp_m1().abs()).collect();
    Some(Floor { cycles: upper_bound(&cycles)?, ratio: upper_bound(&ratios)?, comparisons: aa_cycles.len() })
}

/// Least number of A/A comparisons for a floor of a part of a run, such as one regime. The next of `n` comparisons
/// exceeds the greatest with probability `1 / (n + 1)`: one in eleven here, one in six with half as many. With twice as
/// many, a run of twelve ops would judge its cells in throughput by the floor of its flushed ones.
pub const MIN_COMPARISONS: usize = 10;

/// The floor of a part of a run, such as one regime: its own with [`MIN_COMPARISONS`] comparisons or more. With fewer
/// it is the greater of its own floor and the floor of the run: a few small differences do not show that the part has
/// less noise, but one great difference shows that it has more.
pub fn part_floor(part: Floor, whole: Floor) -> Floor {
    if part.comparisons >= MIN_COMPARISONS {
        return part;
    }
    Floor { cycles: part.cycles.max(whole.cycles), ratio: part.ratio.max(whole.ratio), comparisons: part.comparisons }
}

/// The least of the values that at most 5% of them exceed.
fn upper_bound(sizes: &[f64]) -> Option<f64> {
    let sorted = sorted(sizes)?;
    let outside = sorted.len() / COMPARISONS_PER_EXCEEDANCE;
    sorted.get(sorted.len() - 1 - outside).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_of_few_comparisons_is_the_greatest_difference() {
        let floor = floor(&[0.001, -0.03, 0.002], &[0.0, -0.2, 0.1]).unwrap();
        assert_eq!(floor.cycles, 0.03);
        // exp(-0.2) is nearer to 1 than exp(0.2); both are further than exp(0.1).
        assert!((floor.ratio - (1.0 - (-0.2f64).exp())).abs() < 1e-15);
        assert_eq!(floor.comparisons, 3);
    }

    #[test]
    fn at_most_one_comparison_in_twenty_exceeds_the_floor() {
        let cycles: Vec<f64> = (1..=40).map(f64::from).collect();
        let zeros = |n: usize| vec![0.0; n];
        assert_eq!(floor(&cycles[..19], &zeros(19)).unwrap().cycles, 19.0);
        assert_eq!(floor(&cycles[..20], &zeros(20)).unwrap().cycles, 19.0);
        assert_eq!(floor(&cycles[..39], &zeros(39)).unwrap().cycles, 38.0);
        assert_eq!(floor(&cycles, &zeros(40)).unwrap().cycles, 38.0);
    }

    #[test]
    fn a_part_with_few_comparisons_has_at_least_the_floor_of_the_run_and_one_with_enough_has_its_own() {
        let floor = |cycles: f64, comparisons: usize| Floor { cycles, ratio: cycles / 2.0, comparisons };
        let whole = floor(0.1, 300);
        assert_eq!(part_floor(floor(0.001, 10), whole), floor(0.001, 10));
        assert_eq!(part_floor(floor(0.001, 9), whole), floor(0.1, 9), "a smaller floor by chance");
        assert_eq!(part_floor(floor(6.0, 4), whole), floor(6.0, 4), "more noise than the run");
        assert_eq!(part_floor(floor(6.0, 50), whole), floor(6.0, 50));
    }

    #[test]
    fn missing_or_invalid_comparisons_have_no_floor() {
        assert_eq!(floor(&[], &[]), None);
        assert_eq!(floor(&[0.1], &[]), None);
        assert_eq!(floor(&[f64::NAN], &[0.1]), None);
        assert_eq!(floor(&[0.1], &[1e9]), None);
    }
}
