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
/// interpolated below it. With fewer than 20 groups that is the greatest. `None` without groups, if the two lists
/// differ in length, or if a value is not finite.
pub fn floor(aa_cycles: &[f64], aa_log_ratios: &[f64]) -> Option<Floor> {
    if aa_cycles.len() != aa_log_ratios.len() {
        return None;
    }
    let cycles: Vec<f64> = aa_cycles.iter().map(|c| c.abs()).collect();
    let ratios: Vec<f64> = aa_log_ratios.iter().map(|l| l.exp_m1().abs()).collect();
    Some(Floor { cycles: bound(&cycles)?, ratio: bound(&ratios)?, groups: aa_cycles.len() })
}

/// Fewer A/A comparisons than this say too little about a part of a run: of `n` the next one exceeds the greatest with
/// probability 1 / (n + 1), here in one of eleven. With half as many it would in one of six. With twice as many a run
/// of twelve ops would hold its loops in throughput against the floor of its flushed ones.
pub const MIN_GROUPS: usize = 10;

/// The floor of a part of the groups of a run, for example of one regime: its own where it has [`MIN_GROUPS`] groups or
/// more. With fewer it is the greater of its own and that of the whole run: the few are no sign that the part is
/// quieter than the rest, and the greatest of them is one that it is noisier.
pub fn of_part(part: Floor, whole: Floor) -> Floor {
    if part.groups >= MIN_GROUPS {
        return part;
    }
    Floor { cycles: part.cycles.max(whole.cycles), ratio: part.ratio.max(whole.ratio), groups: part.groups }
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
    fn a_part_of_few_groups_is_never_quieter_than_the_run_and_one_of_enough_has_a_floor_of_its_own() {
        let of = |cycles: f64, groups: usize| Floor { cycles, ratio: cycles / 2.0, groups };
        let whole = of(0.1, 300);
        assert_eq!(of_part(of(0.001, 10), whole), of(0.001, 10));
        assert_eq!(of_part(of(0.001, 9), whole), of(0.1, 9), "quieter by chance");
        assert_eq!(of_part(of(6.0, 4), whole), of(6.0, 4), "noisier than the run");
        assert_eq!(of_part(of(6.0, 50), whole), of(6.0, 50));
    }

    #[test]
    fn no_floor_from_nothing_or_from_what_was_not_measured() {
        assert_eq!(floor(&[], &[]), None);
        assert_eq!(floor(&[0.1], &[]), None);
        assert_eq!(floor(&[f64::NAN], &[0.1]), None);
        assert_eq!(floor(&[0.1], &[1e9]), None);
    }
}
