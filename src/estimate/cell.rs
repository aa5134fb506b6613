//! One cell: its estimate at each layout and over them, its modes, what scatters it, and whether it is resolved.

use super::reduce::{VariantEffect, WorkerEstimate};
use crate::op::{BodyKind, OpMeta};
use crate::patch::State;
use crate::regime::Regime;
use crate::report::schema::{Bounds, Cell, Estimate, LayoutEstimate, Limit, ModeShare, Overhead, Spread, SpreadSource};
use crate::stats::Interval;
use crate::stats::bootstrap::{Bootstrap, Draws};
use crate::stats::location::median;
use crate::stats::modes::modes;
use crate::stats::resolve::{Deciders, Obstacle};
use crate::stats::spread::{self, Sample, Source, by_worker, steady};
use crate::stats::student::Student;

/// Confidence of the intervals of a report.
pub const CONFIDENCE: f64 = 0.95;
const RESAMPLES: usize = 1000;
/// Modes closer than this share of what the op takes are told as one.
const MODES_APART: f64 = 0.01;

/// What a cell's overhead is held against.
pub(super) struct Judge {
    /// The floor of the cell's regime, in cycles per cycle of the op.
    pub floor: f64,
    /// The largest A/A difference of the cell's own group, in cycles.
    pub aa: f64,
}

/// A group at its layouts: the offset, and what each worker found there.
pub(super) type Layouts<'a> = [(u32, &'a [WorkerEstimate])];

/// A column's samples in cycles at every layout that has any.
pub(super) fn samples(layouts: &Layouts, column: usize) -> Vec<(u32, Vec<Sample>)> {
    let of_layout = |(offset, workers): &(u32, &[WorkerEstimate])| {
        (*offset, workers.iter().filter_map(|worker| sample(worker, column)).collect::<Vec<_>>())
    };
    layouts.iter().map(of_layout).filter(|(_, samples)| !samples.is_empty()).collect()
}

fn sample(reduced: &WorkerEstimate, column: usize) -> Option<Sample> {
    let effect = reduced.effects.get(column).copied().flatten()?;
    Some(Sample { worker: reduced.worker, value: effect.cycles, halves: effect.halves, rounds: effect.rounds })
}

/// The median over layouts of the medians over workers.
pub(super) fn middle(layouts: &[(u32, Vec<Sample>)]) -> Option<f64> {
    let of_layout = |(_, samples): &(u32, Vec<Sample>)| median(&samples.iter().map(|s| s.value).collect::<Vec<_>>());
    median(&layouts.iter().filter_map(of_layout).collect::<Vec<_>>())
}

/// The largest A/A difference of a group over its layouts, in cycles: a dear op is noisier than the floor tells.
pub(super) fn largest_aa(layouts: &Layouts) -> f64 {
    [0, 1].map(|column| middle(&samples(layouts, column)).map_or(0.0, f64::abs)).into_iter().fold(0.0, f64::max)
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
        deciding_cycles: None,
        resolved: false,
        limit: None,
    }
}

/// What all cells of a run are estimated with.
pub(super) struct EstimateContext<'a> {
    /// What resamples are made of.
    pub draws: &'a Draws,
    /// Intervals at the confidence that the cells hold together with.
    pub family: &'a Student,
    /// Nanoseconds per cycle.
    pub ns_per_cycle: f64,
}

/// Fills a cell from what the workers found for its column.
pub(super) fn fill(cell: &mut Cell, layouts: &Layouts, column: usize, judge: Option<&Judge>, with: &EstimateContext) {
    let mut cycles = Vec::new();
    let mut log_ratios = Vec::new();
    let mut native = Vec::new();
    let mut finest: f64 = 0.0;
    for (offset, workers) in layouts {
        let effects: Vec<&VariantEffect> =
            workers.iter().filter_map(|w| w.effects.get(column).and_then(Option::as_ref)).collect();
        let values: Vec<f64> = effects.iter().map(|e| e.cycles).collect();
        let resolution = workers.iter().map(|w| w.resolution_cycles).fold(0.0, f64::max);
        let here = Bootstrap {
            confidence: CONFIDENCE,
            resamples: RESAMPLES,
            resolution: resolution / (workers.len().max(1) as f64).sqrt(),
        };
        let Some(interval) = with.draws.workers(&here, &values) else { continue };
        finest = finest.max(here.resolution);
        // Values that differ by less than the floor, or by less than a hundredth of what the op takes, are one value.
        let takes = (workers.first().map_or(0.0, |w| w.inline_cycles) + interval.estimate.abs()).max(1.0);
        let apart = judge.map_or(0.0, |judge| judge.floor * takes).max(MODES_APART * takes);
        let own: Vec<Sample> = workers.iter().filter_map(|worker| sample(worker, column)).collect();
        let gathered = modes(&steady(&own, interval.estimate, apart), resolution.max(apart));
        if gathered.len() > 1 {
            cell.modes.extend(gathered.iter().map(|m| ModeShare { offset: *offset, cycles: m.value, share: m.share }));
        }
        cell.layouts.push(LayoutEstimate { offset: *offset, cycles: estimate(&interval), workers: values.len() });
        cycles.push(values);
        log_ratios.push(effects.iter().map(|e| e.log_ratio).collect::<Vec<_>>());
        native.extend(workers.iter().map(|w| w.inline_cycles));
    }
    let over = Bootstrap { confidence: CONFIDENCE, resamples: RESAMPLES, resolution: finest };
    let native_cycles = median(&native);
    let relative = native_cycles.map_or(0.0, |n| finest / n);
    let (Some(total), Some(ratio)) = (
        with.draws.layouts(&over, &cycles),
        with.draws.layouts(&Bootstrap { resolution: relative, ..over }, &log_ratios),
    ) else {
        cell.absent = Some("fewer than two workers finished this group".to_owned());
        return;
    };
    cell.native_cycles = native_cycles;
    cell.layout_range = range(&cell.layouts);
    let samples: Vec<Vec<Sample>> = samples(layouts, column).into_iter().map(|(_, samples)| samples).collect();
    let scattered = spread::spread(&samples);
    cell.spread = scattered.map(described);
    if let Some(judge) = judge {
        let bound = judge.bound(native_cycles.unwrap_or(0.0) + total.estimate.abs());
        let interval = with.family.around(total.estimate, &by_worker(&samples));
        // Those that are shown, and nothing else: a reader can check the verdict.
        let (layouts, modes): (Vec<f64>, Vec<f64>) = (
            cell.layouts.iter().map(|layout| layout.cycles.estimate).collect(),
            cell.modes.iter().map(|mode| mode.cycles).collect(),
        );
        cell.floor_cycles = Some(bound);
        cell.deciding_cycles = interval.map(|Interval { low, high, .. }| Bounds { low, high });
        cell.limit = limit(&Deciders {
            estimate: total.estimate,
            interval,
            layouts: &layouts,
            layouts_dominate: scattered.is_some_and(|found| found.largest == Source::Layouts),
            modes: &modes,
            floor: bound,
        });
        cell.resolved = cell.limit.is_none();
    }
    cell.overhead = Some(Overhead {
        cycles: estimate(&total),
        ns: estimate(&total.map(|c| c * with.ns_per_cycle)),
        ratio: estimate(&ratio.map(f64::exp)),
    });
}

impl Judge {
    /// Nothing below so many cycles is a difference, where the op takes `takes` with the mechanism.
    pub fn bound(&self, takes: f64) -> f64 {
        self.aa.max(self.floor * takes.max(1.0))
    }
}

/// What keeps an overhead from being resolved, if anything does.
pub(super) fn limit(deciders: &Deciders) -> Option<Limit> {
    deciders.obstacle().map(|obstacle| match obstacle {
        Obstacle::Floor => Limit::Floor,
        Obstacle::Interval => Limit::Interval,
        Obstacle::Modes => Limit::Modes,
        Obstacle::Layouts => Limit::Layout,
    })
}

/// Largest minus smallest over two layouts or more.
fn range(layouts: &[LayoutEstimate]) -> Option<f64> {
    let of = |pick: fn(f64, f64) -> f64, start| layouts.iter().map(|layout| layout.cycles.estimate).fold(start, pick);
    (layouts.len() > 1).then(|| of(f64::max, f64::NEG_INFINITY) - of(f64::min, f64::INFINITY))
}

fn described(found: spread::Spread) -> Spread {
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

fn estimate(interval: &Interval) -> Estimate {
    Estimate { estimate: interval.estimate, low: interval.low, high: interval.high }
}
