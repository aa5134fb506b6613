//! The value of a cell: the median over layouts of medians over workers, with its standard error.
//!
//! The layouts are a fixed grid. They may differ by any amount without making the value less certain, so only workers
//! contribute to its error.
//!
//! A worker scatters at each layout by itself, and it may have something in common at all layouts. The error is the
//! larger of two: that of independent medians, simulated with fixed normal draws, and that of the workers' own means
//! over the layouts. A closed form of the first would fail between layouts that are alike, where the median averages
//! them, and layouts that differ, where it picks one or two of them.

use std::f64::consts::TAU;
use std::sync::OnceLock;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::location::{median, median_of_sorted};
use super::measured::Measured;
use super::prior::{RelativeVariance, moderate};
use super::student::t_quantile;
use super::worker_median::WorkerMedian;

/// Least number of layouts by which a worker can be told apart from the others, and that bound the effect of one
/// worker.
const MIN_LAYOUTS_PER_WORKER: usize = 4;
/// Distance from the other workers, in standard deviations of their deviations, beyond which a worker is left out.
const MAX_DEVIATIONS: f64 = 5.0;
/// At most one worker in this many is left out.
const WORKERS_PER_OUTLIER: usize = 6;
/// Least number of workers of which none may move a cell by more than a quarter of its interval.
const MIN_WORKERS_TO_BOUND_ONE: usize = 6;
/// Degrees of freedom of the scatter between runs, which few runs told.
const RUN_FREEDOM: f64 = 8.0;

/// A worker's number, and its value at a layout.
pub type WorkerValue = (usize, f64);

/// The median over workers at one layout.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Index of the layout among those that the cell was made from.
    pub index: usize,
    /// The workers with their values, in the order of the deviations of `median`.
    values: Vec<WorkerValue>,
    /// The median over these workers.
    pub median: WorkerMedian,
}

/// The median over layouts of the medians over workers.
#[derive(Clone, Debug)]
pub struct LayoutMedian {
    /// The median.
    pub value: f64,
    /// The layouts with two workers or more.
    pub layouts: Vec<Layout>,
}

/// What the error of a cell depends on besides its own values. All are in the unit of the values.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scatter {
    /// Variance of a single worker that is usual in the regime.
    pub usual_variance: Option<f64>,
    /// Half a step of the clock, spread over the ops of a window.
    pub half_clock_step: f64,
    /// Standard deviation between runs, which the workers of one run have in common.
    pub between_runs: f64,
}

/// The measured value of a cell and of its layouts.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredCell {
    /// The value of the cell.
    pub whole: Measured,
    /// The values of its layouts, in the order of [`LayoutMedian::layouts`].
    pub layouts: Vec<Measured>,
}

impl LayoutMedian {
    /// The median from the workers' values at each layout. Workers that lie apart from the others at all layouts are
    /// left out. `None` if no layout has two workers.
    #[must_use]
    pub fn from_layouts(layouts: &[Vec<WorkerValue>]) -> Option<Self> {
        let outlying = outlying_workers(layouts);
        let layout = |(index, values): (usize, &Vec<WorkerValue>)| {
            let values: Vec<WorkerValue> =
                values.iter().filter(|(worker, _)| !outlying.contains(worker)).copied().collect();
            let median = WorkerMedian::from_values(&values.iter().map(|(_, value)| *value).collect::<Vec<_>>())?;
            Some(Layout { index, values, median })
        };
        let layouts: Vec<Layout> = layouts.iter().enumerate().filter_map(layout).collect();
        let value = median(&layouts.iter().map(|layout| layout.median.value).collect::<Vec<_>>())?;
        Some(LayoutMedian { value, layouts })
    }

    /// The variances of a single worker at each layout, relative to the squared scale of the cell.
    pub fn relative_variances(&self, scale: f64) -> impl Iterator<Item = RelativeVariance> {
        self.layouts.iter().map(move |Layout { median, .. }| RelativeVariance {
            variance: median.variance / scale.powi(2),
            degrees_of_freedom: median.degrees_of_freedom,
        })
    }

    /// The value with its standard error, and those of the layouts.
    #[must_use]
    pub fn measure(&self, scatter: &Scatter) -> MeasuredCell {
        let layouts: Vec<Measured> = self.layouts.iter().map(|layout| layout.measure(scatter)).collect();
        let whole = match &layouts[..] {
            [only] => *only,
            _ => self.whole(&layouts),
        };
        let run = Measured { value: 0.0, standard_error: scatter.between_runs, degrees_of_freedom: RUN_FREEDOM };
        let with_run = |it: &Measured| if scatter.between_runs > 0.0 { it.minus(&run) } else { *it };
        let whole = self.bound_one_worker(with_run(&whole));
        let layouts = if layouts.len() == 1 { vec![whole] } else { layouts.iter().map(with_run).collect() };
        MeasuredCell { whole, layouts }
    }

    /// The value with the larger of the errors of independent layouts and of what workers have in common.
    fn whole(&self, layouts: &[Measured]) -> Measured {
        let independent = self.independent_variance(layouts);
        let (common, workers) = self.common_variance(layouts);
        let variance = |it: &Measured| it.standard_error.powi(2);
        let sum: f64 = layouts.iter().map(variance).sum();
        let per_freedom: f64 = layouts.iter().map(|it| variance(it).powi(2) / it.degrees_of_freedom).sum();
        let degrees_of_freedom = if common > independent {
            (workers as f64 - 1.0).max(1.0)
        } else if per_freedom > 0.0 {
            (sum.powi(2) / per_freedom).max(1.0)
        } else {
            layouts.iter().map(|it| it.degrees_of_freedom).sum()
        };
        Measured { value: self.value, standard_error: common.max(independent).sqrt(), degrees_of_freedom }
    }

    /// The variance of the median over layouts if each of them moves by its own standard error.
    fn independent_variance(&self, layouts: &[Measured]) -> f64 {
        let mut moved = vec![0.0; layouts.len()];
        let mut squared_error = |draws: &[f64], sign: f64| {
            for (index, (value, layout)) in moved.iter_mut().zip(layouts).enumerate() {
                *value = layout.value + sign * layout.standard_error * draws[index % MAX_LAYOUTS];
            }
            moved.sort_unstable_by(f64::total_cmp);
            (median_of_sorted(&moved) - self.value).powi(2)
        };
        let draws = normal_draws();
        draws.iter().map(|draws| squared_error(draws, 1.0) + squared_error(draws, -1.0)).sum::<f64>()
            / (2 * draws.len()) as f64
    }

    /// The variance of the mean over layouts from the workers' means over layouts, and the number of these workers.
    fn common_variance(&self, layouts: &[Measured]) -> (f64, usize) {
        let mut workers: Vec<WorkerValue> = Vec::new();
        for (layout, measured) in self.layouts.iter().zip(layouts) {
            let count = layout.values.len() as f64;
            let squares = layout.median.deviations.iter().map(|deviation| deviation.powi(2)).sum::<f64>();
            let deviation = (squares / (count - 1.0)).sqrt();
            if deviation > 0.0 {
                let weight = measured.standard_error / count.sqrt() / deviation / self.layouts.len() as f64;
                let own = layout.values.iter().zip(&layout.median.deviations);
                workers.extend(own.map(|((worker, _), deviation)| (*worker, weight * deviation)));
            }
        }
        workers.sort_unstable_by_key(|(worker, _)| *worker);
        let sums: Vec<f64> = workers
            .chunk_by(|(one, _), (other, _)| one == other)
            .map(|own| own.iter().map(|(_, part)| part).sum::<f64>())
            .collect();
        let count = sums.len() as f64;
        (sums.iter().map(|sum| sum.powi(2)).sum::<f64>() * count / (count - 1.0).max(1.0), sums.len())
    }

    /// The measured value with a standard error so large that any one of its workers moves it by a quarter of the
    /// interval at most.
    fn bound_one_worker(&self, measured: Measured) -> Measured {
        let Some(quantile) = t_quantile(0.975, measured.degrees_of_freedom.max(1.0)) else { return measured };
        let least = 2.0 * self.largest_shift_by_one_worker() / quantile;
        Measured { standard_error: measured.standard_error.max(least), ..measured }
    }

    /// The largest change of the value if any one worker were missing. With few layouts, the change if the median of a
    /// layout moved by one worker. 0 with fewer than six workers.
    fn largest_shift_by_one_worker(&self) -> f64 {
        let mut workers: Vec<usize> =
            self.layouts.iter().flat_map(|layout| layout.values.iter().map(|(worker, _)| *worker)).collect();
        workers.sort_unstable();
        workers.dedup();
        if workers.len() < MIN_WORKERS_TO_BOUND_ONE {
            return 0.0;
        }
        if self.layouts.len() < MIN_LAYOUTS_PER_WORKER {
            return self.layouts.iter().map(Layout::shift_by_one_rank).fold(0.0, f64::max);
        }
        let shift = |worker: usize| {
            let medians: Vec<f64> = self.layouts.iter().map(|layout| layout.median_without(worker)).collect();
            median(&medians).map_or(0.0, |value| (value - self.value).abs())
        };
        workers.into_iter().map(shift).fold(0.0, f64::max)
    }
}

impl Layout {
    /// The median with its standard error, without the scatter between runs.
    fn measure(&self, scatter: &Scatter) -> Measured {
        let WorkerMedian { value, workers, variance, degrees_of_freedom, .. } = self.median;
        let (variance, degrees_of_freedom) = moderate(variance, degrees_of_freedom, scatter.usual_variance);
        // The true length of a window is anywhere within a step of the clock: the variance of a uniform value.
        let clock = scatter.half_clock_step.powi(2) / 3.0 / workers as f64;
        let standard_error = (variance * self.median.median_variance() + clock).sqrt();
        Measured { value, standard_error, degrees_of_freedom }
    }

    /// The median without a worker; with it where only one other worker would be left.
    fn median_without(&self, worker: usize) -> f64 {
        let others: Vec<f64> = self.values.iter().filter(|(own, _)| *own != worker).map(|(_, value)| *value).collect();
        if others.len() < 2 { self.median.value } else { median(&others).unwrap_or(self.median.value) }
    }

    /// The larger of the changes of the median if its rank moved by one up or down.
    fn shift_by_one_rank(&self) -> f64 {
        let mut sorted: Vec<f64> = self.values.iter().map(|(_, value)| *value).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len() - 1;
        let (lower, upper) = (last / 2, sorted.len() / 2);
        let above = sorted[(lower + 1).min(last)].midpoint(sorted[(upper + 1).min(last)]);
        let below = sorted[lower.saturating_sub(1)].midpoint(sorted[upper.saturating_sub(1)]);
        (above - self.median.value).max(self.median.value - below)
    }
}

/// The deviation of each worker from the others: the median over layouts of its difference from the layout's median
/// over workers. Workers with fewer than half of the layouts are left out.
#[must_use]
pub fn worker_deviations(layouts: &[Vec<WorkerValue>]) -> Vec<WorkerValue> {
    let centre_layout = |values: &Vec<WorkerValue>| {
        let middle = median(&values.iter().map(|(_, value)| *value).collect::<Vec<_>>());
        let centre = move |(worker, value): &WorkerValue| middle.map(|middle| (*worker, value - middle));
        values.iter().filter_map(centre).collect::<Vec<_>>()
    };
    let mut centred: Vec<WorkerValue> = layouts.iter().flat_map(centre_layout).collect();
    centred.sort_by_key(|(worker, _)| *worker);
    let measured = layouts.iter().filter(|values| !values.is_empty()).count();
    let deviation = |own: &[WorkerValue]| {
        let values: Vec<f64> = own.iter().map(|(_, value)| *value).collect();
        let (worker, _) = own.first()?;
        if 2 * own.len() < measured { None } else { median(&values).map(|value| (*worker, value)) }
    };
    centred.chunk_by(|(one, _), (other, _)| one == other).filter_map(deviation).collect()
}

/// The workers that lie apart from the others at all layouts alike, as when another guest has part of the core all the
/// time. None with fewer than four layouts.
fn outlying_workers(layouts: &[Vec<WorkerValue>]) -> Vec<usize> {
    let scatter: Vec<f64> = layouts
        .iter()
        .filter_map(|values| WorkerMedian::from_values(&values.iter().map(|(_, value)| *value).collect::<Vec<_>>()))
        .map(|median| median.variance)
        .collect();
    if scatter.len() < MIN_LAYOUTS_PER_WORKER {
        return Vec::new();
    }
    let deviations = worker_deviations(layouts);
    let Some(middle) = median(&deviations.iter().map(|(_, value)| *value).collect::<Vec<_>>()) else {
        return Vec::new();
    };
    let mut distances: Vec<WorkerValue> =
        deviations.iter().map(|(worker, value)| (*worker, (value - middle).abs())).collect();
    let usual = median(&distances.iter().map(|(_, distance)| *distance).collect::<Vec<_>>()).unwrap_or(0.0);
    let by_chance = std::f64::consts::FRAC_PI_2 * scatter.iter().sum::<f64>() / (scatter.len() as f64).powi(2);
    let bound = MAX_DEVIATIONS * (NORMAL_SD_PER_MAD * usual).max(by_chance.sqrt());
    distances.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let most = distances.len() / WORKERS_PER_OUTLIER;
    distances.into_iter().take(most).filter(|(_, distance)| *distance > bound).map(|(worker, _)| worker).collect()
}

/// Standard deviation of normal values per median absolute deviation.
const NORMAL_SD_PER_MAD: f64 = 1.4826;

/// Layouts with draws of their own. A 65th would share those of the first.
const MAX_LAYOUTS: usize = 64;
/// Draws for each layout; each serves twice, with both signs. At half of it the error is uncertain by a tenth, at twice
/// of it the estimates take as much longer.
const DRAWS: usize = 100;

/// Standard normal draws, the same in every program, so that the same values always have the same error.
fn normal_draws() -> &'static [[f64; MAX_LAYOUTS]] {
    static NORMAL: OnceLock<Vec<[f64; MAX_LAYOUTS]>> = OnceLock::new();
    NORMAL.get_or_init(|| {
        let mut rng = Pcg64Mcg::seed_from_u64(0x6c61_796f_7574_7321);
        // Box and Muller.
        let mut normal = || {
            let (radius, angle) = (1.0 - rng.random_range(0.0..1.0f64), rng.random_range(0.0..TAU));
            (-2.0 * radius.ln()).sqrt() * angle.cos()
        };
        (0..DRAWS).map(|_| std::array::from_fn(|_| normal())).collect()
    })
}

#[cfg(test)]
mod tests;
