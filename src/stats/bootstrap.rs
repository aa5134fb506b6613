//! Intervals by resampling workers and layouts.
//!
//! The percentile bootstrap of a median, taken literally, is too narrow for few workers. A resample made of copies of
//! the workers moves the median over ranks with a variance of about (n - 2) / 4 where it should be n / 4, and only in
//! whole steps: with 8 normal values its 95% holds in about 92 of 100.
//!
//! So a resampled worker is drawn not *at* one of the n workers but evenly from the n + 1 gaps they leave: between two
//! neighbours, or beyond either end, where the end itself stands in. That is the bootstrap from the interpolated
//! quantile function (type 6 of Hyndman and Fan 1996), in which the k-th of n values stands for the share k / (n + 1)
//! of what new workers would fall below. The rank of the resampled median then varies by (n + 1)^2 / 4(n + 2), and its
//! percentiles come to lie about where the interpolated interval from order statistics has its ends (Hettmansperger and
//! Sheather 1986), which holds for any distribution: it rests on ranks, and knows nothing of tails.
//!
//! For layouts both levels are resampled: the workers, then the layouts. A worker is a process that goes through all
//! layouts, and what its placement does to one of them it may do to all: with 8 layouts and nothing but such common
//! effects, resampling each layout's workers apart from the others' gave 95% intervals that held in 81 of 100. So one
//! draw of workers, as a share of their order, serves all layouts of a resample. Where the layouts' workers have
//! nothing in common, that is too wide rather than too narrow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::Interval;
use super::location::{between, median_of_sorted, sorted};

/// How many resamples should at least lie outside of each end of an interval.
const OUTSIDE_EACH_END: f64 = 10.0;

/// The most resamples taken for the sake of [`OUTSIDE_EACH_END`].
const RESAMPLES_LIMIT: f64 = 200_000.0;

/// How intervals are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// Probability with which an interval should hold, strictly between 0 and 1; see
    /// [`confidence_for`](super::multiplicity::confidence_for) for many cells at once.
    pub confidence: f64,
    /// How many resamples to take. More are taken where so few would leave less than ten beyond each end of an interval
    /// of this confidence, up to 200,000.
    pub resamples: usize,
    /// The smallest half-width of an interval, in the unit of the values: a step of the clock spread over the ops of a
    /// sample. Values that are all alike because the clock is coarse would give a width of zero. Finite and not
    /// negative.
    pub resolution: f64,
}

impl Bootstrap {
    /// The median over the workers of one layout, with its interval.
    ///
    /// `None` for fewer than two workers (one says nothing about another), if a value is not finite, or if a field of
    /// `self` is out of its range. Fewer than six workers cannot give 95%, whatever is done with them: their interval
    /// is their range, which holds the true median with probability 1 - 2^(1 - n).
    pub fn workers(&self, values: &[f64], rng: &mut impl Rng) -> Option<Interval> {
        self.workers_by(values, |n, count| Arc::new(Middle::draws(n, count, rng)))
    }

    /// The median over layouts of each layout's median over workers, with its interval from resampling both. With a
    /// single layout this is [`workers`](Self::workers).
    ///
    /// Fewer than six layouts cannot give 95%: the interval then spans their medians at least. `None` without layouts,
    /// for a layout without values (leave it out, and say why), if no layout has two workers, if a value is not finite,
    /// or if a field of `self` is out of its range.
    pub fn layouts(&self, layouts: &[Vec<f64>], rng: &mut impl Rng) -> Option<Interval> {
        self.layouts_by(layouts, |_, n, count| Arc::new(Middle::draws(n, count, rng)))
    }

    fn workers_by(&self, values: &[f64], draws: impl FnOnce(usize, usize) -> Resamples) -> Option<Interval> {
        let resamples = self.resamples()?;
        if values.len() < 2 {
            return None;
        }
        let sorted = sorted(values)?;
        let medians = draws(sorted.len(), resamples).iter().map(|middle| middle.of(&sorted)).collect();
        Some(self.interval(&sorted, medians))
    }

    fn layouts_by(
        &self,
        layouts: &[Vec<f64>],
        mut draws: impl FnMut(Level, usize, usize) -> Resamples,
    ) -> Option<Interval> {
        if let [layout] = layouts {
            return self.workers_by(layout, |n, count| draws(Level::Workers, n, count));
        }
        let resamples = self.resamples()?;
        // The layout with the fewest workers has the most uncertain middle, and sets the draw for all. A single worker
        // has a middle without any uncertainty known.
        let fewest = layouts.iter().map(Vec::len).filter(|&n| n > 1).min()?;
        let layouts: Vec<Vec<f64>> = layouts.iter().map(|layout| sorted(layout)).collect::<Option<_>>()?;
        let mut middles: Vec<f64> = layouts.iter().map(|layout| median_of_sorted(layout)).collect();
        middles.sort_unstable_by(f64::total_cmp);
        let measured = middles.clone();
        let of_workers = draws(Level::Workers, fewest, resamples);
        let of_layouts = draws(Level::Layouts, layouts.len(), resamples);
        let mut medians = Vec::with_capacity(resamples);
        for (workers, over) in of_workers.iter().zip(of_layouts.iter()) {
            for (value, layout) in middles.iter_mut().zip(&layouts) {
                *value = workers.of(layout);
            }
            middles.sort_unstable_by(f64::total_cmp);
            medians.push(over.of(&middles));
        }
        Some(self.interval(&measured, medians))
    }

    /// How many resamples to take; `None` if a field is out of its range.
    fn resamples(&self) -> Option<usize> {
        let confidence_fits = self.confidence > 0.0 && self.confidence < 1.0;
        let resolution_fits = self.resolution.is_finite() && self.resolution >= 0.0;
        if !(confidence_fits && resolution_fits && self.resamples > 0) {
            return None;
        }
        let asked_by_confidence = (2.0 * OUTSIDE_EACH_END / (1.0 - self.confidence)).min(RESAMPLES_LIMIT);
        Some(self.resamples.max(asked_by_confidence.ceil() as usize))
    }

    /// The median of what was measured (in rising order, one at least), with the percentile interval of the resampled
    /// medians: no narrower than the resolution, nor than the range of the measured where even that is not wide enough.
    fn interval(&self, measured: &[f64], mut medians: Vec<f64>) -> Interval {
        let estimate = median_of_sorted(measured);
        let count = medians.len();
        let outside = ((1.0 - self.confidence) / 2.0 * (count + 1) as f64).floor() as usize;
        let from_end = outside.saturating_sub(1).min((count - 1) / 2);
        let (_, &mut low, _) = medians.select_nth_unstable_by(from_end, f64::total_cmp);
        let (_, &mut high, _) = medians.select_nth_unstable_by(count - 1 - from_end, f64::total_cmp);
        // All n values lie on one side of the true median with probability 2^(1 - n).
        let n = measured.len();
        let range_misses = 0.5f64.powf((n - 1) as f64);
        let (low, high) = if range_misses >= 1.0 - self.confidence {
            (low.min(measured[0]), high.max(measured[n - 1]))
        } else {
            (low, high)
        };
        Interval { estimate, low: low.min(estimate - self.resolution), high: high.max(estimate + self.resolution) }
    }
}

/// What is resampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Workers,
    Layouts,
}

/// The draws of a run. Which values a resample is made of does not depend on the values, only on their number: the same
/// draws serve all cells, each of which they treat as draws of its own would, and many thousands of cells take seconds
/// instead of half a minute.
pub struct Draws {
    seed: u64,
    /// By level, number of values and number of resamples.
    drawn: Mutex<BTreeMap<(Level, usize, usize), Resamples>>,
}

/// The middles of resamples.
type Resamples = Arc<Vec<Middle>>;

impl Draws {
    /// Draws from `seed`, made when first needed. What is drawn depends on the seed alone, and not on the order in
    /// which it is asked for.
    pub fn new(seed: u64) -> Self {
        Draws { seed, drawn: Mutex::default() }
    }

    /// As [`Bootstrap::workers`].
    pub fn workers(&self, bootstrap: &Bootstrap, values: &[f64]) -> Option<Interval> {
        bootstrap.workers_by(values, |n, count| self.of(Level::Workers, n, count))
    }

    /// As [`Bootstrap::layouts`].
    pub fn layouts(&self, bootstrap: &Bootstrap, layouts: &[Vec<f64>]) -> Option<Interval> {
        bootstrap.layouts_by(layouts, |level, n, count| self.of(level, n, count))
    }

    fn of(&self, level: Level, n: usize, count: usize) -> Resamples {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let draw = || {
            let mut rng = Pcg64Mcg::seed_from_u64(self.seed ^ (n as u64) << 1 ^ u64::from(level == Level::Layouts));
            Arc::new(Middle::draws(n, count, &mut rng))
        };
        Arc::clone(drawn.entry((level, n, count)).or_insert_with(draw))
    }
}

/// The middle of one resample, as shares of the order of what is resampled: the k-th of n values is at k / (n + 1). The
/// two are the same for an odd number of values.
struct Middle {
    lower: f64,
    upper: f64,
}

impl Middle {
    /// The middles of `count` resamples of `n` values.
    fn draws(n: usize, count: usize, rng: &mut impl Rng) -> Vec<Self> {
        let mut counts = vec![0; n + 1];
        (0..count).map(|_| Middle::draw(&mut counts, rng)).collect()
    }

    /// Draws as many values as there are gaps less one (`counts` holds one count per gap), each evenly from all gaps,
    /// and gives their middle.
    ///
    /// Only the number of draws in each gap is kept: no draw has to be sorted, and nothing is allocated.
    fn draw(counts: &mut [u32], rng: &mut impl Rng) -> Self {
        let gaps = counts.len();
        let n = gaps - 1;
        counts.fill(0);
        // 32 random bits make a draw (multiply and shift, Lemire 2019): the bias is below n / 2^32.
        let gap_of = |bits: u64| ((bits * gaps as u64) >> 32) as usize;
        for _ in 0..n / 2 {
            let bits = rng.next_u64();
            counts[gap_of(bits >> 32)] += 1;
            counts[gap_of(bits & 0xffff_ffff)] += 1;
        }
        // The last draw of an odd number, and the place within the gap.
        let bits = rng.next_u64();
        if n % 2 == 1 {
            counts[gap_of(bits >> 32)] += 1;
        }
        let place = (bits & 0xffff_ffff) as f64 / (1u64 << 32) as f64;

        let (mut gap, mut before) = (0, 0);
        let mut share_of = |rank: usize| {
            while gap + 1 < gaps && before + counts[gap] as usize <= rank {
                before += counts[gap] as usize;
                gap += 1;
            }
            // Draws that fell into one gap share it out evenly, and each lies anywhere in its part.
            let in_gap = ((rank - before) as f64 + place) / f64::from(counts[gap].max(1));
            (gap as f64 + in_gap) / gaps as f64
        };
        Self { lower: share_of((n - 1) / 2), upper: share_of(n / 2) }
    }

    /// The value at this middle of the values in `sorted`, of which there is at least one.
    fn of(&self, sorted: &[f64]) -> f64 {
        value_at(sorted, self.lower).midpoint(value_at(sorted, self.upper))
    }
}

/// The value at `share` of the order. Beyond the ends there is nothing to lie between, and the end stands in.
fn value_at(sorted: &[f64], share: f64) -> f64 {
    let n = sorted.len();
    let position = share * (n + 1) as f64;
    let rank = (position as usize).min(n);
    if rank == 0 {
        sorted[0]
    } else if rank == n {
        sorted[n - 1]
    } else {
        between(sorted[rank - 1], sorted[rank], position.fract())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::*;

    const PLAIN: Bootstrap = Bootstrap { confidence: 0.95, resamples: 1000, resolution: 0.0 };

    fn rng() -> Pcg64Mcg {
        Pcg64Mcg::seed_from_u64(1)
    }

    #[test]
    fn the_interval_sits_between_the_order_statistics_that_frame_the_confidence() {
        // The 4th and 17th of 20 values frame the median with 99.7%, the 6th and 15th with 95.9%, the 7th and 14th with
        // 88.5%.
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        let got = PLAIN.workers(&values, &mut rng()).unwrap();
        assert_eq!(got.estimate, 10.5);
        assert!(got.low > 5.0 && got.low < 6.6, "{got:?}");
        assert!(got.high > 14.4 && got.high < 16.0, "{got:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let values = [0.3, 0.1, 0.7, 0.4, 0.2, 0.9, 0.5, 0.6];
        assert_eq!(PLAIN.workers(&values, &mut rng()), PLAIN.workers(&values, &mut rng()));
    }

    #[test]
    fn values_alike_for_want_of_a_finer_clock_still_have_a_width() {
        let coarse = Bootstrap { resolution: 0.125, ..PLAIN };
        let got = coarse.workers(&[3.5; 20], &mut rng()).unwrap();
        assert_eq!((got.low, got.estimate, got.high), (3.375, 3.5, 3.625));
        let layouts = coarse.layouts(&[vec![3.5; 20], vec![3.5; 20]], &mut rng()).unwrap();
        assert_eq!(layouts, got);
    }

    #[test]
    fn few_workers_give_their_range_and_one_gives_nothing() {
        let got = PLAIN.workers(&[1.0, 2.0, 4.0], &mut rng()).unwrap();
        assert_eq!((got.low, got.estimate, got.high), (1.0, 2.0, 4.0));
        assert_eq!(PLAIN.workers(&[1.0], &mut rng()), None);
        assert_eq!(PLAIN.workers(&[], &mut rng()), None);
        assert_eq!(PLAIN.workers(&[1.0, f64::NAN], &mut rng()), None);
    }

    #[test]
    fn the_range_is_given_where_it_is_not_enough_and_not_where_it_is() {
        let spans = |n: u32, confidence: f64| {
            let values: Vec<f64> = (1..=n).map(f64::from).collect();
            let bootstrap = Bootstrap { confidence, ..PLAIN };
            let got = bootstrap.workers(&values, &mut rng()).unwrap();
            (got.low, got.high) == (1.0, f64::from(n))
        };
        assert!((2..=5).all(|n| spans(n, 0.95)) && (6..=40).all(|n| !spans(n, 0.95)));
        assert!((2..=7).all(|n| spans(n, 0.99)) && (8..=40).all(|n| !spans(n, 0.99)));
        // One in a million: more than resamples can show, and than 20 workers can give.
        assert!(spans(20, 1.0 - 1e-6) && !spans(22, 1.0 - 1e-6));
    }

    #[test]
    fn few_layouts_are_spanned_from_the_least_to_the_greatest() {
        let layouts = [3.5, 3.74, 4.0].map(|at| (0..20).map(|i| at + f64::from(i % 5) * 1e-4).collect()).to_vec();
        let got = PLAIN.layouts(&layouts, &mut rng()).unwrap();
        assert!((got.estimate - 3.7402).abs() < 1e-9);
        assert!(got.low < 3.501 && got.high > 4.0, "{got:?}");
    }

    #[test]
    fn one_layout_is_its_workers() {
        let values = vec![0.3, 0.1, 0.7, 0.4, 0.2, 0.9, 0.5, 0.6];
        assert_eq!(PLAIN.layouts(std::slice::from_ref(&values), &mut rng()), PLAIN.workers(&values, &mut rng()));
    }

    #[test]
    fn a_layout_without_values_is_refused_and_one_worker_at_one_layout_is_not() {
        assert_eq!(PLAIN.layouts(&[], &mut rng()), None);
        assert_eq!(PLAIN.layouts(&[vec![1.0, 2.0], vec![]], &mut rng()), None);
        assert_eq!(PLAIN.layouts(&[vec![1.0], vec![2.0]], &mut rng()), None);
        assert!(PLAIN.layouts(&[vec![1.0, 1.5], vec![2.0]], &mut rng()).is_some());
    }

    #[test]
    fn draws_shared_between_cells_do_not_depend_on_the_order_of_the_cells() {
        let cells: Vec<Vec<f64>> = (8..12).map(|n| (0..n).map(|i| f64::from(i * i % 7)).collect()).collect();
        let (forth, back) = (Draws::new(7), Draws::new(7));
        let intervals: Vec<_> = cells.iter().map(|cell| forth.workers(&PLAIN, cell).unwrap()).collect();
        let again: Vec<_> = cells.iter().rev().map(|cell| back.workers(&PLAIN, cell).unwrap()).collect();
        assert!(intervals.iter().eq(again.iter().rev()));
        assert_ne!(Draws::new(8).workers(&PLAIN, &cells[0]), Some(intervals[0]));
        // As many workers as layouts: their draws are not the same all the same.
        let square = vec![cells[0].clone(); 8];
        assert!(forth.layouts(&PLAIN, &square).is_some());
        let [workers, layouts] = [Level::Workers, Level::Layouts].map(|level| forth.of(level, 8, 1000));
        assert!(workers.iter().zip(layouts.iter()).any(|(a, b)| a.lower != b.lower));
    }

    #[test]
    fn fields_out_of_range_give_no_interval() {
        for bad in [
            Bootstrap { confidence: 1.0, ..PLAIN },
            Bootstrap { confidence: 0.0, ..PLAIN },
            Bootstrap { confidence: f64::NAN, ..PLAIN },
            Bootstrap { resamples: 0, ..PLAIN },
            Bootstrap { resolution: -1.0, ..PLAIN },
            Bootstrap { resolution: f64::NAN, ..PLAIN },
        ] {
            assert_eq!(bad.workers(&[1.0, 2.0], &mut rng()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_higher_confidence_takes_as_many_resamples_as_its_ends_need() {
        let strict = Bootstrap { confidence: 0.999, ..PLAIN };
        assert_eq!(PLAIN.resamples(), Some(1000));
        assert_eq!(strict.resamples(), Some(20_000));
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        let (wide, narrow) =
            (strict.workers(&values, &mut rng()).unwrap(), PLAIN.workers(&values, &mut rng()).unwrap());
        assert!(wide.low < narrow.low && wide.high > narrow.high);
        // The 3rd and 18th of 20 frame the median with 99.96%, the 4th and 17th with 99.7%.
        assert!(wide.low > 2.9 && wide.low < 4.0, "{wide:?}");
    }
}
