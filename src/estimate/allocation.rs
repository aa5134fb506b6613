//! The allocation of the remaining time of a run: extra rounds of workloads for mechanisms with too wide intervals.
//!
//! Each mechanism gets the rounds that its variance asks for, in the spirit of Neyman's allocation. A mechanism within
//! the target gets none. Where the time is too short for all, the most expensive ones are left out.
//!
//! The rounds so far decide on further rounds. For intervals of a fixed width and many rounds, this sequential rule
//! keeps the coverage (Chow and Robbins, "On the Asymptotic Theory of Fixed-Width Sequential Confidence Intervals for
//! the Mean", 1965).

use crate::measure::work_parent::Allocation;

/// Target half-width of a mechanism's interval, in percentage points. It lies a little below the promised 0.2, because
/// later rounds may scatter more than the rounds so far.
pub(super) const TARGET_HALF_WIDTH_POINTS: f64 = 0.175;
/// Largest half-width, in percentage points, of a mechanism that gets no extra rounds.
pub(super) const MAX_HALF_WIDTH_POINTS: f64 = 0.185;

/// Largest number of placements in a round, over all kernels. A kernel may have several placements in one round.
const MAX_PLACEMENTS_PER_ROUND: usize = 24;

/// Early estimates overstate the need, because placement effects average out over many rounds. The allocation may
/// therefore exceed the remaining time by this share times (time left / time spent), before kernels are left out.
const EARLY_OVERCOMMITMENT: f64 = 0.25;

/// Largest number of extra rounds as a multiple of the estimated need, where there is time. The estimate can be too
/// low, because the rounds of one worker share effects.
const MAX_ROUNDS_PER_NEED: f64 = 4.0;
/// Largest share of the remaining time for extra rounds, if they fit. The rest is for all kernels.
const MAX_SHARE_OF_TIME: f64 = 0.95;

/// The need of one workload for extra rounds.
pub(super) struct ExtraRounds {
    /// The workload's name.
    pub workload: String,
    /// Time of a round without these kernels: `inline` and the reference runs. The unit is the same for all workloads.
    pub round: f64,
    /// The mechanisms with too wide intervals.
    pub kernels: Vec<KernelNeed>,
}

/// The need of one mechanism whose interval is too wide.
pub(super) struct KernelNeed {
    /// Its index in the list of all kernels.
    pub index: usize,
    /// Time that one placement adds to a round.
    pub placement: f64,
    /// Extra rounds that it needs with one placement in each.
    pub rounds: f64,
    /// The share of the variance between its rounds that all its placements in a round have in common, 0 to 1.
    pub common: f64,
}

impl KernelNeed {
    /// The extra rounds with `placements` in each: n placements have the variance `common + (1 - common) / n`, relative
    /// to one.
    fn rounds_with(&self, placements: usize) -> f64 {
        self.rounds * (self.common + (1.0 - self.common) / placements as f64)
    }
}

impl ExtraRounds {
    /// The fastest rounds that bring all of its kernels to the target, and their time. A greedy search adds one
    /// placement at a time to the kernel that needs the most rounds.
    fn allocate(&self) -> (Allocation, f64) {
        let mut placements = vec![1; self.kernels.len()];
        let rounds = |placements: &[usize]| {
            let each = self.kernels.iter().zip(placements).map(|(kernel, count)| kernel.rounds_with(*count));
            each.fold(0.0, f64::max)
        };
        let time = |placements: &[usize]| {
            let added = self.kernels.iter().zip(placements).map(|(kernel, count)| kernel.placement * *count as f64);
            rounds(placements) * (self.round + added.sum::<f64>())
        };
        let mut best = (time(&placements), placements.clone());
        while placements.iter().sum::<usize>() < MAX_PLACEMENTS_PER_ROUND {
            let need = |(_, (kernel, count)): &(usize, (&KernelNeed, &usize))| kernel.rounds_with(**count);
            let kernels = self.kernels.iter().zip(&placements).enumerate();
            let Some((neediest, _)) = kernels.max_by(|one, other| need(one).total_cmp(&need(other))) else {
                break;
            };
            placements[neediest] += 1;
            if time(&placements) < best.0 {
                best = (time(&placements), placements.clone());
            }
        }
        let (time, placements) = best;
        let only = self.kernels.iter().zip(&placements).flat_map(|(kernel, count)| vec![kernel.index; *count]);
        (Allocation { workload: self.workload.clone(), variants: only.collect(), rounds: rounds(&placements) }, time)
    }

    /// The time of the extra rounds.
    fn time(&self) -> f64 {
        if self.kernels.is_empty() { 0.0 } else { self.allocate().1 }
    }

    /// The same need without the kernel at `index` of `kernels`.
    fn without_kernel(&self, index: usize) -> ExtraRounds {
        let others = self.kernels.iter().enumerate().filter(|(other, _)| *other != index);
        let kernels = others.map(|(_, kernel)| KernelNeed { ..*kernel }).collect();
        ExtraRounds { workload: self.workload.clone(), kernels, ..*self }
    }
}

/// Allocates the remaining time of a run, `left * spent`, to as many kernels as it suffices for. Returns the
/// allocations and their share of the remaining time, 0 to 1. If it suffices for none, the cheapest kernel gets all of
/// it.
pub(super) fn allocate_rounds(mut extra: Vec<ExtraRounds>, spent: f64, left: f64) -> (Vec<Allocation>, f64) {
    let time = left * spent;
    let max_time = time * (1.0 + EARLY_OVERCOMMITMENT * left);
    extra.retain(|extra| !extra.kernels.is_empty());
    let mut all: f64 = extra.iter().map(ExtraRounds::time).sum();
    while all > max_time && extra.iter().map(|extra| extra.kernels.len()).sum::<usize>() > 1 {
        let reduced = extra.iter().enumerate().flat_map(|(index, extra)| {
            (0..extra.kernels.len()).map(move |kernel| (index, extra.without_kernel(kernel)))
        });
        let saved = |(index, less): &(usize, ExtraRounds)| extra[*index].time() - less.time();
        let Some((index, less)) = reduced.max_by(|one, other| saved(one).total_cmp(&saved(other))) else { break };
        extra[index] = less;
        extra.retain(|extra| !extra.kernels.is_empty());
        all = extra.iter().map(ExtraRounds::time).sum();
    }
    let factor = if all > 0.0 { (MAX_SHARE_OF_TIME * time / all).clamp(1.0, MAX_ROUNDS_PER_NEED) } else { 1.0 };
    let allocate = |extra: &ExtraRounds| {
        let needed = extra.allocate().0;
        Allocation { rounds: factor * needed.rounds, ..needed }
    };
    (extra.iter().map(allocate).collect(), (factor * all / time).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extra_rounds(workload: &str, rounds: &[f64]) -> ExtraRounds {
        let kernel =
            |(index, rounds): (usize, &f64)| KernelNeed { index, placement: 1.0, rounds: *rounds, common: 0.25 };
        let kernels = rounds.iter().enumerate().map(kernel);
        ExtraRounds { workload: workload.to_owned(), round: 8.0, kernels: kernels.collect() }
    }

    #[test]
    fn a_kernel_with_a_greater_need_has_more_placements_in_a_round() {
        let (shares, part) = allocate_rounds(vec![extra_rounds("exec", &[100.0, 400.0])], 1e6, 1.0);
        assert!(part < 0.01, "{part}");
        let [Allocation { workload, variants: only, rounds }] = &shares[..] else { panic!("{shares:?}") };
        let times = |kernel| only.iter().filter(|other| **other == kernel).count();
        assert_eq!(workload, "exec");
        assert!(times(1) > 2 * times(0) && times(0) >= 1, "{only:?}");
        // Far fewer than the 400 rounds of one placement each, times the factor for spare time.
        assert!((100.0..250.0).contains(&(rounds / MAX_ROUNDS_PER_NEED)), "{rounds}");
    }

    #[test]
    fn a_kernel_has_more_placements_in_a_round_where_these_share_less_of_the_variance() {
        let placements = |common| {
            let mut extra = extra_rounds("null_syscall", &[1000.0]);
            extra.kernels[0].common = common;
            allocate_rounds(vec![extra], 1e6, 1.0).0[0].variants.len()
        };
        assert!(placements(0.05) > 2 * placements(0.5), "{} {}", placements(0.05), placements(0.5));
        assert_eq!(placements(1.0), 1);
    }

    #[test]
    fn a_kernel_that_exceeds_the_time_is_left_out_and_all_others_get_their_need() {
        let three =
            || vec![extra_rounds("exec", &[100.0]), extra_rounds("fork_exit", &[50.0, 1e6]), extra_rounds("none", &[])];
        let (shares, part) = allocate_rounds(three(), 1e4, 1.0);
        let names: Vec<_> = shares.iter().map(|share| (share.workload.as_str(), share.variants.contains(&1))).collect();
        assert_eq!(names, [("exec", false), ("fork_exit", false)]);
        assert!(part < 1.0);
        assert!(allocate_rounds(three(), 1e9, 1.0).0[1].variants.contains(&1), "the time suffices for it");
    }

    #[test]
    fn early_in_a_run_the_need_may_exceed_the_time() {
        let all = extra_rounds("exec", &[1000.0]).time() + extra_rounds("fork_exit", &[900.0]).time();
        let shares = |left: f64| {
            let both = vec![extra_rounds("exec", &[1000.0]), extra_rounds("fork_exit", &[900.0])];
            allocate_rounds(both, all / 1.3 / left, left).0.len()
        };
        assert_eq!((shares(2.0), shares(0.2)), (2, 1), "the need is 1.3 times the time");
    }

    #[test]
    fn the_cheapest_kernel_gets_all_of_a_time_that_suffices_for_none() {
        let (shares, part) =
            allocate_rounds(vec![extra_rounds("exec", &[900.0]), extra_rounds("fork_exit", &[700.0])], 10.0, 1.0);
        assert_eq!(shares.len(), 1);
        assert_eq!((shares[0].workload.as_str(), part), ("fork_exit", 1.0));
        assert_eq!(
            allocate_rounds(vec![extra_rounds("exec", &[])], 10.0, 1.0),
            (Vec::new(), 0.0),
            "no kernel needs extra rounds"
        );
    }
}
