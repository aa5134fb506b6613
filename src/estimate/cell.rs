//! One cell: its estimate at each layout and over all layouts, its modes, its spread, and whether it is resolved.

use super::medians::{ComparisonMedians, Medians, VariantMedians};
use super::reduce::WorkerEstimate;
use crate::measure::variant::Variant;
use crate::op::{BodyKind, OpMeta};
use crate::patch::State;
use crate::regime::Regime;
use crate::report::schema::{Cell, Estimate, LayoutEstimate, ModeShare, Overhead};
use crate::stats::layout_median::Layout;
use crate::stats::measured::Measured;
use crate::stats::modes::modes;
use crate::stats::resolve::Obstacles;
use crate::stats::spread::{Sample, mode_candidates, spread};

/// Confidence of the intervals in a report.
pub const CONFIDENCE: f64 = 0.95;
/// Least distance between two modes, as a share of the op's cycles with the mechanism. Closer values are one mode.
const MIN_MODE_DISTANCE: f64 = 0.01;

/// The noise of a comparison, which a cell's overhead must exceed.
pub(super) struct Noise {
    /// The floor of the comparison's regime, in cycles per cycle of the op.
    per_cycle: f64,
    /// The largest A/A difference of the comparison, in cycles.
    largest_aa: f64,
}

impl Noise {
    /// The noise of a comparison in a regime with this floor, in cycles per cycle of the op.
    pub fn new(per_cycle: f64, comparison: &ComparisonMedians) -> Self {
        Noise { per_cycle, largest_aa: comparison.largest_aa() }
    }

    /// The noise in cycles of an op that takes `op_cycles` with the mechanism: the largest A/A difference of its
    /// comparison, or the floor of its regime times its cycles if that is greater.
    pub fn in_cycles(&self, op_cycles: f64) -> f64 {
        self.largest_aa.max(self.per_cycle * op_cycles)
    }
}

fn sample(reduced: &WorkerEstimate, variant: Variant) -> Option<Sample> {
    let effect = reduced.effect(variant)?;
    Some(Sample {
        worker: reduced.worker,
        value: effect.cycles,
        half_difference: effect.half_difference,
        successive_difference: effect.successive_difference,
    })
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
        mix: None,
        code: None,
        counters: None,
        floor_cycles: None,
        noise_cycles: None,
        resolved: false,
        limit: None,
    }
}

/// What the estimates of all cells in a run share.
pub(super) struct EstimateContext<'a> {
    /// The medians of all comparisons.
    pub medians: &'a Medians<'a>,
    /// Nanoseconds per core cycle.
    pub ns_per_cycle: f64,
}

/// Fills a cell from the medians of its variant.
pub(super) fn fill_cell(
    cell: &mut Cell,
    comparison: Option<&ComparisonMedians>,
    variant: Variant,
    noise: Option<&Noise>,
    context: &EstimateContext,
) {
    let medians = comparison.and_then(|comparison| Some((comparison, comparison.variants.get(&variant)?)));
    let filled = medians.and_then(|(comparison, medians)| {
        let (cycles_scatter, log_scatter) = context.medians.scatter(comparison, medians);
        let cycles = medians.cycles.measure(&cycles_scatter);
        let log_ratio = medians.log_ratio.measure(&log_scatter).whole;
        let estimate = |measured: &Measured| Estimate::from_measured(measured, CONFIDENCE);
        let overhead = Overhead {
            cycles: estimate(&cycles.whole)?,
            ns: estimate(&cycles.whole.scaled(context.ns_per_cycle))?,
            ratio: Estimate::ratio_from_log(&log_ratio, CONFIDENCE)?,
        };
        let layouts = medians.cycles.layouts.iter().zip(&cycles.layouts).map(|(layout, measured)| {
            let (offset, _) = comparison.layouts.get(layout.index)?;
            Some(LayoutEstimate { offset: *offset, cycles: estimate(measured)?, workers: layout.median.workers })
        });
        let layouts: Vec<LayoutEstimate> = layouts.collect::<Option<_>>()?;
        Some((comparison, medians, overhead, layouts))
    });
    let Some((comparison, medians, overhead, layouts)) = filled else {
        cell.absent = Some("fewer than two workers finished this comparison; run longer".to_owned());
        return;
    };
    cell.layout_range = layout_range(&layouts);
    cell.layouts = layouts;
    cell.native_cycles = Some(comparison.inline_cycles);
    cell.modes = find_modes(comparison, medians, variant, noise);
    let samples = |(_, workers): &(u32, Vec<WorkerEstimate>)| -> Vec<Sample> {
        workers.iter().filter_map(|worker| sample(worker, variant)).collect()
    };
    let samples: Vec<Vec<Sample>> = comparison.layouts.iter().map(samples).collect();
    cell.spread = spread(&samples.into_iter().filter(|samples| !samples.is_empty()).collect::<Vec<_>>());
    if let Some(noise) = noise {
        let obstacles = Obstacles {
            noise: noise.in_cycles(comparison.scale(medians)),
            layout_range: cell.layout_range.unwrap_or(0.0),
            mode_range: mode_range(&cell.modes),
        };
        let measured = overhead.cycles.measured();
        cell.noise_cycles = Some(obstacles.noise);
        cell.floor_cycles = obstacles.floor(&measured, CONFIDENCE);
        cell.limit = obstacles.limit(&measured, CONFIDENCE);
        cell.resolved = cell.limit.is_none();
    }
    cell.overhead = Some(overhead);
}

/// The values that workers gather at, at every layout at which they disagree. Values that differ by less than the
/// noise, or by less than a hundredth of the op's cycles, are one mode.
pub(super) fn find_modes(
    comparison: &ComparisonMedians,
    medians: &VariantMedians,
    variant: Variant,
    noise: Option<&Noise>,
) -> Vec<ModeShare> {
    let at_layout = |layout: &Layout| {
        let Some((offset, workers)) = comparison.layouts.get(layout.index) else { return Vec::new() };
        let value = layout.median.value;
        let op_cycles = (comparison.inline_cycles + value.abs()).max(1.0);
        let noise = noise.map_or(0.0, |noise| noise.per_cycle * op_cycles);
        let min_distance = noise.max(MIN_MODE_DISTANCE * op_cycles);
        let clock_step = workers.iter().map(|worker| worker.resolution_cycles).fold(0.0, f64::max);
        let own: Vec<Sample> = workers.iter().filter_map(|worker| sample(worker, variant)).collect();
        let found = modes(&mode_candidates(&own, value, min_distance), clock_step.max(min_distance));
        if found.len() < 2 {
            return Vec::new();
        }
        found.iter().map(|mode| ModeShare { offset: *offset, cycles: mode.value, share: mode.share }).collect()
    };
    medians.cycles.layouts.iter().flat_map(at_layout).collect()
}

/// Largest minus smallest mode at the layout where they differ most; 0 without modes.
pub(super) fn mode_range(modes: &[ModeShare]) -> f64 {
    let at_layout = |modes: &[ModeShare]| value_range(modes.iter().map(|mode| mode.cycles));
    modes.chunk_by(|one, other| one.offset == other.offset).map(at_layout).fold(0.0, f64::max)
}

/// Largest minus smallest estimate over the layouts; `None` with fewer than two.
fn layout_range(layouts: &[LayoutEstimate]) -> Option<f64> {
    (layouts.len() > 1).then(|| value_range(layouts.iter().map(|layout| layout.cycles.estimate)))
}

/// Largest minus smallest value; 0 without values.
pub(super) fn value_range(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    (values.fold(f64::NEG_INFINITY, f64::max) - least).max(0.0)
}
