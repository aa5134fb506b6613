//! The first pass of the estimates: the medians over workers of every comparison, and the scatter that is usual in its
//! regime.

use std::collections::BTreeMap;

use super::floors::AaDifference;
use super::reduce::{VariantEffect, WorkerEstimate};
use super::{ByKey, Key};
use crate::measure::variant::Variant;
use crate::regime::Regime;
use crate::stats::layout_median::{LayoutMedian, Scatter, WorkerValue};
use crate::stats::location::median;
use crate::stats::prior::{RelativeVariance, usual_variance};

/// A comparison at all its layouts.
pub(super) struct ComparisonMedians<'a> {
    /// The regime.
    pub regime: Regime,
    /// The offsets, with the estimates of the workers there.
    pub layouts: &'a [(u32, Vec<WorkerEstimate>)],
    /// Core cycles per op of `inline`: the median over workers and layouts.
    pub inline_cycles: f64,
    /// Half a step of the clock, spread over the ops of a window, in cycles per op: the median over workers.
    half_clock_step: f64,
    /// The medians of the variants other than the reference.
    pub variants: BTreeMap<Variant, VariantMedians>,
}

/// The medians of a variant over the layouts of a comparison.
pub(super) struct VariantMedians {
    /// Of the overhead in cycles.
    pub cycles: LayoutMedian,
    /// Of the natural logarithm of the ratio to `inline`.
    pub log_ratio: LayoutMedian,
}

/// The usual relative variances of single workers in a regime.
#[derive(Default)]
struct Usual {
    cycles: Option<f64>,
    log_ratio: Option<f64>,
}

/// The comparisons of a run with what the estimate of one takes from all: the scatter that is usual in each regime, and
/// the A/A differences.
///
/// The medians of all comparisons take more memory than their samples and less time than the reduction of these. So
/// they are made anew for each use, one comparison at a time.
pub(super) struct Medians<'a> {
    reduced: &'a ByKey,
    usual: BTreeMap<Regime, Usual>,
    /// The A/A differences of the comparisons, in the order of their keys.
    pub aa_differences: Vec<AaDifference>,
}

/// The relative variances of single workers in a regime, of every treatment at each layout.
#[derive(Default)]
struct RegimeVariances {
    cycles: Vec<RelativeVariance>,
    log_ratio: Vec<RelativeVariance>,
}

impl<'a> Medians<'a> {
    /// The medians of the workers' estimates.
    pub fn from_workers(reduced: &'a ByKey) -> Self {
        let mut medians = Medians { reduced, usual: BTreeMap::new(), aa_differences: Vec::new() };
        let mut variances: BTreeMap<Regime, RegimeVariances> = BTreeMap::new();
        for (_, comparison) in medians.comparisons() {
            let own = variances.entry(comparison.regime).or_default();
            for (scale, variant) in comparison.treatments_with_scale() {
                own.cycles.extend(variant.cycles.relative_variances(scale));
                own.log_ratio.extend(variant.log_ratio.relative_variances(1.0));
            }
            medians.aa_differences.extend(AaDifference::of(&comparison));
        }
        let usual = |(regime, own): (Regime, RegimeVariances)| {
            (regime, Usual { cycles: usual_variance(&own.cycles), log_ratio: usual_variance(&own.log_ratio) })
        };
        medians.usual = variances.into_iter().map(usual).collect();
        medians
    }

    /// The medians of one comparison; `None` where no worker has an estimate.
    pub fn comparison(&self, key: &Key) -> Option<ComparisonMedians<'a>> {
        ComparisonMedians::new(key.2, self.reduced.get(key)?)
    }

    /// The medians of every comparison that has estimates, one after another, in the order of their keys.
    pub fn comparisons(&self) -> impl Iterator<Item = (&'a Key, ComparisonMedians<'a>)> + use<'a> {
        self.reduced.iter().filter_map(|(key, layouts)| Some((key, ComparisonMedians::new(key.2, layouts)?)))
    }

    /// What the error of a variant's cell depends on, in cycles and in logarithms of ratios.
    pub fn scatter(&self, comparison: &ComparisonMedians, medians: &VariantMedians) -> (Scatter, Scatter) {
        let none = Usual::default();
        let usual = self.usual.get(&comparison.regime).unwrap_or(&none);
        let (scale, between_runs) = (comparison.scale(medians), comparison.regime.between_runs());
        let cycles = Scatter {
            usual_variance: usual.cycles.map(|variance| variance * scale.powi(2)),
            half_clock_step: comparison.half_clock_step,
            between_runs: between_runs * scale,
        };
        let half_clock_step = comparison.half_clock_step / comparison.inline_cycles;
        (cycles, Scatter { usual_variance: usual.log_ratio, half_clock_step, between_runs })
    }
}

impl<'a> ComparisonMedians<'a> {
    fn new(regime: Regime, layouts: &'a [(u32, Vec<WorkerEstimate>)]) -> Option<Self> {
        let workers = || layouts.iter().flat_map(|(_, workers)| workers);
        let inline_cycles = median(&workers().map(|worker| worker.inline_cycles).collect::<Vec<_>>())?;
        let half_clock_step = median(&workers().map(|worker| worker.resolution_cycles).collect::<Vec<_>>())?;
        let variants = workers().flat_map(|worker| worker.variants());
        let variants: std::collections::BTreeSet<Variant> = variants.collect();
        let medians = |variant: Variant| {
            let of = |part: fn(&VariantEffect) -> f64| {
                let values = |(_, workers): &(u32, Vec<WorkerEstimate>)| -> Vec<WorkerValue> {
                    let value = |it: &WorkerEstimate| Some((it.worker, part(it.effect(variant)?)));
                    workers.iter().filter_map(value).collect()
                };
                LayoutMedian::from_layouts(&layouts.iter().map(values).collect::<Vec<_>>())
            };
            Some((variant, VariantMedians { cycles: of(|it| it.cycles)?, log_ratio: of(|it| it.log_ratio)? }))
        };
        let variants = variants.into_iter().filter_map(medians).collect();
        Some(ComparisonMedians { regime, layouts, inline_cycles, half_clock_step, variants })
    }

    /// The scale of a variant's cell: the cycles that the op takes with it, at least one.
    pub fn scale(&self, medians: &VariantMedians) -> f64 {
        (self.inline_cycles + medians.cycles.value.abs()).max(1.0)
    }

    /// The treatments' medians, with the scales of their cells.
    fn treatments_with_scale(&self) -> impl Iterator<Item = (f64, &VariantMedians)> {
        let treatments = self.variants.iter().filter(|(variant, _)| variant.treatment().is_some());
        treatments.map(|(_, medians)| (self.scale(medians), medians))
    }

    /// The larger of the comparison's two A/A differences, in cycles. A slow op can have more noise than the floor of
    /// its regime says.
    pub fn largest_aa(&self) -> f64 {
        let difference = |variant| self.variants.get(&variant).map_or(0.0, |medians| medians.cycles.value.abs());
        Variant::OF_LOOPS.map(difference).into_iter().fold(0.0, f64::max)
    }
}
