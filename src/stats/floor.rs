//! The floor: what a comparison of a thing with itself shows on this machine, in this run.

use super::location::sorted;

/// One in this many A/A comparisons may lie outside of the floor: 95% lie inside.
const OUTSIDE_ONE_IN: usize = 20;

/// What at least 95% of the A/A comparisons of a run stay inside, both ways. Nothing below it is a difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// In core cycles per op.
    pub cycles: f64,
    /// As a relative difference, `|a / b - 1|`.
    pub ratio: f64,
    /// How many A/A comparisons it was taken from.
    pub groups: usize,
}

/// The floor of a run from the A/A comparisons of all its groups: signed differences in core cycles per op, and natural
/// logarithms of the ratios, group by group.
///
/// Both bounds are the size of one of the comparisons, the least that leaves at most 5% of them outside, never a value
/// interpolated below it. With fewer than 20 groups that is the greatest. `None` without groups, if the two lists differ
/// in length, or if a value is not finite.
pub fn floor(aa_cycles: &[f64], aa_log_ratios: &[f64]) -> Option<Floor> {
    if aa_cycles.len() != aa_log_ratios.len() {
        return None;
    }
    let cycles: Vec<f64> = aa_cycles.iter().map(|c| c.abs()).collect();
    let ratios: Vec<f64> = aa_log_ratios.iter().map(|l| l.exp_m1().abs()).collect();
    Some(Floor { cycles: bound(&cycles)?, ratio: bound(&ratios)?, groups: aa_cycles.len() })
}

/// The least of the values that at least 95% of them do not exceed.
fn bound(sizes: &[f64]) -> Option<f64> {
    let sorted = sorted(sizes)?;
    let outside = sorted.len() / OUTSIDE_ONE_IN;
    sorted.get(sorted.len() - 1 - outside).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_groups_give_the_greatest() {
        let floor = floor(&[0.001, -0.03, 0.002], &[0.0, -0.2, 0.1]).unwrap();
        assert_eq!(floor.cycles, 0.03);
        // exp(-0.2) is nearer to 1 than exp(0.2); both are further than exp(0.1).
        assert!((floor.ratio - (1.0 - (-0.2f64).exp())).abs() < 1e-15);
        assert_eq!(floor.groups, 3);
    }

    #[test]
    fn one_in_twenty_may_lie_outside_and_no_more() {
        let cycles: Vec<f64> = (1..=40).map(f64::from).collect();
        let zeros = |n: usize| vec![0.0; n];
        assert_eq!(floor(&cycles[..19], &zeros(19)).unwrap().cycles, 19.0);
        assert_eq!(floor(&cycles[..20], &zeros(20)).unwrap().cycles, 19.0);
        assert_eq!(floor(&cycles[..39], &zeros(39)).unwrap().cycles, 38.0);
        assert_eq!(floor(&cycles, &zeros(40)).unwrap().cycles, 38.0);
    }

    #[test]
    fn no_floor_from_nothing_or_from_what_was_not_measured() {
        assert_eq!(floor(&[], &[]), None);
        assert_eq!(floor(&[0.1], &[]), None);
        assert_eq!(floor(&[f64::NAN], &[0.1]), None);
        assert_eq!(floor(&[0.1], &[1e9]), None);
    }
}
