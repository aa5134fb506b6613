//! The reduction of a worker's blocks of a workload: log-ratios between its kernels while the core was uncontended.
//!
//! A block is uncontended where its independent adds ran as fast as the core can, as for the blocks of loops. While a
//! guest on the sibling takes a part of the core, an indirection has another cost.

use std::collections::BTreeMap;

use crate::measure::samples::{Block, Column, HALVES, Pair, Parts, WorkloadSamples};
use crate::measure::variant::Variant;
use crate::stats::location::median;
use crate::workload::PARTS;

use super::{MIN_WORKERS, min_adds_per_cycle};

/// One worker's estimates for one workload.
pub(super) struct WorkerBlocks {
    /// Time of a unit with `inline`, in ticks.
    pub inline_ticks: f64,
    /// The same in core cycles.
    pub inline_cycles: f64,
    /// Number of uncontended blocks.
    pub blocks: usize,
    /// Log-ratios to the reference, one per block and placement, of every other variant that was measured.
    pub log_ratios: BTreeMap<Variant, Vec<f64>>,
    /// Log-ratios between all pairs of placements of `inline`, in both halves of each block.
    pub inline_pairs: Vec<[f64; HALVES]>,
    /// Logarithms of the time of a part with `inline`, one per block.
    pub log_times: Vec<f64>,
}

/// A worker's runs in its uncontended blocks: for each column and block the log times of the parts, in the order of
/// time; `None` for a block without the kernel.
struct Runs<'a> {
    units: u64,
    blocks: Vec<&'a Block<Parts>>,
    kernels: Vec<(Variant, Vec<Option<LogTimes>>)>,
}

/// The log times of a kernel's runs in a block, by half and part.
type LogTimes = [[f64; PARTS]; HALVES];

/// Whether a variant is `inline` in any form.
fn is_inline(variant: Variant) -> bool {
    variant.treatment().is_none()
}

impl<'a> Runs<'a> {
    /// The runs in blocks with at least `min_adds` per cycle.
    fn from_samples(samples: &'a WorkloadSamples, min_adds: f64) -> Self {
        let blocks: Vec<&Block<Parts>> =
            samples.table.blocks.iter().filter(|block| block.adds_per_cycle() >= min_adds).collect();
        let logs = |pair: Pair<Parts>| pair.map(|run| run.map(|ticks| f64::from(ticks.max(1.0)).ln()));
        let kernel = |(variant, column): (Variant, Column<Parts>)| {
            (variant, blocks.iter().map(|block| column.pair_in(block).map(logs)).collect())
        };
        let kernels = samples.table.columns().map(kernel).collect();
        Runs { units: samples.units, blocks, kernels }
    }

    /// The placements of `inline`.
    fn inline(&self) -> impl Iterator<Item = &(Variant, Vec<Option<LogTimes>>)> {
        self.kernels.iter().filter(|(variant, _)| is_inline(*variant))
    }

    /// The placements of `inline` that all other kernels are compared with: all but the repeat.
    fn reference(&self) -> impl Iterator<Item = &Vec<Option<LogTimes>>> {
        self.inline().filter(|(variant, _)| *variant != Variant::Repeat).map(|(_, logs)| logs)
    }

    /// The log-ratios of a kernel to the others, one per block; each block has new placements and new work. A block's
    /// log-ratio is the median over pairs of runs that are neighbours and do the same work. For equal kernels its sign
    /// is symmetric, whatever disturbs the runs.
    fn block_log_ratios(kernel: &[Option<LogTimes>], others: &[&Vec<Option<LogTimes>>]) -> Vec<f64> {
        let block = |block: usize| {
            let own = kernel[block].as_ref()?;
            let differences = others
                .iter()
                .filter_map(|other| other[block].as_ref())
                .flat_map(|other| own.as_flattened().iter().zip(other.as_flattened()).map(|(own, other)| own - other));
            median(&differences.collect::<Vec<_>>())
        };
        (0..kernel.len()).filter_map(block).collect()
    }

    /// The log-ratio of a kernel to another in both halves of each block.
    fn half_log_ratios<'k>(
        kernel: &'k [Option<LogTimes>],
        other: &'k [Option<LogTimes>],
    ) -> impl Iterator<Item = [f64; HALVES]> {
        kernel.iter().zip(other).filter_map(|(own, other)| {
            let (own, other) = (own.as_ref()?, other.as_ref()?);
            let half = |half: usize| median(&std::array::from_fn::<f64, PARTS, _>(|i| own[half][i] - other[half][i]));
            Some([half(0)?, half(1)?])
        })
    }

    /// Reduces this worker's blocks; `None` without a block.
    fn reduce(&self) -> Option<WorkerBlocks> {
        // The time of each part: the median over halves and placements.
        let part = |part: usize| {
            let halves = self.reference().flatten().flatten().flatten();
            median(&halves.map(|half| half[part]).collect::<Vec<_>>()).map(f64::exp)
        };
        let ticks = (0..PARTS).map(part).sum::<Option<f64>>()? / (self.units * PARTS as u64) as f64;
        let rates: Vec<f64> = self.blocks.iter().flat_map(|block| block.ticks_per_cycle()).collect();
        let mut log_ratios: BTreeMap<Variant, Vec<f64>> = BTreeMap::new();
        for (variant, kernel) in self.kernels.iter().filter(|(variant, _)| *variant != Variant::Reference) {
            let others: Vec<_> = self.reference().filter(|other| !std::ptr::eq(*other, kernel)).collect();
            // A kernel that is listed several times has as many placements in a block.
            log_ratios.entry(*variant).or_default().extend(Self::block_log_ratios(kernel, &others));
        }
        let pairs = self.inline().enumerate().flat_map(|(i, one)| self.inline().skip(i + 1).map(move |two| (one, two)));
        let log_time = |block: usize| {
            let halves = self.reference().filter_map(|kernel| kernel[block].as_ref()).flatten();
            let times: Vec<f64> = halves.map(|half| half.iter().sum::<f64>() / PARTS as f64).collect();
            median(&times)
        };
        Some(WorkerBlocks {
            inline_ticks: ticks,
            inline_cycles: ticks / median(&rates)?,
            blocks: self.blocks.len(),
            log_ratios,
            inline_pairs: pairs.flat_map(|((_, one), (_, other))| Self::half_log_ratios(one, other)).collect(),
            log_times: (0..self.blocks.len()).filter_map(log_time).collect(),
        })
    }
}

/// The estimates of the workers with uncontended blocks, from these blocks; those of all workers from all blocks where
/// fewer than [`MIN_WORKERS`] have any.
pub(super) fn reduce_uncontended(samples: &[(usize, WorkloadSamples)]) -> Vec<WorkerBlocks> {
    let blocks = samples.iter().flat_map(|(_, samples)| &samples.table.blocks);
    let adds_per_cycle: Vec<f64> = blocks.map(Block::adds_per_cycle).filter(|adds| adds.is_finite()).collect();
    let reduce = |min_adds: f64| -> Vec<WorkerBlocks> {
        samples.iter().filter_map(|(_, samples)| Runs::from_samples(samples, min_adds).reduce()).collect()
    };
    let uncontended = reduce(min_adds_per_cycle(&adds_per_cycle));
    if uncontended.len() >= MIN_WORKERS { uncontended } else { reduce(0.0) }
}
