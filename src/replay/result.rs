//! The result of a replay: cycles per hook in Linux's surroundings, with intervals over placements.

use std::collections::BTreeMap;

use serde::Serialize;

use super::measure::{COPY, INLINE, REPEAT, ReplayPlan};
use super::skeleton::Facts;
use super::{Assumptions, SiteKind};
use crate::linux::record::recording::Recording;
use crate::measure::samples::Block;
use crate::stats::Interval;
use crate::stats::location::median;
use crate::stats::student::t_quantile;

/// Confidence of the intervals, two-sided.
const CONFIDENCE: f64 = 0.95;

/// The result of a replay. It is experimental: no headline rests on it.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayResult {
    /// Always true.
    pub experimental: bool,
    /// Name of the workload.
    pub workload: String,
    /// Name of its unit.
    pub unit: String,
    /// Replayed units.
    pub units: f64,
    /// Calls of hooks per unit.
    pub hooks_per_unit: f64,
    /// Share of them whose body stands in the place of its call with `inline`.
    pub inlined_share: f64,
    /// Core cycles per unit with `inline`.
    pub inline_cycles: Interval,
    /// `inline` against itself, in cycles per hook: nothing differs.
    pub repeat_cycles_per_hook: Interval,
    /// `inline` against a copy at other addresses, in cycles per hook.
    pub copy_cycles_per_hook: Interval,
    /// Core cycles per hook above `inline`, by mechanism.
    pub cycles_per_hook: BTreeMap<&'static str, Interval>,
    /// Core cycles per unit above `inline`, by mechanism.
    pub overhead_cycles: BTreeMap<&'static str, Interval>,
    /// Each placement.
    pub placements: Vec<PlacementResult>,
    /// Blocks that were dropped, because something else used the core.
    pub dropped_blocks: usize,
    /// What the replay has of its recording.
    pub facts: Facts,
    /// What the recording does not say.
    pub assumptions: Assumptions,
}

/// The result of a placement: medians over its blocks.
#[derive(Clone, Debug, Serialize)]
pub struct PlacementResult {
    /// Core cycles per unit with `inline`.
    pub inline_cycles: f64,
    /// `inline` against itself, in cycles per hook.
    pub repeat: f64,
    /// `inline` against a copy, in cycles per hook.
    pub copy: f64,
    /// Cycles per hook above `inline`, by mechanism.
    pub mechanisms: BTreeMap<&'static str, f64>,
}

impl PlacementResult {
    /// `None` without blocks.
    pub(super) fn of(blocks: &[Block<f64>], facts: &Facts, units: f64, kinds: &[SiteKind]) -> Option<PlacementResult> {
        let hooks = facts.hooks.max(1) as f64 / units;
        let cycles = |block: &Block<f64>, column: usize| {
            let [first, second] = block.pairs.get(column)?;
            Some(f64::midpoint(first, second) / block.mean_ticks_per_cycle())
        };
        let over = |of: &dyn Fn(&Block<f64>) -> Option<f64>| median(&blocks.iter().filter_map(of).collect::<Vec<_>>());
        let per_hook = |column: usize| over(&|block| Some((cycles(block, column)? - cycles(block, INLINE)?) / hooks));
        let mechanisms =
            kinds.iter().enumerate().filter_map(|(index, kind)| Some((kind.name(), per_hook(COPY + 1 + index)?)));
        Some(PlacementResult {
            inline_cycles: over(&|block| cycles(block, INLINE))?,
            repeat: per_hook(REPEAT)?,
            copy: per_hook(COPY)?,
            mechanisms: mechanisms.collect(),
        })
    }
}

/// The mean over placements, with its interval.
fn interval(values: &[f64]) -> Interval {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    let t = t_quantile(f64::midpoint(1.0, CONFIDENCE), count - 1.0).unwrap_or(f64::INFINITY);
    let half = t * (variance / count).sqrt();
    Interval { estimate: mean, low: mean - half, high: mean + half }
}

/// Summarises placements; there are two or more.
pub(super) fn summarise(
    recording: &Recording,
    facts: &Facts,
    units: f64,
    placements: Vec<PlacementResult>,
    plan: &ReplayPlan,
    dropped: usize,
) -> ReplayResult {
    let over =
        |of: &dyn Fn(&PlacementResult) -> Option<f64>| interval(&placements.iter().filter_map(of).collect::<Vec<_>>());
    let hooks_per_unit = facts.hooks as f64 / units;
    let by_kind = |factor: f64| -> BTreeMap<&'static str, Interval> {
        let of = |kind: &SiteKind| {
            (kind.name(), over(&|placement| placement.mechanisms.get(kind.name()).map(|cycles| cycles * factor)))
        };
        plan.mechanisms.iter().map(of).collect()
    };
    ReplayResult {
        experimental: true,
        workload: recording.about.workload.clone(),
        unit: recording.about.unit.clone(),
        units,
        hooks_per_unit,
        inlined_share: facts.inlined_hooks as f64 / facts.hooks.max(1) as f64,
        inline_cycles: over(&|placement| Some(placement.inline_cycles)),
        repeat_cycles_per_hook: over(&|placement| Some(placement.repeat)),
        copy_cycles_per_hook: over(&|placement| Some(placement.copy)),
        cycles_per_hook: by_kind(1.0),
        overhead_cycles: by_kind(hooks_per_unit),
        dropped_blocks: dropped,
        facts: facts.clone(),
        assumptions: plan.assumptions,
        placements,
    }
}
