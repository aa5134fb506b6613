//! The mean over the blocks of a workload, with an influence for each worker.
//!
//! # Why a mean
//!
//! A loop keeps its addresses for the life of a worker, so all its blocks share one placement. There the estimate is a
//! median over workers. A workload draws new placements in every block, so its blocks scatter about the truth as
//! workers do. A mean over all blocks then needs half as many as a median for the same width: the median of normal
//! values has pi / 2 times the variance of their mean.
//!
//! # Outliers
//!
//! A worker whose median block lies far from those of the others is left out. Of the blocks that remain, the outermost
//! `TAIL_SHARE` at each end is left out: the trimmed mean of Tukey and McLaughlin, "Less Vulnerable Confidence and
//! Significance Procedures for Location" (1963).
//!
//! # The controls
//!
//! The values of blocks are skewed: some placements are much slower than most, few are much faster. A trimmed mean of
//! skewed values has a bias. The copies of `inline` have the same skew and a true overhead of zero, so
//! [`BlockMean::against`] subtracts their mean, as a control variate does (Hammersley and Handscomb, "Monte Carlo
//! Methods", 1964). Without it, 51% of the 95% intervals of copies excluded zero in five default runs.
//!
//! # The standard error
//!
//! The blocks of one worker may share an effect, so workers are the clusters. With `n_i` blocks in worker i, its weight
//! is `w_i = n_i / sum(n)`: blocks differ far more from each other than workers do, and workers need not have equally
//! many. The influence `G_i` of a worker is its weight times the deviation of its winsorised mean, over the share of
//! the blocks that count. The variance is `sum(G_i^2 / (1 - w_i))`. The divisor `1 - w_i` removes the bias where blocks
//! share nothing (Bell and McCaffrey, "Bias Reduction in Standard Errors for Linear Regression with Multi-Stage
//! Samples", 2002). The influence of a worker on the controls is subtracted from its influence on the kernel, so
//! effects that both share cancel.

use std::f64::consts::PI;

use super::location::{mad, median, sorted};
use super::measured::Measured;

/// Share of the blocks that is left out at each end. Disturbances reach fewer blocks than this. At half the value the
/// intervals of five default runs are 5% wider; at twice it more of the slow placements are left out, which belong to
/// the overhead.
const TAIL_SHARE: f64 = 0.05;
/// Largest distance of a worker's median block from the median over workers, in standard deviations by [`mad`]. At half
/// the value undisturbed workers are left out; at twice it one disturbed worker widens the interval of all others.
const MAX_WORKER_DEVIATIONS: f64 = 5.0;
/// Least number of workers per worker that is left out. With half as many the interval would rest on few workers.
const WORKERS_PER_OUTLIER: usize = 6;

/// The blocks of all workers, reduced to their mean.
#[derive(Clone, Debug)]
pub struct BlockMean {
    /// The trimmed mean.
    mean: f64,
    /// Every worker's part in it, zero for a worker without blocks.
    parts: Vec<Part>,
    /// The variance of the winsorised blocks over the squared share of the blocks that count.
    block_variance: f64,
}

/// The part of a worker in a mean.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// Its share of the blocks, 0 to 1.
    share: f64,
    /// The shift of the mean that it causes.
    influence: f64,
}

impl BlockMean {
    /// The mean over the blocks of all workers; a worker has the same index in all means. Values that are not finite
    /// are left out. `None` for fewer than two workers with values.
    #[must_use]
    pub fn from_workers(workers: &[&[f64]]) -> Option<Self> {
        let finite = |values: &&[f64]| values.iter().copied().filter(|value| value.is_finite()).collect();
        let mut workers: Vec<Vec<f64>> = workers.iter().map(finite).collect();
        for outlier in find_outliers(&workers) {
            workers[outlier].clear();
        }
        if workers.iter().filter(|values| !values.is_empty()).count() < 2 {
            return None;
        }
        let blocks = workers.concat();
        let tails = Tails::of(&blocks)?;
        let inner: Vec<f64> = blocks.iter().copied().filter(|value| tails.winsorise(*value) == *value).collect();
        let inner_share = inner.len() as f64 / blocks.len() as f64;
        let winsorised_mean = mean(blocks.iter().map(|value| tails.winsorise(*value)));
        let part = |values: &Vec<f64>| {
            if values.is_empty() {
                return Part::default();
            }
            let share = values.len() as f64 / blocks.len() as f64;
            let deviation = mean(values.iter().map(|value| tails.winsorise(*value))) - winsorised_mean;
            Part { share, influence: share * deviation / inner_share }
        };
        let squares = blocks.iter().map(|value| (tails.winsorise(*value) - winsorised_mean).powi(2));
        Some(BlockMean {
            mean: mean(inner.into_iter()),
            parts: workers.iter().map(part).collect(),
            block_variance: mean(squares) / inner_share.powi(2),
        })
    }

    /// The mean minus that of the controls, which have the same skew and a true value of zero. Without controls it is
    /// the mean itself.
    #[must_use]
    pub fn against(&self, controls: &[&BlockMean]) -> Measured {
        let control = |part: &dyn Fn(&BlockMean) -> f64| {
            if controls.is_empty() { 0.0 } else { mean(controls.iter().map(|control| part(control))) }
        };
        let variance = self.parts.iter().enumerate().map(|(worker, part)| {
            let of_controls = control(&|other| other.parts.get(worker).map_or(0.0, |part| part.influence));
            (part.influence - of_controls).powi(2) / (1.0 - part.share)
        });
        Measured {
            value: self.mean - control(&|other| other.mean),
            standard_error: variance.sum::<f64>().sqrt(),
            degrees_of_freedom: self.degrees_of_freedom(),
        }
    }

    /// `(sum w^2)^2 / sum w^4 - 1`, at least 1: the number of equal workers that would give the variance as precisely,
    /// if all blocks of a worker were alike.
    fn degrees_of_freedom(&self) -> f64 {
        let power = |exponent| self.parts.iter().map(|part| part.share.powi(exponent)).sum::<f64>();
        (power(2).powi(2) / power(4) - 1.0).max(1.0)
    }

    /// The variance of one block.
    #[must_use]
    pub fn block_variance(&self) -> f64 {
        self.block_variance
    }

    /// The number of independent blocks that would give this mean as precisely. `None` where no worker differs.
    #[must_use]
    pub fn effective_blocks(&self) -> Option<f64> {
        let variance = self.against(&[]).standard_error.powi(2);
        (variance > 0.0).then_some(self.block_variance / variance)
    }
}

/// The workers whose median block lies more than [`MAX_WORKER_DEVIATIONS`] from the others', farthest first, at most
/// one in [`WORKERS_PER_OUTLIER`]. A deviation is that between workers, or that which the blocks within workers let
/// expect, whichever is greater: where most workers share one cost, [`mad`] measures only the scatter around it.
fn find_outliers(workers: &[Vec<f64>]) -> Vec<usize> {
    let medians: Vec<(usize, f64)> =
        workers.iter().enumerate().filter_map(|(index, values)| Some((index, median(values)?))).collect();
    let values: Vec<f64> = medians.iter().map(|(_, value)| *value).collect();
    let (Some(middle), Some(between)) = (median(&values), mad(&values)) else { return Vec::new() };
    let within = variance_within(workers);
    let is_outlier = |(index, distance): &(usize, f64)| {
        let expected = (PI / 2.0 * within / workers[*index].len() as f64).sqrt();
        let deviation = between.max(expected);
        deviation > 0.0 && *distance > MAX_WORKER_DEVIATIONS * deviation
    };
    let distances = medians.into_iter().map(|(index, value)| (index, (value - middle).abs()));
    let mut outliers: Vec<(usize, f64)> = distances.filter(is_outlier).collect();
    outliers.sort_by(|one, other| other.1.total_cmp(&one.1));
    outliers.into_iter().take(values.len() / WORKERS_PER_OUTLIER).map(|(index, _)| index).collect()
}

/// The variance of winsorised blocks around the mean of their worker; 0 where no worker has two.
fn variance_within(workers: &[Vec<f64>]) -> f64 {
    let Some(tails) = Tails::of(&workers.concat()) else { return 0.0 };
    let squares = |values: &Vec<f64>| {
        let center = mean(values.iter().map(|value| tails.winsorise(*value)));
        values.iter().map(|value| (tails.winsorise(*value) - center).powi(2)).sum::<f64>()
    };
    let with_blocks = || workers.iter().filter(|values| !values.is_empty());
    let freedom: usize = with_blocks().map(|values| values.len() - 1).sum();
    if freedom == 0 { 0.0 } else { with_blocks().map(squares).sum::<f64>() / freedom as f64 }
}

/// The blocks between the tails: the least and the greatest that count.
struct Tails {
    low: f64,
    high: f64,
}

impl Tails {
    fn of(blocks: &[f64]) -> Option<Self> {
        let blocks = sorted(blocks)?;
        let last = blocks.len() - 1;
        let tail = ((TAIL_SHARE * last as f64).ceil() as usize).min(last / 2);
        Some(Tails { low: blocks[tail], high: blocks[last - tail] })
    }

    fn winsorise(&self, value: f64) -> f64 {
        value.clamp(self.low, self.high)
    }
}

/// The mean of at least one value.
fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;
    use crate::stats::Interval;
    use crate::stats::binomial::allowed;

    const TRUTH: f64 = 4.0;

    fn normal(rng: &mut Pcg64Mcg) -> f64 {
        (0..12).map(|_| rng.random_range(-0.5..0.5)).sum()
    }

    fn block_mean(workers: &[Vec<f64>]) -> Option<BlockMean> {
        BlockMean::from_workers(&workers.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// The 95% interval of the mean without controls.
    fn interval(workers: &[Vec<f64>]) -> Interval {
        block_mean(workers).unwrap().against(&[]).interval(0.95).unwrap()
    }

    /// Blocks of `workers` that share an effect of size `common`; one in twenty is an outlier on either side. The first
    /// half of the workers has eight blocks, the second half `later`.
    fn draw_blocks(rng: &mut Pcg64Mcg, workers: usize, common: f64, later: usize) -> Vec<Vec<f64>> {
        let worker = |rng: &mut Pcg64Mcg, blocks: usize| {
            let shared = common * normal(rng);
            let block = |rng: &mut Pcg64Mcg| {
                let outlier = if rng.random_bool(0.05) { 20.0 } else { 1.0 };
                TRUTH + shared + outlier * normal(rng)
            };
            (0..blocks).map(|_| block(rng)).collect()
        };
        (0..workers).map(|number| worker(rng, if number < workers / 2 { 8 } else { later })).collect()
    }

    #[test]
    fn the_interval_covers_the_truth_at_its_confidence_with_outliers_and_effects_of_workers() {
        let mut rng = Pcg64Mcg::seed_from_u64(1);
        for common in [0.0, 0.5, 2.0] {
            for (workers, later) in [(4, 8), (20, 8), (20, 2), (20, 40), (60, 40)] {
                const TRIES: u32 = 2000;
                let misses = |rng: &mut Pcg64Mcg| {
                    u32::from(!interval(&draw_blocks(rng, workers, common, later)).contains(TRUTH))
                };
                let missed: u32 = (0..TRIES).map(|_| misses(&mut rng)).sum();
                assert!(missed <= allowed(TRIES, 0.05, 1e-4), "{common} {workers} {later}: {missed} of {TRIES}");
                assert!(missed > TRIES / 50, "{common} {workers} {later}: needlessly wide, {missed} of {TRIES} missed");
            }
        }
    }

    #[test]
    fn the_interval_covers_the_truth_where_a_few_workers_have_most_of_the_blocks() {
        const TRIES: u32 = 500;
        let mut rng = Pcg64Mcg::seed_from_u64(5);
        let mut misses = 0;
        for _ in 0..TRIES {
            let mut workers = draw_blocks(&mut rng, 200, 0.3, 8);
            workers.truncate(100);
            workers.extend(draw_blocks(&mut rng, 40, 0.3, 400).drain(20..));
            misses += u32::from(!interval(&workers).contains(TRUTH));
        }
        assert!(misses <= allowed(TRIES, 0.05, 1e-3), "{misses} of {TRIES}");
    }

    #[test]
    fn a_worker_with_more_blocks_has_more_weight() {
        let total_width = |later| {
            let mut rng = Pcg64Mcg::seed_from_u64(3);
            (0..200).map(|_| interval(&draw_blocks(&mut rng, 40, 0.0, later)).width()).sum::<f64>()
        };
        // 960 blocks instead of 320 give 0.58 of the width. With equal weights of workers it would be 0.77.
        let ratio = total_width(40) / total_width(8);
        assert!((0.52..0.66).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_burst_in_one_worker_moves_the_mean_by_at_most_its_weight() {
        let mut rng = Pcg64Mcg::seed_from_u64(2);
        let mut workers = draw_blocks(&mut rng, 20, 0.0, 8);
        let before = interval(&workers).estimate;
        workers[3] = vec![1e6; 8];
        let after = interval(&workers).estimate;
        assert!((after - before).abs() < 3.0 / 20.0, "{before} became {after}");
    }

    #[test]
    fn the_mean_of_three_costs_is_theirs_but_for_the_tails_whether_or_not_half_of_the_blocks_have_the_middle_one() {
        let mut rng = Pcg64Mcg::seed_from_u64(4);
        for middle in [0.46, 0.49, 0.51, 0.54] {
            // The costs of `spinlock` behind the table without retpolines: each of two functions lies well or badly
            // within a cache line.
            let (low, high) = (0.87 - middle, 0.13);
            let block = |rng: &mut Pcg64Mcg| {
                let drawn: f64 = rng.random_range(0.0..1.0);
                let cost = if drawn < low {
                    64.0
                } else if drawn < low + middle {
                    71.0
                } else {
                    78.0
                };
                cost + 0.1 * normal(rng)
            };
            let workers: Vec<Vec<f64>> = (0..400).map(|_| (0..8).map(|_| block(&mut rng)).collect()).collect();
            let truth = 64.0 * low + 71.0 * middle + 78.0 * high;
            let without_tails = (truth - TAIL_SHARE * (64.0 + 78.0)) / (1.0 - 2.0 * TAIL_SHARE);
            assert!((without_tails - truth).abs() < 0.25, "{truth} {without_tails}");
            let found = block_mean(&workers).unwrap().against(&[]).interval(0.999).unwrap();
            assert!(found.contains(without_tails) && found.width() < 0.8, "{middle}: {without_tails} {found:?}");
        }
    }

    #[test]
    fn fewer_than_two_workers_with_values_have_no_mean() {
        for workers in [&[][..], &[Vec::new(), vec![f64::NAN]], &[vec![1.0, 2.0], Vec::new()]] {
            assert!(block_mean(workers).is_none(), "{workers:?}");
        }
        let two = block_mean(&[vec![1.0], Vec::new(), vec![1.0, 3.0]]).unwrap().against(&[]);
        assert!(two.interval(0.95).is_some());
        assert_eq!(two.interval(1.0), None);
    }

    /// How a simulated workload is measured.
    struct World {
        workers: usize,
        /// Standard deviation of a worker's effect on one kernel.
        worker_effect: f64,
        /// Whether one block in ten has a much slower placement.
        skewed: bool,
        /// Blocks of the second half of the workers; the first half has eight.
        later: usize,
        /// Whether the first worker adds 0.1 to the kernel.
        outlying: bool,
    }

    const OVERHEAD: f64 = 0.03;

    impl World {
        /// The log-ratios of four copies of `inline` and of a kernel with [`OVERHEAD`]: all share the placement of
        /// the reference.
        fn draw(&self, rng: &mut Pcg64Mcg) -> [Vec<Vec<f64>>; 5] {
            let mut columns: [Vec<Vec<f64>>; 5] = Default::default();
            for worker in 0..self.workers {
                let blocks = if worker < self.workers / 2 { 8 } else { self.later };
                let reference: Vec<f64> = (0..blocks).map(|_| 0.01 * normal(rng)).collect();
                for (number, column) in columns.iter_mut().enumerate() {
                    let outlying = if self.outlying && worker == 0 { 0.1 } else { 0.0 };
                    let overhead = if number == 4 { OVERHEAD + outlying } else { 0.0 };
                    let shared = overhead + self.worker_effect * normal(rng);
                    let mut block = |reference: &f64| {
                        let slow = if self.skewed && rng.random_bool(0.1) {
                            -0.06 * rng.random_range(f64::MIN_POSITIVE..1.0).ln()
                        } else {
                            0.0
                        };
                        shared + 0.02 * normal(rng) + slow - reference
                    };
                    column.push(reference.iter().map(&mut block).collect());
                }
            }
            columns
        }

        /// The kernel against the copies, and one copy against the other three.
        fn measure(&self, rng: &mut Pcg64Mcg) -> [Measured; 2] {
            let means = self.draw(rng).map(|column| block_mean(&column).unwrap());
            let [repeat, one, two, three, kernel] = &means;
            [kernel.against(&[repeat, one, two, three]), repeat.against(&[one, two, three])]
        }
    }

    const PLAIN: World = World { workers: 30, worker_effect: 0.01, skewed: true, later: 8, outlying: false };

    #[test]
    fn the_interval_against_the_controls_covers_the_truth_with_skewed_placements_and_an_outlying_worker() {
        const TRIES: u32 = 1500;
        let mut rng = Pcg64Mcg::seed_from_u64(6);
        let worlds = [
            World { worker_effect: 0.0, skewed: false, ..PLAIN },
            PLAIN,
            World { workers: 6, ..PLAIN },
            World { workers: 8, worker_effect: 0.0, ..PLAIN },
            World { workers: 20, worker_effect: 0.02, ..PLAIN },
            World { workers: 60, later: 40, ..PLAIN },
            World { outlying: true, ..PLAIN },
        ];
        for (number, world) in worlds.iter().enumerate() {
            let covered = |measured: &Measured, truth| measured.interval(0.95).unwrap().contains(truth);
            let found: Vec<[Measured; 2]> = (0..TRIES).map(|_| world.measure(&mut rng)).collect();
            for (index, truth) in [OVERHEAD, 0.0].into_iter().enumerate() {
                let count = found.iter().filter(|found| covered(&found[index], truth)).count();
                let share = count as f64 / f64::from(TRIES);
                assert!((0.93..0.98).contains(&share), "world {number}, {truth}: {share}");
            }
        }
    }

    #[test]
    fn copies_of_inline_differ_by_zero_on_average_although_their_placements_are_skewed() {
        const TRIES: u32 = 600;
        let mut rng = Pcg64Mcg::seed_from_u64(7);
        let found: Vec<[Measured; 2]> = (0..TRIES).map(|_| PLAIN.measure(&mut rng)).collect();
        for (index, truth) in [OVERHEAD, 0.0].into_iter().enumerate() {
            let deviations: Vec<f64> =
                found.iter().map(|found| (found[index].value - truth) / found[index].standard_error).collect();
            let mean = deviations.iter().sum::<f64>() / f64::from(TRIES);
            // The mean of independent deviations has a standard error of 0.04.
            assert!(mean.abs() < 0.15, "{truth}: {mean} standard errors");
        }
        let mut skew = || block_mean(&PLAIN.draw(&mut rng)[4]).unwrap().against(&[]).value - OVERHEAD;
        let skews: Vec<f64> = (0..100).map(|_| skew()).collect();
        assert!(skews.iter().sum::<f64>() / 100.0 > 0.001, "without the controls there is a bias");
    }

    #[test]
    fn copies_of_inline_exclude_zero_at_a_strict_confidence_as_rarely_as_it_says() {
        const TRIES: u32 = 3000;
        let mut rng = Pcg64Mcg::seed_from_u64(8);
        let excludes = |measured: &Measured| !measured.interval(0.999).unwrap().contains(0.0);
        let alarms = (0..TRIES).filter(|_| excludes(&PLAIN.measure(&mut rng)[1])).count();
        assert!(alarms <= allowed(TRIES, 0.001, 1e-3) as usize, "{alarms} of {TRIES}");
    }

    #[test]
    fn an_outlying_worker_is_left_out_and_only_one_in_six() {
        let workers = |outlying: usize| -> Vec<Vec<f64>> {
            (0..12).map(|worker| vec![if worker < outlying { 50.0 } else { f64::from(worker as u32) / 10.0 }]).collect()
        };
        assert!(interval(&workers(2)).high < 3.0, "two of twelve are left out");
        assert!(interval(&workers(4)).high > 3.0, "four of twelve are a part of the scatter");
    }

    #[test]
    fn a_worker_without_a_kernel_still_counts_in_its_controls() {
        let control = block_mean(&[vec![0.0; 2], vec![0.0; 2], vec![6.0; 2]]).unwrap();
        let kernel = block_mean(&[vec![2.0], vec![2.0], Vec::new()]).unwrap();
        let found = kernel.against(&[&control]);
        assert_eq!(found.value, 0.0);
        // The workers shift the control by -2/3, -2/3 and 4/3; the first two have half of the kernel's blocks each.
        assert!((found.standard_error.powi(2) - (2.0 * 4.0 / 9.0 * 2.0 + 16.0 / 9.0)).abs() < 1e-9, "{found:?}");
    }
}
