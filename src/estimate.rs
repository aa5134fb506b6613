//! From samples to cells: a worker's rounds are reduced to their median, and each cell gets its estimate over workers,
//! per layout and over layouts. The numbers are made by [`crate::stats`].

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use crate::dispatch::Platform;
use crate::measure::plan::{Group, Plan};
use crate::measure::wire::{GroupSamples, Missing, RoundSamples};
use crate::op::Meta;
use crate::patch::State;
use crate::regime::Regime;
use crate::report::schema::{Cell, Estimate, Floor, Instructions, LayoutEstimate, Limit, ModeShare, Overhead};
use crate::stats::bootstrap::Bootstrap;
use crate::stats::effect::{Round, differences};
use crate::stats::location::{median, quantile};
use crate::stats::modes::{Mode, modes};
use crate::stats::{Interval, floor, resolve};

/// Confidence of the intervals of a report.
pub const CONFIDENCE: f64 = 0.95;
const RESAMPLES: usize = 1000;
/// Modes closer than this share of what the op takes are told as one.
const MODES_APART: f64 = 0.01;

/// A round is quiet with at least this share of the adds per cycle that the core gives.
const QUIET: f64 = 0.97;
/// A worker counts with this many quiet rounds.
const QUIET_ROUNDS: usize = 1;
/// So many quiet workers can make an interval of 95%; with fewer, all are used, disturbed or not.
const QUIET_WORKERS: usize = 6;

/// One worker's rounds with at least `from` adds per cycle, reduced; `None` with fewer than `at_least` of them.
fn reduce_worker(samples: &GroupSamples, from: f64, at_least: usize, window_cycles: u64) -> Option<Reduced> {
    let rounds: Vec<Round> = samples
        .rounds
        .iter()
        .filter(|round| from == 0.0 || round.adds_per_cycle >= from)
        .map(|round| Round {
            ticks: [round.again, round.copy].into_iter().chain(round.ticks.iter().copied()).collect(),
            inline: round.inline,
            ticks_per_cycle: round.ticks_per_cycle,
        })
        .collect();
    if rounds.len() < at_least {
        return None;
    }
    let comparisons = rounds.first().map_or(0, |round| round.ticks.len());
    let measured: Vec<_> = (0..comparisons).map(|m| differences(&rounds, m)).collect();
    let inline_cycles = measured.iter().flatten().map(|e| e.inline_cycles).next()?;
    // The two A/A comparisons, then every column of the plan in its place, measured or not.
    let places = [0, 1].into_iter().chain(samples.columns.iter().map(|column| column + 2));
    let mut effects = vec![None; samples.columns.iter().max().map_or(0, |last| last + 1) + 2];
    for (place, effect) in places.zip(measured) {
        effects[place] = effect.map(|e| (e.cycles, e.log_ratio));
    }
    // A window's length is known to a step of the clock; a round's value comes from two windows.
    let ticks_per_cycle = rounds.iter().map(|r| r.ticks_per_cycle).fold(f64::NAN, f64::max);
    let window_ticks = window_cycles as f64 * ticks_per_cycle;
    let relative = samples.clock_step as f64 / window_ticks / (2.0 * rounds.len() as f64).sqrt();
    Some(Reduced { inline_cycles, effects, resolution_cycles: relative * inline_cycles / 2.0 })
}

/// One worker's result for one group.
struct Reduced {
    inline_cycles: f64,
    /// `inline` again, its copy, then the plan's columns: cycles and log-ratio against `inline`.
    effects: Vec<Option<(f64, f64)>>,
    /// Half the clock's step, per op, spread over the windows, in cycles.
    resolution_cycles: f64,
}

/// A group at all its layouts.
type Key = (String, Platform, Regime);

/// Collects samples and makes estimates of them.
#[derive(Default)]
pub struct Estimator {
    samples: BTreeMap<Group, Vec<GroupSamples>>,
    /// Events per op by the column of [`Reduced::effects`].
    counters: BTreeMap<Key, BTreeMap<usize, BTreeMap<String, f64>>>,
    /// Executed instructions by the column of [`Reduced::effects`], or why there is no count.
    instructions: BTreeMap<Key, BTreeMap<usize, Result<Instructions, String>>>,
    /// The columns that an op has no loop for, by their place in the plan; with the reason where it should have one.
    missing: BTreeMap<Key, BTreeMap<usize, Option<Missing>>>,
}

/// What is said of a run's samples as a whole.
pub struct Estimates {
    /// The cells in the order of ops, regimes, mechanisms.
    pub cells: Vec<Cell>,
    /// The A/A floor; absent without a finished group.
    pub floor: Option<Floor>,
    /// Ticks per core cycle: median, and the middle 90% of the rounds.
    pub ticks_per_cycle: Option<Estimate>,
    /// Share of the rounds in which something else had part of the core, 0 to 1.
    pub disturbed_share: f64,
}

impl Estimator {
    /// Takes one group's samples from one worker.
    pub fn add(&mut self, group: &Group, samples: GroupSamples) {
        let key = (group.op.clone(), group.body, group.regime);
        if !samples.counters.is_empty() {
            let places = std::iter::once(0).chain(samples.columns.iter().map(|column| column + 2));
            let counted = samples.counters.iter().map(|c| c.iter().cloned().collect());
            self.counters.insert(key.clone(), places.zip(counted).collect());
        }
        // Every layout has the same instructions.
        if let Some((inline, _)) = samples.instructions.split_first()
            && !self.instructions.contains_key(&key)
        {
            let extra = |per_op: f64| {
                let inline = inline.clone().map_err(|reason| format!("inline was not counted: {reason}"))?;
                Ok(Instructions { per_op, extra: per_op - inline })
            };
            let places = std::iter::once(0).chain(samples.columns.iter().map(|column| column + 2));
            let counted = samples.instructions.iter().map(|counted| counted.clone().and_then(extra));
            self.instructions.insert(key.clone(), places.zip(counted).collect());
        }
        self.missing.entry(key).or_insert_with(|| {
            let absent = samples.absent.iter().map(|column| (*column, None));
            absent.chain(samples.missing.iter().map(|missing| (missing.column, Some(missing.clone())))).collect()
        });
        self.samples.entry(group.clone()).or_default().push(samples);
    }

    /// Below this many independent adds per cycle a round was disturbed: another hyperthread had part of the core. The
    /// most that the core gives is what the best twentieth of the rounds had.
    fn quiet_from(&self) -> f64 {
        let all: Vec<f64> = self.rounds().map(|round| round.adds_per_cycle).filter(|adds| adds.is_finite()).collect();
        quantile(&all, 0.95).map_or(0.0, |best| best * QUIET)
    }

    fn rounds(&self) -> impl Iterator<Item = &RoundSamples> {
        self.samples.values().flatten().flat_map(|samples| &samples.rounds)
    }

    /// The groups of `plan` with too few quiet workers for their disturbed rounds to be left out, those that lack the
    /// fewest first. Looks at how much of the core a round had, and not at what was measured in it.
    #[must_use]
    pub fn wanting(&self, plan: &Plan) -> Vec<Group> {
        let from = self.quiet_from();
        let quiet = |samples: &&GroupSamples| {
            samples.rounds.iter().filter(|round| round.adds_per_cycle >= from).count() >= QUIET_ROUNDS
        };
        let mut wanting: Vec<(usize, &Group)> = plan
            .groups
            .iter()
            .map(|group| (self.samples.get(group).map_or(0, |samples| samples.iter().filter(quiet).count()), group))
            .filter(|(quiet, _)| *quiet < QUIET_WORKERS)
            .collect();
        wanting.sort_by_key(|(quiet, _)| std::cmp::Reverse(*quiet));
        wanting.into_iter().map(|(_, group)| group.clone()).collect()
    }

    /// Reduces the workers of every group over their rounds. Where enough workers had enough quiet rounds, disturbed ones
    /// are left out: the choice looks at the core alone, not at what was measured.
    fn reduce(&self, window_cycles: u64) -> BTreeMap<Group, Vec<Reduced>> {
        let from = self.quiet_from();
        let reduced = |samples: &Vec<GroupSamples>| -> Vec<Reduced> {
            let over = |from: f64, at_least: usize| -> Vec<Reduced> {
                samples.iter().filter_map(|s| reduce_worker(s, from, at_least, window_cycles)).collect()
            };
            let quiet = over(from, QUIET_ROUNDS);
            if quiet.len() >= QUIET_WORKERS { quiet } else { over(0.0, 1) }
        };
        self.samples.iter().map(|(group, samples)| (group.clone(), reduced(samples))).collect()
    }

    /// Makes the estimates. `ops` is the catalogue in the order of the tables; `ticks_per_second` the clock's rate, for
    /// nanoseconds.
    #[must_use]
    pub fn finish(&self, plan: &Plan, ops: &[Meta], ticks_per_second: f64) -> Estimates {
        let mut rng = Pcg64Mcg::seed_from_u64(plan.seed ^ 0x6573_7469_6d61_7465);
        let groups = self.reduce(plan.window_cycles);
        let floor = floor_of(&groups);
        let rates: Vec<f64> = self.rounds().map(|r| r.ticks_per_cycle).filter(|t| t.is_finite() && *t > 0.0).collect();
        let from = self.quiet_from();
        let disturbed = self.rounds().filter(|round| round.adds_per_cycle < from).count();
        let disturbed_share = disturbed as f64 / self.rounds().count().max(1) as f64;
        let ns_per_cycle = median(&rates).unwrap_or(f64::NAN) / ticks_per_second * 1e9;
        let mut cells = Vec::new();
        for meta in ops {
            let mut keys: Vec<(Platform, Regime)> =
                plan.groups.iter().filter(|g| g.op == meta.name).map(|g| (g.body, g.regime)).collect();
            keys.sort_unstable();
            keys.dedup();
            for (body, regime) in keys {
                let layouts: Vec<(u32, &[Reduced])> = groups
                    .iter()
                    .filter(|(g, _)| g.op == meta.name && g.body == body && g.regime == regime)
                    .map(|(g, reduced)| (g.offset, reduced.as_slice()))
                    .collect();
                let aa = largest_aa(&layouts);
                let judge = floor.as_ref().map(|floor| Judge { floor: floor.cycles, aa });
                let key = (meta.name.to_owned(), body, regime);
                let mut cell = |mechanism: &str, state: Option<State>, column: usize| {
                    let mut cell = empty_cell(meta, body, regime, mechanism, state);
                    match self.instructions.get(&key).and_then(|counted| counted.get(&column)) {
                        Some(Ok(counted)) => cell.instructions = Some(*counted),
                        Some(Err(reason)) => cell.instructions_absent = Some(reason.clone()),
                        None => {}
                    }
                    cell.counters = self.counters.get(&key).and_then(|counted| counted.get(&column)).cloned();
                    fill(&mut cell, &layouts, column, judge.as_ref(), ns_per_cycle, &mut rng);
                    cell
                };
                // The second of the A/A comparisons, the copy, is no cell of its own.
                cells.push(cell("inline", None, 0));
                for (index, column) in plan.columns.iter().enumerate() {
                    match self.missing.get(&key).and_then(|missing| missing.get(&index)) {
                        // A state that the op never is in.
                        Some(None) => {}
                        Some(Some(missing)) => {
                            let state = if missing.refused { Some(State::Refused) } else { column.state };
                            let mut cell = empty_cell(meta, body, regime, &column.mechanism, state);
                            cell.absent = Some(missing.reason.clone());
                            cells.push(cell);
                        }
                        None => cells.push(cell(&column.mechanism, column.state, index + 2)),
                    }
                }
            }
        }
        Estimates { cells, floor, ticks_per_cycle: middle(&rates), disturbed_share }
    }
}

/// The floor of the run. Noise grows with what a pass takes, so each group's A/A difference counts per cycle of its
/// op, at least one: otherwise a few dear ops would set the floor of all cheap ones.
fn floor_of(groups: &BTreeMap<Group, Vec<Reduced>>) -> Option<Floor> {
    let column = |column: usize, part: fn(&Reduced, (f64, f64)) -> f64| -> Vec<f64> {
        let of_group = |workers: &Vec<Reduced>| {
            let effects = workers.iter().filter_map(|w| Some((w, w.effects.get(column).copied().flatten()?)));
            median(&effects.map(|(w, effect)| part(w, effect)).collect::<Vec<_>>())
        };
        groups.values().filter_map(of_group).collect()
    };
    let scaled = |w: &Reduced, effect: (f64, f64)| effect.0 / w.inline_cycles.max(1.0);
    let (same, copied) = (column(0, scaled), column(1, scaled));
    let made = floor::floor(&copied, &column(1, |_, effect| effect.1))?;
    let typical = |values: &[f64]| median(&values.iter().map(|v| v.abs()).collect::<Vec<_>>());
    Some(Floor {
        cycles: made.cycles,
        ratio: made.ratio,
        groups: made.groups,
        same_loop_cycles: typical(&same)?,
        copied_loop_cycles: typical(&copied)?,
    })
}

fn middle(values: &[f64]) -> Option<Estimate> {
    Some(Estimate { estimate: median(values)?, low: quantile(values, 0.05)?, high: quantile(values, 0.95)? })
}

/// What a cell's overhead is held against.
struct Judge {
    /// The run's floor, in cycles per cycle of the op.
    floor: f64,
    /// The largest A/A difference of the cell's own group, in cycles.
    aa: f64,
}

/// The largest A/A difference of a group's own layouts, in cycles: a dear op is noisier than the run's floor tells.
fn largest_aa(layouts: &[(u32, &[Reduced])]) -> f64 {
    layouts
        .iter()
        .flat_map(|(_, workers)| {
            [0, 1].map(|column| {
                let values: Vec<f64> =
                    workers.iter().filter_map(|w| w.effects.get(column).copied().flatten()).map(|e| e.0).collect();
                median(&values).map_or(0.0, f64::abs)
            })
        })
        .fold(0.0, f64::max)
}

fn empty_cell(meta: &Meta, body: Platform, regime: Regime, mechanism: &str, state: Option<State>) -> Cell {
    Cell {
        op: meta.name.to_owned(),
        body,
        kind: match body {
            Platform::Native => meta.native_kind,
            Platform::Xen => meta.xen_kind,
        },
        mechanism: mechanism.to_owned(),
        state: state.map(|state| state.name().to_owned()),
        regime,
        overhead: None,
        absent: None,
        native_cycles: None,
        layouts: Vec::new(),
        layout_range: None,
        modes: Vec::new(),
        instructions: None,
        instructions_absent: None,
        counters: None,
        floor_cycles: None,
        resolved: false,
        limit: None,
    }
}

fn fill(
    cell: &mut Cell,
    layouts: &[(u32, &[Reduced])],
    column: usize,
    judge: Option<&Judge>,
    ns_per_cycle: f64,
    rng: &mut Pcg64Mcg,
) {
    let mut cycles = Vec::new();
    let mut log_ratios = Vec::new();
    let mut native = Vec::new();
    let mut found: Vec<Mode> = Vec::new();
    let mut intervals = Vec::new();
    let mut finest: f64 = 0.0;
    for (offset, workers) in layouts {
        let effects: Vec<(f64, f64)> =
            workers.iter().filter_map(|w| w.effects.get(column).copied().flatten()).collect();
        let values: Vec<f64> = effects.iter().map(|e| e.0).collect();
        let resolution = workers.iter().map(|w| w.resolution_cycles).fold(0.0, f64::max);
        let here = Bootstrap {
            confidence: CONFIDENCE,
            resamples: RESAMPLES,
            resolution: resolution / (workers.len().max(1) as f64).sqrt(),
        };
        let Some(interval) = here.workers(&values, rng) else { continue };
        finest = finest.max(here.resolution);
        // Values that differ by less than the floor, or by less than a hundredth of what the op takes, are one value.
        let takes = (workers.first().map_or(0.0, |w| w.inline_cycles) + interval.estimate.abs()).max(1.0);
        let apart = judge.map_or(0.0, |judge| judge.floor * takes).max(MODES_APART * takes);
        let gathered = modes(&values, resolution.max(apart));
        if gathered.len() > 1 {
            cell.modes.extend(gathered.iter().map(|m| ModeShare { offset: *offset, cycles: m.value, share: m.share }));
        }
        found.extend(gathered);
        cell.layouts.push(LayoutEstimate { offset: *offset, cycles: estimate(&interval), workers: values.len() });
        intervals.push(interval);
        cycles.push(values);
        log_ratios.push(effects.iter().map(|e| e.1).collect::<Vec<_>>());
        native.extend(workers.iter().map(|w| w.inline_cycles));
    }
    let over = Bootstrap { confidence: CONFIDENCE, resamples: RESAMPLES, resolution: finest };
    let native_cycles = median(&native);
    let relative = native_cycles.map_or(0.0, |n| finest / n);
    let (Some(total), Some(ratio)) =
        (over.layouts(&cycles, rng), Bootstrap { resolution: relative, ..over }.layouts(&log_ratios, rng))
    else {
        cell.absent = Some("fewer than two workers finished this group".to_owned());
        return;
    };
    cell.native_cycles = native_cycles;
    if intervals.len() > 1 {
        let of = |pick: fn(f64, f64) -> f64, start| intervals.iter().map(|i| i.estimate).fold(start, pick);
        cell.layout_range = Some(of(f64::max, f64::NEG_INFINITY) - of(f64::min, f64::INFINITY));
    }
    if let Some(judge) = judge {
        let takes = native_cycles.unwrap_or(0.0) + total.estimate.abs();
        let bound = judge.aa.max(judge.floor * takes.max(1.0));
        let clear = |modes: &[Mode], range: f64| resolve::resolved(&intervals, modes, total.estimate, range, bound);
        cell.floor_cycles = Some(bound);
        cell.resolved = clear(&found, cell.layout_range.unwrap_or(0.0));
        cell.limit = match cell.resolved {
            true => None,
            false if !clear(&[], 0.0) => Some(Limit::Floor),
            false if !clear(&found, 0.0) => Some(Limit::Modes),
            false => Some(Limit::Layout),
        };
    }
    cell.overhead = Some(Overhead {
        cycles: estimate(&total),
        ns: estimate(&total.map(|c| c * ns_per_cycle)),
        ratio: estimate(&ratio.map(f64::exp)),
    });
}

fn estimate(interval: &Interval) -> Estimate {
    Estimate { estimate: interval.estimate, low: interval.low, high: interval.high }
}
