//! One cell: its estimate at each layout and over all layouts, its modes, its spread, and whether it is resolved.

use super::reduce::{VariantEffect, WorkerEstimate};
use crate::measure::variant::Variant;
use crate::op::{BodyKind, OpMeta};
use crate::patch::State;
use crate::regime::Regime;
use crate::report::schema::{Cell, Estimate, LayoutEstimate, Limit, ModeShare, Overhead, Spread, SpreadSource};
use crate::stats::Interval;
use crate::stats::bootstrap::{Bootstrap, Draws};
use crate::stats::location::median;
use crate::stats::modes::modes;
use crate::stats::resolve::{Deciders, Obstacle};
use crate::stats::spread::{self, Sample, Source, mode_candidates, worker_deviations};
use crate::stats::student::{Student, t_quantile};

/// Confidence of the intervals in a report.
pub const CONFIDENCE: f64 = 0.95;
/// Least number of bootstrap resamples of an interval.
const RESAMPLES: usize = 1000;
/// Least distance between two modes, as a share of the op's cycles with the mechanism. Closer values are one mode.
const MIN_MODE_DISTANCE: f64 = 0.01;

/// The floor that a cell's overhead must exceed.
pub(super) struct CellFloor {
    /// The floor of the cell's regime, in cycles per cycle of the op.
    pub per_cycle: f64,
    /// The largest A/A difference of the cell's own comparison, in cycles.
    pub largest_aa: f64,
}

/// A comparison at all its layouts: the offset, and the estimates of the workers there.
pub(super) type Layouts<'a> = [(u32, &'a [WorkerEstimate])];

/// The samples of a variant, in cycles, at every layout that has any.
pub(super) fn variant_samples(layouts: &Layouts, variant: Variant) -> Vec<(u32, Vec<Sample>)> {
    let layout_samples = |(offset, workers): &(u32, &[WorkerEstimate])| {
        (*offset, workers.iter().filter_map(|worker| sample(worker, variant)).collect::<Vec<_>>())
    };
    layouts.iter().map(layout_samples).filter(|(_, samples)| !samples.is_empty()).collect()
}

fn sample(reduced: &WorkerEstimate, variant: Variant) -> Option<Sample> {
    let effect = reduced.effects.get(&variant)?;
    Some(Sample {
        worker: reduced.worker,
        value: effect.cycles,
        half_difference: effect.half_difference,
        successive_difference: effect.successive_difference,
    })
}

/// The median over layouts of the medians over workers.
pub(super) fn median_of_medians(layouts: &[(u32, Vec<Sample>)]) -> Option<f64> {
    let layout_median =
        |(_, samples): &(u32, Vec<Sample>)| median(&samples.iter().map(|s| s.value).collect::<Vec<_>>());
    median(&layouts.iter().filter_map(layout_median).collect::<Vec<_>>())
}

/// The larger of a comparison's two A/A differences, in cycles. A slow op can have more noise than the floor of its
/// regime says.
pub(super) fn largest_aa(layouts: &Layouts) -> f64 {
    let aa_difference = |variant| median_of_medians(&variant_samples(layouts, variant)).map_or(0.0, f64::abs);
    Variant::OF_LOOPS.map(aa_difference).into_iter().fold(0.0, f64::max)
}

/// A cell without a result.
pub(super) fn empty_cell(meta: &OpMeta, body: BodyKind, regime: Regime, mechanism: &str, state: Option<State>) -> Cell {
    Cell {
        op: meta.name.to_owned(),
        body,
        kind: match body {
            BodyKind::Native => meta.native_kind,
            BodyKind::Xen => meta.xen_kind,
        },
        mechanism: mechanism.to_owned(),
        state: state.map(|state| state.name().to_owned()),
        regime,
        overhead: None,
        absent: None,
        native_cycles: None,
        layouts: Vec::new(),
        layout_range: None,
        spread: None,
        modes: Vec::new(),
        instructions: None,
        instructions_absent: None,
        counters: None,
        floor_cycles: None,
        noise_cycles: None,
        resolved: false,
        limit: None,
    }
}

/// What the estimates of all cells in a run share.
pub(super) struct EstimateContext<'a> {
    /// The bootstrap resamples.
    pub draws: &'a Draws,
    /// Deciding intervals, at the confidence at which all cells of the run hold together.
    pub deciding: &'a Student,
    /// Nanoseconds per core cycle.
    pub ns_per_cycle: f64,
}

/// Fills a cell from the workers' estimates of its variant.
pub(super) fn fill_cell(
    cell: &mut Cell,
    layouts: &Layouts,
    variant: Variant,
    cell_floor: Option<&CellFloor>,
    context: &EstimateContext,
) {
    let mut cycles = Vec::new();
    let mut log_ratios = Vec::new();
    let mut native = Vec::new();
    let mut coarsest: f64 = 0.0;
    for (offset, workers) in layouts {
        let effects: Vec<&VariantEffect> = workers.iter().filter_map(|worker| worker.effects.get(&variant)).collect();
        let values: Vec<f64> = effects.iter().map(|e| e.cycles).collect();
        let resolution = workers.iter().map(|w| w.resolution_cycles).fold(0.0, f64::max);
        let here = Bootstrap {
            confidence: CONFIDENCE,
            resamples: RESAMPLES,
            resolution: resolution / (workers.len().max(1) as f64).sqrt(),
        };
        let Some(interval) = context.draws.workers(&here, &values) else { continue };
        coarsest = coarsest.max(here.resolution);
        // Values that differ by less than the floor, or by less than a hundredth of the op's cycles, are one mode.
        let op_cycles = (workers.first().map_or(0.0, |w| w.inline_cycles) + interval.estimate.abs()).max(1.0);
        let min_distance =
            cell_floor.map_or(0.0, |floor| floor.per_cycle * op_cycles).max(MIN_MODE_DISTANCE * op_cycles);
        let own: Vec<Sample> = workers.iter().filter_map(|worker| sample(worker, variant)).collect();
        let candidates = mode_candidates(&own, interval.estimate, min_distance);
        let found = modes(&candidates, resolution.max(min_distance));
        if found.len() > 1 {
            cell.modes.extend(found.iter().map(|m| ModeShare { offset: *offset, cycles: m.value, share: m.share }));
        }
        cell.layouts.push(LayoutEstimate {
            offset: *offset,
            cycles: estimate(&interval, values.len()),
            workers: values.len(),
        });
        cycles.push(values);
        log_ratios.push(effects.iter().map(|e| e.log_ratio).collect::<Vec<_>>());
        native.extend(workers.iter().map(|w| w.inline_cycles));
    }
    let over = Bootstrap { confidence: CONFIDENCE, resamples: RESAMPLES, resolution: coarsest };
    let native_cycles = median(&native);
    let relative = native_cycles.map_or(0.0, |n| coarsest / n);
    let (Some(total), Some(ratio)) = (
        context.draws.layouts(&over, &cycles),
        context.draws.layouts(&Bootstrap { resolution: relative, ..over }, &log_ratios),
    ) else {
        cell.absent = Some("fewer than two workers finished this comparison; run longer".to_owned());
        return;
    };
    cell.native_cycles = native_cycles;
    cell.layout_range = layout_range(&cell.layouts);
    let samples: Vec<Vec<Sample>> = variant_samples(layouts, variant).into_iter().map(|(_, samples)| samples).collect();
    let spread = spread::spread(&samples);
    cell.spread = spread.map(report_spread);
    if let Some(cell_floor) = cell_floor {
        let floor = cell_floor.in_cycles(native_cycles.unwrap_or(0.0) + total.estimate.abs());
        let interval = context.deciding.around(total.estimate, &worker_deviations(&samples));
        // Only the values that the report shows, so that a reader can check the verdict.
        let (layouts, modes): (Vec<f64>, Vec<f64>) = (
            cell.layouts.iter().map(|layout| layout.cycles.estimate).collect(),
            cell.modes.iter().map(|mode| mode.cycles).collect(),
        );
        cell.floor_cycles = Some(floor);
        cell.noise_cycles = Some(floor);
        cell.limit = find_limit(&Deciders {
            estimate: total.estimate,
            interval,
            layouts: &layouts,
            layouts_dominate: spread.is_some_and(|found| found.largest == Source::Layouts),
            modes: &modes,
            floor,
        });
        cell.resolved = cell.limit.is_none();
    }
    let workers = cell.layouts.iter().map(|layout| layout.workers).max().unwrap_or(0);
    cell.overhead = Some(Overhead {
        cycles: estimate(&total, workers),
        ns: estimate(&total.map(|c| c * context.ns_per_cycle), workers),
        ratio: estimate(&ratio.map(f64::exp), workers),
    });
}

impl CellFloor {
    /// The floor in cycles of an op that takes `op_cycles` with the mechanism: the largest A/A difference of its
    /// comparison, or the floor of its regime times its cycles if that is greater.
    pub fn in_cycles(&self, op_cycles: f64) -> f64 {
        self.largest_aa.max(self.per_cycle * op_cycles.max(1.0))
    }
}

/// The reason why an overhead is not resolved; `None` for a resolved one.
pub(super) fn find_limit(deciders: &Deciders) -> Option<Limit> {
    deciders.obstacle().map(|obstacle| match obstacle {
        Obstacle::Floor => Limit::Floor,
        Obstacle::Interval => Limit::Interval,
        Obstacle::Modes => Limit::Modes,
        Obstacle::Layouts => Limit::Layout,
    })
}

/// Largest minus smallest estimate over the layouts; `None` with fewer than two.
fn layout_range(layouts: &[LayoutEstimate]) -> Option<f64> {
    let extreme =
        |pick: fn(f64, f64) -> f64, start| layouts.iter().map(|layout| layout.cycles.estimate).fold(start, pick);
    (layouts.len() > 1).then(|| extreme(f64::max, f64::NEG_INFINITY) - extreme(f64::min, f64::INFINITY))
}

fn report_spread(found: spread::Spread) -> Spread {
    Spread {
        within_round: found.within_round,
        between_rounds: found.between_rounds,
        between_workers: found.between_workers,
        between_layouts: found.between_layouts,
        largest: match found.largest {
            Source::Rounds => SpreadSource::Rounds,
            Source::Workers => SpreadSource::Workers,
            Source::Layouts => SpreadSource::Layouts,
        },
    }
}

/// The estimate of an interval over some workers.
fn estimate(interval: &Interval, workers: usize) -> Estimate {
    let degrees_of_freedom = workers.saturating_sub(1).max(1) as f64;
    let quantile = t_quantile(f64::midpoint(1.0, CONFIDENCE), degrees_of_freedom).unwrap_or(f64::NAN);
    let Interval { estimate, low, high } = *interval;
    Estimate { estimate, standard_error: interval.half_width() / quantile, degrees_of_freedom, low, high }
}
