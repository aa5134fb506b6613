//! What the rest of a run is worth spending on.
//!
//! A mechanism whose interval is wider than wanted gets as many more rounds as it lacks by what its rounds scatter; one
//! that is known well enough gets none, and where time does not do for all, the dearest goes without. What is known
//! from the rounds so far decides about further ones; where intervals are to have a certain width and there are many
//! rounds, that leaves them as right as they say (Chow and Robbins, "On the Asymptotic Theory of Fixed-Width Sequential
//! Confidence Intervals for the Mean", 1965).

use crate::measure::work_parent::Allocation;

/// Half the width of a mechanism's interval that a run aims at, in percentage points: a little less than is promised,
/// for the rounds to come may scatter more than those that were.
pub(super) const TARGET_HALF_WIDTH: f64 = 0.175;
/// A mechanism whose interval is no wider than this, half, is left alone.
pub(super) const MAX_HALF_WIDTH: f64 = 0.185;

/// A kernel may be in a round several times, at as many places; a round has so many places altogether.
const MAX_PLACES: usize = 24;

/// What is lacked early in a run turns out to be less, for places even out over many rounds: so much more than the time
/// may be lacked before any goes without, as a part of how many times as much time is left as was spent.
const EARLY: f64 = 0.25;

/// Where there is time, up to so many times as much as is lacked: a worker's rounds have something in common. A
/// twentieth of the time is for all kernels.
const SPARE: f64 = 4.0;
const MOST: f64 = 0.95;

/// What a workload lacks.
pub(super) struct ExtraRounds {
    /// Its name.
    pub workload: String,
    /// What a round takes without any of them: `inline` and the pace. Any unit of time, the same for all.
    pub round: f64,
    /// The mechanisms that are known worse than wanted.
    pub kernels: Vec<KernelNeed>,
}

/// A mechanism that is known worse than wanted.
pub(super) struct KernelNeed {
    /// Its place among all kernels.
    pub index: usize,
    /// What one place of it takes of a round.
    pub place: f64,
    /// In how many rounds more it would have to be at one place.
    pub rounds: f64,
    /// The part of the variance between its rounds that all places of it in a round have in common.
    pub common: f64,
}

impl KernelNeed {
    /// The rounds that it lacks at so many places each.
    fn at(&self, places: usize) -> f64 {
        self.rounds * (self.common + (1.0 - self.common) / places as f64)
    }
}

impl ExtraRounds {
    /// The cheapest rounds that give all of its kernels what they lack, and what those take.
    fn share(&self) -> (Allocation, f64) {
        let mut places = vec![1; self.kernels.len()];
        let rounds = |places: &[usize]| {
            let each = self.kernels.iter().zip(places).map(|(kernel, places)| kernel.at(*places));
            each.fold(0.0, f64::max)
        };
        let takes = |places: &[usize]| {
            let columns = self.kernels.iter().zip(places).map(|(kernel, places)| kernel.place * *places as f64);
            rounds(places) * (self.round + columns.sum::<f64>())
        };
        let mut best = (takes(&places), places.clone());
        while places.iter().sum::<usize>() < MAX_PLACES {
            let wanting = |(_, (kernel, places)): &(usize, (&KernelNeed, &usize))| kernel.at(**places);
            let dearest = self.kernels.iter().zip(&places).enumerate();
            let Some((dearest, _)) = dearest.max_by(|one, other| wanting(one).total_cmp(&wanting(other))) else {
                break;
            };
            places[dearest] += 1;
            if takes(&places) < best.0 {
                best = (takes(&places), places.clone());
            }
        }
        let (takes, places) = best;
        let only = self.kernels.iter().zip(&places).flat_map(|(kernel, places)| vec![kernel.index; *places]);
        (Allocation { workload: self.workload.clone(), variants: only.collect(), rounds: rounds(&places) }, takes)
    }

    fn takes(&self) -> f64 {
        if self.kernels.is_empty() { 0.0 } else { self.share().1 }
    }

    /// Without one of its kernels.
    fn without(&self, at: usize) -> ExtraRounds {
        let others = self.kernels.iter().enumerate().filter(|(other, _)| *other != at);
        let kernels = others.map(|(_, kernel)| KernelNeed { ..*kernel }).collect();
        ExtraRounds { workload: self.workload.clone(), kernels, ..*self }
    }
}

/// Shares of what is `left` of a run, in times of what was `spent`, for as many kernels as it does for, and how much of
/// it they take, from 0 to 1. Where it would not do for any, all of it is for the cheapest.
pub(super) fn allocate_rounds(mut extra: Vec<ExtraRounds>, spent: f64, left: f64) -> (Vec<Allocation>, f64) {
    let time = left * spent;
    let most = time * (1.0 + EARLY * left);
    extra.retain(|extra| !extra.kernels.is_empty());
    let mut all: f64 = extra.iter().map(ExtraRounds::takes).sum();
    while all > most && extra.iter().map(|extra| extra.kernels.len()).sum::<usize>() > 1 {
        let single = extra
            .iter()
            .enumerate()
            .flat_map(|(at, extra)| (0..extra.kernels.len()).map(move |kernel| (at, extra.without(kernel))));
        let saved = |(at, less): &(usize, ExtraRounds)| extra[*at].takes() - less.takes();
        let Some((at, less)) = single.max_by(|one, other| saved(one).total_cmp(&saved(other))) else { break };
        extra[at] = less;
        extra.retain(|extra| !extra.kernels.is_empty());
        all = extra.iter().map(ExtraRounds::takes).sum();
    }
    let spare = if all > 0.0 { (MOST * time / all).clamp(1.0, SPARE) } else { 1.0 };
    let share = |extra: &ExtraRounds| {
        let share = extra.share().0;
        Allocation { rounds: spare * share.rounds, ..share }
    };
    (extra.iter().map(share).collect(), (spare * all / time).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacking(workload: &str, rounds: &[f64]) -> ExtraRounds {
        let kernel = |(index, rounds): (usize, &f64)| KernelNeed { index, place: 1.0, rounds: *rounds, common: 0.25 };
        let kernels = rounds.iter().enumerate().map(kernel);
        ExtraRounds { workload: workload.to_owned(), round: 8.0, kernels: kernels.collect() }
    }

    #[test]
    fn a_kernel_that_lacks_more_is_at_more_places_of_a_round() {
        let (shares, part) = allocate_rounds(vec![lacking("exec", &[100.0, 400.0])], 1e6, 1.0);
        assert!(part < 0.01, "{part}");
        let [Allocation { workload, variants: only, rounds }] = &shares[..] else { panic!("{shares:?}") };
        let times = |kernel| only.iter().filter(|other| **other == kernel).count();
        assert_eq!(workload, "exec");
        assert!(times(1) > 2 * times(0) && times(0) >= 1, "{only:?}");
        // What one place in each of 400 rounds would be, in far fewer; and that several times.
        assert!((100.0..250.0).contains(&(rounds / SPARE)), "{rounds}");
    }

    #[test]
    fn a_kernel_is_at_the_more_places_of_a_round_the_less_these_have_in_common() {
        let places = |common| {
            let mut extra = lacking("null_syscall", &[1000.0]);
            extra.kernels[0].common = common;
            allocate_rounds(vec![extra], 1e6, 1.0).0[0].variants.len()
        };
        assert!(places(0.05) > 2 * places(0.5), "{} {}", places(0.05), places(0.5));
        assert_eq!(places(1.0), 1);
    }

    #[test]
    fn what_would_take_more_than_the_time_goes_without_and_all_others_have_what_they_lack() {
        let three = || vec![lacking("exec", &[100.0]), lacking("fork_exit", &[50.0, 1e6]), lacking("none", &[])];
        let (shares, part) = allocate_rounds(three(), 1e4, 1.0);
        let names: Vec<_> = shares.iter().map(|share| (share.workload.as_str(), share.variants.contains(&1))).collect();
        assert_eq!(names, [("exec", false), ("fork_exit", false)]);
        assert!(part < 1.0);
        assert!(allocate_rounds(three(), 1e9, 1.0).0[1].variants.contains(&1), "there is time for it");
    }

    #[test]
    fn early_in_a_run_a_little_more_than_the_time_may_be_lacked() {
        let all = lacking("exec", &[1000.0]).takes() + lacking("fork_exit", &[900.0]).takes();
        let shares = |left: f64| {
            let both = vec![lacking("exec", &[1000.0]), lacking("fork_exit", &[900.0])];
            allocate_rounds(both, all / 1.3 / left, left).0.len()
        };
        assert_eq!((shares(2.0), shares(0.2)), (2, 1), "1.3 times what there is time for");
    }

    #[test]
    fn where_time_does_for_none_all_of_it_is_for_the_cheapest() {
        let (shares, part) =
            allocate_rounds(vec![lacking("exec", &[900.0]), lacking("fork_exit", &[700.0])], 10.0, 1.0);
        assert_eq!(shares.len(), 1);
        assert_eq!((shares[0].workload.as_str(), part), ("fork_exit", 1.0));
        assert_eq!(allocate_rounds(vec![lacking("exec", &[])], 10.0, 1.0), (Vec::new(), 0.0), "nothing lacks anything");
    }
}
