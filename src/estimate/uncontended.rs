//! The reduction of a worker's rounds of a workload: log-ratios between its kernels while the core was uncontended.

use std::collections::BTreeMap;

use crate::measure::samples::{Column, HALVES, Pair, Parts, Probe, WorkloadSamples};
use crate::measure::variant::Variant;
use crate::stats::location::{median, quantile};
use crate::workload::PARTS;

use super::MIN_WORKERS;

/// One worker's estimates for one workload.
pub(super) struct WorkerBlocks {
    /// Time of a unit with `inline`, in ticks.
    pub inline_ticks: f64,
    /// The same in core cycles.
    pub inline_cycles: f64,
    /// Number of blocks with an uncontended half.
    pub blocks: usize,
    /// Log-ratios to the reference, one per block and placement, of every other variant that was measured.
    pub log_ratios: BTreeMap<Variant, Vec<f64>>,
    /// Log-ratios between all pairs of placements of `inline`, in both halves of each uncontended block.
    pub inline_pairs: Vec<[f64; HALVES]>,
    /// Logarithms of the time of a part with `inline`, one per block with an uncontended half.
    pub log_times: Vec<f64>,
}

/// A worker's runs: for each column and block the log times of the parts, in the order of time; `None` for a block
/// without the kernel.
struct Runs<'a> {
    samples: &'a WorkloadSamples,
    kernels: Vec<(Variant, Vec<Option<LogTimes>>)>,
}

/// The log times of a kernel's runs in a block, by half and part.
type LogTimes = [[f64; PARTS]; HALVES];

/// Whether each half of a block was uncontended.
type Uncontended = [bool; HALVES];

/// Whether a variant is `inline` in any form.
fn is_inline(variant: Variant) -> bool {
    variant.treatment().is_none()
}

impl<'a> Runs<'a> {
    fn from_samples(samples: &'a WorkloadSamples) -> Self {
        let logs = |pair: Pair<Parts>| pair.map(logarithms);
        let kernel = |(variant, column): (Variant, Column<Parts>)| {
            (variant, column.pairs().map(|pair| pair.map(logs)).collect())
        };
        Runs { samples, kernels: samples.table.columns().map(kernel).collect() }
    }

    /// The placements of `inline`.
    fn inline(&self) -> impl Iterator<Item = &(Variant, Vec<Option<LogTimes>>)> {
        self.kernels.iter().filter(|(variant, _)| is_inline(*variant))
    }

    /// The placements of `inline` that all other kernels are compared with: all but the repeat.
    fn reference(&self) -> impl Iterator<Item = &Vec<Option<LogTimes>>> {
        self.inline().filter(|(variant, _)| *variant != Variant::Repeat).map(|(_, logs)| logs)
    }

    /// The log-ratios of a kernel to the others, one per block with an uncontended half; each block has new placements
    /// and new work. A block's log-ratio is the median over pairs of runs that are neighbours and do the same work. For
    /// equal kernels its sign is symmetric, whatever disturbs the runs.
    fn block_log_ratios(
        kernel: &[Option<LogTimes>],
        others: &[&Vec<Option<LogTimes>>],
        uncontended: &[Uncontended],
    ) -> Vec<f64> {
        let block = |block: usize| {
            let own = kernel[block].as_ref()?;
            let differences = others.iter().filter_map(|other| other[block].as_ref()).flat_map(|other| {
                let halves = own.iter().zip(other).zip(uncontended[block]).filter(|(_, uncontended)| *uncontended);
                halves.flat_map(|((own, other), _)| own.iter().zip(other).map(|(own, other)| own - other))
            });
            median(&differences.collect::<Vec<_>>())
        };
        (0..kernel.len()).filter_map(block).collect()
    }

    /// The log-ratio of a kernel to another in both halves of each uncontended block.
    fn half_log_ratios<'k>(
        kernel: &'k [Option<LogTimes>],
        other: &'k [Option<LogTimes>],
        uncontended: &'k [Uncontended],
    ) -> impl Iterator<Item = [f64; HALVES]> {
        let blocks =
            kernel.iter().zip(other).zip(uncontended).filter(|(_, uncontended)| **uncontended == [true; HALVES]);
        blocks.filter_map(|((own, other), _)| {
            let (own, other) = (own.as_ref()?, other.as_ref()?);
            let half = |half: usize| median(&std::array::from_fn::<f64, PARTS, _>(|i| own[half][i] - other[half][i]));
            Some([half(0)?, half(1)?])
        })
    }

    /// Reduces this worker's uncontended halves; `None` without an uncontended half.
    fn reduce(&self, uncontended: &[Uncontended]) -> Option<WorkerBlocks> {
        let samples = self.samples;
        // The time of each part: the median over uncontended halves and placements.
        let part = |part: usize| {
            let blocks = self.reference().flat_map(|kernel| kernel.iter().zip(uncontended));
            let logs = blocks.flat_map(|(logs, uncontended)| {
                logs.iter()
                    .flatten()
                    .zip(uncontended)
                    .filter(|(_, uncontended)| **uncontended)
                    .map(|(half, _)| half[part])
            });
            median(&logs.collect::<Vec<_>>()).map(f64::exp)
        };
        let ticks = (0..PARTS).map(part).sum::<Option<f64>>()? / (samples.units * PARTS as u64) as f64;
        let rates: Vec<f64> = samples.table.blocks.iter().flat_map(|block| block.ticks_per_cycle()).collect();
        let mut log_ratios: BTreeMap<Variant, Vec<f64>> = BTreeMap::new();
        for (variant, kernel) in self.kernels.iter().filter(|(variant, _)| *variant != Variant::Reference) {
            let others: Vec<_> = self.reference().filter(|other| !std::ptr::eq(*other, kernel)).collect();
            // A kernel that is listed several times has as many placements in a block.
            let ratios = Self::block_log_ratios(kernel, &others, uncontended);
            log_ratios.entry(*variant).or_default().extend(ratios);
        }
        let pairs = self.inline().enumerate().flat_map(|(i, one)| self.inline().skip(i + 1).map(move |two| (one, two)));
        let inline_pairs =
            pairs.flat_map(|((_, one), (_, other))| Self::half_log_ratios(one, other, uncontended)).collect();
        let log_time = |block: usize| {
            let uncontended = |half: &usize| uncontended[block][*half];
            let runs = self.reference().filter_map(|kernel| kernel[block].as_ref());
            let halves =
                runs.flat_map(|logs| (0..HALVES).filter(uncontended).map(|half| logs[half].iter().sum::<f64>()));
            median(&halves.collect::<Vec<_>>()).map(|sum| sum / PARTS as f64)
        };
        let log_times: Vec<f64> = (0..uncontended.len()).filter_map(log_time).collect();
        let blocks = uncontended.iter().filter(|halves| halves.contains(&true)).count();
        Some(WorkerBlocks {
            inline_ticks: ticks,
            inline_cycles: ticks / median(&rates)?,
            blocks,
            log_ratios,
            inline_pairs,
            log_times,
        })
    }
}

fn logarithms(ticks: Parts) -> [f64; PARTS] {
    ticks.map(|ticks| f64::from(ticks.max(1.0)).ln())
}

/// Quantile of the core probes that is taken as uncontended.
const UNCONTENDED_QUANTILE: f64 = 0.1;
/// Largest slowdown of the core probes before and after an uncontended half, as a ratio to their uncontended time.
/// Beyond it the half had only a part of the core, and there an indirection has another cost. A guest on the sibling,
/// for example, takes a third of the core. The contents of caches at the start of a run also move the reference run by
/// some percent.
const MAX_SLOWDOWN: f64 = 1.1;
/// Least number of uncontended halves of a worker that counts.
const MIN_UNCONTENDED_HALVES: usize = HALVES;

/// Log times of a core probe before, between and after the halves of a block. The probes are the reference run and a
/// timing of independent adds.
type ProbeTimes = [f64; HALVES + 1];

/// The log slowdown of the reference runs: the median over parts of their log time minus the median log time of the
/// part.
fn reference_run_slowdowns(samples: &[&WorkloadSamples]) -> Vec<Vec<ProbeTimes>> {
    let blocks = samples.iter().flat_map(|samples| &samples.table.blocks);
    let runs = blocks.flat_map(|block| &block.probes).filter_map(|probe| probe.reference_run.map(logarithms));
    let runs: Vec<[f64; PARTS]> = runs.collect();
    let part = |part: usize| median(&runs.iter().map(|run| run[part]).collect::<Vec<_>>()).unwrap_or(0.0);
    let typical: [f64; PARTS] = std::array::from_fn(part);
    by_probe(samples, |probe| {
        let run = probe.reference_run.map(logarithms)?;
        median(&run.into_iter().zip(typical).map(|(log, typical)| log - typical).collect::<Vec<_>>())
    })
}

/// The log times of the independent adds.
fn add_log_times(samples: &[&WorkloadSamples]) -> Vec<Vec<ProbeTimes>> {
    by_probe(samples, |probe| Some(probe.ticks_per_add.ln()))
}

/// A log time of each probe, by worker and block. A block that lacks one counts as contended.
fn by_probe(samples: &[&WorkloadSamples], log_time: impl Fn(&Probe<Parts>) -> Option<f64>) -> Vec<Vec<ProbeTimes>> {
    let time = |probe: Option<&Probe<Parts>>| probe.and_then(&log_time).unwrap_or(f64::INFINITY);
    let worker = |samples: &&WorkloadSamples| {
        let blocks = samples.table.blocks.iter();
        blocks.map(|block| std::array::from_fn(|nth| time(block.probes.get(nth)))).collect()
    };
    samples.iter().map(worker).collect()
}

/// The halves of each worker's blocks whose probes before and after are not slower than [`MAX_SLOWDOWN`] allows.
fn find_uncontended(probes: &[Vec<ProbeTimes>]) -> Vec<Vec<Uncontended>> {
    let slower =
        |probes: &ProbeTimes| -> [f64; HALVES] { std::array::from_fn(|half| probes[half].max(probes[half + 1])) };
    let halves: Vec<f64> = probes.iter().flatten().flat_map(slower).collect();
    let max_log_time = quantile(&halves, UNCONTENDED_QUANTILE).map_or(f64::INFINITY, |clear| clear + MAX_SLOWDOWN.ln());
    probes
        .iter()
        .map(|worker| worker.iter().map(|probes| slower(probes).map(|log_time| log_time <= max_log_time)).collect())
        .collect()
}

/// The estimates of the uncontended workers, from their uncontended halves; those of all workers from all halves where
/// fewer than [`MIN_WORKERS`] are uncontended.
pub(super) fn reduce_uncontended(samples: &[(usize, WorkloadSamples)]) -> Vec<WorkerBlocks> {
    let samples: Vec<&WorkloadSamples> = samples.iter().map(|(_, samples)| samples).collect();
    let both = |(runs, adds): (&Uncontended, &Uncontended)| -> Uncontended {
        std::array::from_fn(|half| runs[half] && adds[half])
    };
    let by_runs = find_uncontended(&reference_run_slowdowns(&samples));
    let by_adds = find_uncontended(&add_log_times(&samples));
    let uncontended: Vec<Vec<Uncontended>> =
        by_runs.iter().zip(&by_adds).map(|(runs, adds)| runs.iter().zip(adds).map(both).collect()).collect();
    let counts = |uncontended: &[Uncontended]| {
        uncontended.as_flattened().iter().filter(|uncontended| **uncontended).count()
            >= MIN_UNCONTENDED_HALVES.min(uncontended.len() * HALVES)
    };
    let workers = samples.iter().zip(&uncontended);
    if uncontended.iter().filter(|uncontended| counts(uncontended)).count() < MIN_WORKERS {
        let all = |uncontended: &[Uncontended]| vec![[true; HALVES]; uncontended.len()];
        return workers
            .filter_map(|(samples, uncontended)| Runs::from_samples(samples).reduce(&all(uncontended)))
            .collect();
    }
    let kept = workers.filter(|(_, uncontended)| counts(uncontended));
    kept.filter_map(|(samples, uncontended)| Runs::from_samples(samples).reduce(uncontended)).collect()
}
