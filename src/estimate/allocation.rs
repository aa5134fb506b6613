//! The allocation of the remaining time of a run: extra blocks of workloads for mechanisms with too wide intervals.
//!
//! Each mechanism gets the blocks that its variance asks for, in the spirit of Neyman's allocation. A mechanism within
//! the target gets none. Where the time is too short for all, the most expensive ones are left out.
//!
//! The mechanisms of a workload share its blocks, and so its runs of `inline`. Blocks of their own would bring fewer of
//! them to the target: 394 instead of 428 at ten checkpoints of five recorded runs, 67 instead of 91 at those of the
//! shortest run.
//!
//! The blocks so far decide on further blocks. For intervals of a fixed width and many blocks, this sequential rule
//! keeps the coverage (Chow and Robbins, "On the Asymptotic Theory of Fixed-Width Sequential Confidence Intervals for
//! the Mean", 1965).

use crate::measure::variant::TreatmentId;

/// Extra blocks of a workload, for kernels whose intervals are wider than their target.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// Name of the workload.
    pub workload: String,
    /// The kernels; one that is repeated gets as many placements in a block.
    pub treatments: Vec<TreatmentId>,
    /// Blocks, over all workers to come.
    pub blocks: f64,
}

/// Target half-width of a mechanism's interval, in percentage points. It lies a little below the promised 0.2, because
/// later blocks may scatter more than the blocks so far.
pub(super) const TARGET_HALF_WIDTH_POINTS: f64 = 0.175;
/// Largest half-width, in percentage points, of a mechanism that gets no extra blocks.
pub(super) const MAX_HALF_WIDTH_POINTS: f64 = 0.185;

/// Largest number of placements in a block, over all kernels. A kernel may have several placements in one block.
const MAX_PLACEMENTS_PER_BLOCK: usize = 24;

/// Early estimates overstate the need, because placement effects average out over many blocks. The allocation may
/// therefore exceed the remaining time by this share times (time left / time spent), before kernels are left out.
const EARLY_OVERCOMMITMENT: f64 = 0.25;

/// Largest number of extra blocks as a multiple of the estimated need, where there is time. The estimate can be too
/// low, because the blocks of one worker share effects.
const MAX_BLOCKS_PER_NEED: f64 = 4.0;
/// Largest share of the remaining time for extra blocks, if they fit. The rest is for all kernels.
const MAX_SHARE_OF_TIME: f64 = 0.95;

/// The need of one workload for extra blocks.
pub(super) struct ExtraBlocks {
    /// The workload's name.
    pub workload: String,
    /// Time of a block without these kernels: `inline` and the reference runs. The unit is the same for all workloads.
    pub block: f64,
    /// The mechanisms with too wide intervals.
    pub kernels: Vec<KernelNeed>,
}

/// The need of one mechanism whose interval is too wide.
#[derive(Clone, Copy)]
pub(super) struct KernelNeed {
    /// Its key.
    pub treatment: TreatmentId,
    /// Time that one placement adds to a block.
    pub placement: f64,
    /// Extra blocks that it needs with one placement in each.
    pub blocks: f64,
    /// The share of the variance between its blocks that all its placements in a block have in common, 0 to 1.
    pub common: f64,
}

impl KernelNeed {
    /// The extra blocks with `placements` in each: n placements have the variance `common + (1 - common) / n`, relative
    /// to one.
    fn blocks_with(&self, placements: usize) -> f64 {
        self.blocks * (self.common + (1.0 - self.common) / placements as f64)
    }
}

impl ExtraBlocks {
    /// The fastest blocks that bring all of its kernels to the target, and their time. A greedy search adds one
    /// placement at a time to the kernel that needs the most blocks.
    fn allocate(&self) -> (Allocation, f64) {
        let mut placements = vec![1; self.kernels.len()];
        let blocks = |placements: &[usize]| {
            let each = self.kernels.iter().zip(placements).map(|(kernel, count)| kernel.blocks_with(*count));
            each.fold(0.0, f64::max)
        };
        let time = |placements: &[usize]| {
            let added = self.kernels.iter().zip(placements).map(|(kernel, count)| kernel.placement * *count as f64);
            blocks(placements) * (self.block + added.sum::<f64>())
        };
        let mut best = (time(&placements), placements.clone());
        while placements.iter().sum::<usize>() < MAX_PLACEMENTS_PER_BLOCK {
            let need = |(_, (kernel, count)): &(usize, (&KernelNeed, &usize))| kernel.blocks_with(**count);
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
        let treatments =
            self.kernels.iter().zip(&placements).flat_map(|(kernel, count)| vec![kernel.treatment; *count]);
        (
            Allocation {
                workload: self.workload.clone(),
                treatments: treatments.collect(),
                blocks: blocks(&placements),
            },
            time,
        )
    }

    /// The time of the extra blocks.
    fn time(&self) -> f64 {
        if self.kernels.is_empty() { 0.0 } else { self.allocate().1 }
    }

    /// The time of the extra blocks if only this kernel needed them.
    fn time_alone(&self, kernel: &KernelNeed) -> f64 {
        ExtraBlocks { workload: String::new(), block: self.block, kernels: vec![*kernel] }.time()
    }
}

/// Leaves out the kernel that takes the longest alone.
fn leave_out_dearest(extra: &mut [ExtraBlocks]) {
    let kernels = extra.iter().enumerate().flat_map(|(workload, extra)| {
        extra.kernels.iter().enumerate().map(move |(index, kernel)| (workload, index, extra.time_alone(kernel)))
    });
    if let Some((workload, kernel, _)) = kernels.max_by(|one, other| one.2.total_cmp(&other.2)) {
        extra[workload].kernels.remove(kernel);
    }
}

/// Allocates the remaining time of a run, `left * spent`, to as many kernels as it suffices for. Returns the
/// allocations and their share of the remaining time, 0 to 1. If it suffices for none, the cheapest kernel gets all of
/// it.
pub(super) fn allocate_blocks(mut extra: Vec<ExtraBlocks>, spent: f64, left: f64) -> (Vec<Allocation>, f64) {
    let time = left * spent;
    let max_time = time * (1.0 + EARLY_OVERCOMMITMENT * left);
    let total = |extra: &[ExtraBlocks]| extra.iter().map(ExtraBlocks::time).sum::<f64>();
    while total(&extra) > max_time && extra.iter().map(|extra| extra.kernels.len()).sum::<usize>() > 1 {
        leave_out_dearest(&mut extra);
    }
    extra.retain(|extra| !extra.kernels.is_empty());
    let all = total(&extra);
    let factor = if all > 0.0 { (MAX_SHARE_OF_TIME * time / all).clamp(1.0, MAX_BLOCKS_PER_NEED) } else { 1.0 };
    let allocate = |extra: &ExtraBlocks| {
        let needed = extra.allocate().0;
        Allocation { blocks: factor * needed.blocks, ..needed }
    };
    (extra.iter().map(allocate).collect(), (factor * all / time).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::variant::{Treatment, Treatments};

    fn kernels() -> [TreatmentId; 2] {
        let mut treatments = Treatments::default();
        ["audit", "seccomp"].map(|option| treatments.add(Treatment::Option(option.to_owned())))
    }

    fn extra_blocks(workload: &str, blocks: &[f64]) -> ExtraBlocks {
        let kernel = |(treatment, blocks): (TreatmentId, &f64)| KernelNeed {
            treatment,
            placement: 1.0,
            blocks: *blocks,
            common: 0.25,
        };
        let kernels = kernels().into_iter().zip(blocks).map(kernel);
        ExtraBlocks { workload: workload.to_owned(), block: 8.0, kernels: kernels.collect() }
    }

    #[test]
    fn a_kernel_with_a_greater_need_has_more_placements_in_a_round() {
        let (shares, part) = allocate_blocks(vec![extra_blocks("exec", &[100.0, 400.0])], 1e6, 1.0);
        assert!(part < 0.01, "{part}");
        let [Allocation { workload, treatments, blocks }] = &shares[..] else { panic!("{shares:?}") };
        let times = |kernel| treatments.iter().filter(|other| **other == kernels()[kernel]).count();
        assert_eq!(workload, "exec");
        assert!(times(1) > 2 * times(0) && times(0) >= 1, "{treatments:?}");
        // Far fewer than the 400 blocks of one placement each, times the factor for spare time.
        assert!((100.0..250.0).contains(&(blocks / MAX_BLOCKS_PER_NEED)), "{blocks}");
    }

    #[test]
    fn a_kernel_has_more_placements_in_a_round_where_these_share_less_of_the_variance() {
        let placements = |common| {
            let mut extra = extra_blocks("null_syscall", &[1000.0]);
            extra.kernels[0].common = common;
            allocate_blocks(vec![extra], 1e6, 1.0).0[0].treatments.len()
        };
        assert!(placements(0.05) > 2 * placements(0.5), "{} {}", placements(0.05), placements(0.5));
        assert_eq!(placements(1.0), 1);
    }

    #[test]
    fn a_kernel_that_exceeds_the_time_is_left_out_and_all_others_get_their_need() {
        let three =
            || vec![extra_blocks("exec", &[100.0]), extra_blocks("fork_exit", &[50.0, 1e6]), extra_blocks("none", &[])];
        let (shares, part) = allocate_blocks(three(), 1e4, 1.0);
        let names: Vec<_> =
            shares.iter().map(|share| (share.workload.as_str(), share.treatments.contains(&kernels()[1]))).collect();
        assert_eq!(names, [("exec", false), ("fork_exit", false)]);
        assert!(part < 1.0);
        assert!(allocate_blocks(three(), 1e9, 1.0).0[1].treatments.contains(&kernels()[1]), "the time suffices for it");
    }

    #[test]
    fn early_in_a_run_the_need_may_exceed_the_time() {
        let all = extra_blocks("exec", &[1000.0]).time() + extra_blocks("fork_exit", &[900.0]).time();
        let shares = |left: f64| {
            let both = vec![extra_blocks("exec", &[1000.0]), extra_blocks("fork_exit", &[900.0])];
            allocate_blocks(both, all / 1.3 / left, left).0.len()
        };
        assert_eq!((shares(2.0), shares(0.2)), (2, 1), "the need is 1.3 times the time");
    }

    #[test]
    fn the_cheapest_kernel_gets_all_of_a_time_that_suffices_for_none() {
        let (shares, part) =
            allocate_blocks(vec![extra_blocks("exec", &[900.0]), extra_blocks("fork_exit", &[700.0])], 10.0, 1.0);
        assert_eq!(shares.len(), 1);
        assert_eq!((shares[0].workload.as_str(), part), ("fork_exit", 1.0));
        assert_eq!(
            allocate_blocks(vec![extra_blocks("exec", &[])], 10.0, 1.0),
            (Vec::new(), 0.0),
            "no kernel needs extra blocks"
        );
    }
}
