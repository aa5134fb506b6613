//! Workloads: each worker's runs are reduced to what they take undisturbed, and each kernel gets its overhead over workers.

use std::collections::BTreeMap;

use super::CONFIDENCE;
use super::predict::Costs;
use crate::measure::wire::Missing;
use crate::measure::work::{AGAIN, FIRST_COLUMN, FIRST_COPY, KernelColumn, Turn, WorkSamples};
use crate::report::schema::{Cell, Estimate, UnitInstructions, Workload, WorkloadKernel};
use crate::stats::Interval;
use crate::stats::bootstrap::{Bootstrap, Draws};
use crate::stats::location::{median, quantile};
use crate::stats::multiplicity::confidence_for;
use crate::stats::student::Student;
use crate::workload::{COPIES, Meta, PARTS};

const RESAMPLES: usize = 1000;

/// Collects what workers found for workloads.
#[derive(Default)]
pub struct WorkEstimator {
    /// By workload, with the number of the worker.
    samples: BTreeMap<String, Vec<(usize, WorkSamples)>>,
}

impl WorkEstimator {
    /// Takes a workload's samples from one worker.
    pub fn add(&mut self, worker: usize, workload: &str, samples: WorkSamples) {
        self.samples.entry(workload.to_owned()).or_default().push((worker, samples));
    }

    /// Whether every one of these was measured.
    #[must_use]
    pub fn has_all(&self, workloads: &[String]) -> bool {
        workloads.iter().all(|name| self.samples.contains_key(name))
    }

    /// Whether any was measured.
    #[must_use]
    pub fn has_any(&self) -> bool {
        !self.samples.is_empty()
    }

    /// Makes the estimates, in the order of `metas`. `cells` are those of the same run, for the prediction.
    #[must_use]
    pub fn finish(
        &self,
        metas: &[Meta],
        kernels: &[KernelColumn],
        cells: &[Cell],
        seed: u64,
        ticks_per_second: f64,
    ) -> Vec<Workload> {
        let measured: Vec<(&Meta, &Vec<(usize, WorkSamples)>)> =
            metas.iter().filter_map(|meta| Some((meta, self.samples.get(meta.name)?))).collect();
        let quiet: Vec<Vec<Worked>> = measured.iter().map(|(_, samples)| undisturbed(samples)).collect();
        let judgements = measured.len() * kernels.len();
        let workers = quiet.iter().map(Vec::len).max().unwrap_or(0);
        let with = Means {
            draws: &Draws::new(seed ^ 0x776f_726b_6c6f_6164),
            family: &Student::new(confidence_for(judgements.max(1), 1.0 - CONFIDENCE), workers),
            costs: &Costs::of(cells),
            ticks_per_second,
        };
        let each = measured.iter().zip(&quiet);
        each.map(|((meta, samples), workers)| of_workload(meta, samples, workers, kernels, &with)).collect()
    }
}

/// One worker's result for one workload.
struct Worked {
    /// What a unit took with `inline`, in ticks.
    inline_ticks: f64,
    /// The same in core cycles.
    inline_cycles: f64,
    /// Logarithms of the ratios to `inline`, of the kernels from [`AGAIN`] on in their places; `None` for those that were
    /// not measured. For `inline` again and for its copies to the same `inline`; for columns to the mean of it and its
    /// copies, so that the place of one of them in memory does not shift all.
    logs: Vec<Option<f64>>,
}

/// What a part of a run took: the lower quartile over the runs, for all of them did the same work, and what comes in
/// between only makes it longer. Over the same rounds for the two that are compared, since what is the quarter of more
/// values lies lower.
const CLEAR: f64 = 0.25;

/// A run of this kernel in the rounds that `like` was in: the sum of its parts. Options sit out every other round, the
/// second of each two.
fn run_of(turns: &[Turn], like: &[Turn]) -> Option<f64> {
    let step = turns.len().div_ceil(like.len().max(1)).max(1);
    let part = |part: usize| {
        let ticks = turns.iter().step_by(step).flat_map(|turn| turn.iter().map(move |half| half[part] as f64));
        quantile(&ticks.collect::<Vec<_>>(), CLEAR)
    };
    (0..PARTS).map(part).sum::<Option<f64>>().filter(|ticks| *ticks > 0.0)
}

/// One worker's samples reduced; `None` where it made no round.
fn reduced(samples: &WorkSamples) -> Option<Worked> {
    let log = |kernel: usize, like: &[Turn]| run_of(samples.kernels.get(kernel)?, like).map(f64::ln);
    // Two of them, each as often as any other.
    let inline = |like: &[Turn]| Some(f64::midpoint(log(0, like)?, log(1, like)?));
    let placed = |like: &[Turn]| {
        let copies = (FIRST_COPY..FIRST_COLUMN).map(|copy| log(copy, like)).sum::<Option<f64>>()?;
        Some((inline(like)? + copies) / (1 + COPIES) as f64)
    };
    let own = samples.kernels.first()?;
    let ticks = inline(own)?.exp() / (samples.units * PARTS as u64) as f64;
    let rates: Vec<f64> = samples.ticks_per_cycle.iter().flatten().copied().collect();
    let last = samples.columns.iter().max().map_or(0, |last| last + 1);
    let mut logs = vec![None; FIRST_COLUMN - AGAIN + last];
    for kernel in AGAIN..FIRST_COLUMN {
        let like = samples.kernels.get(kernel)?;
        logs[kernel - AGAIN] = log(kernel, like).zip(inline(like)).map(|(own, inline)| own - inline);
    }
    for (index, column) in samples.columns.iter().enumerate() {
        let like = samples.kernels.get(FIRST_COLUMN + index)?;
        let found = log(FIRST_COLUMN + index, like).zip(placed(like)).map(|(own, placed)| own - placed);
        logs[FIRST_COLUMN - AGAIN + column] = found;
    }
    Some(Worked { inline_ticks: ticks, inline_cycles: ticks / median(&rates)?, logs })
}

/// A worker whose `inline` takes longer than this times the lower quartile of all had less than the whole core all the
/// time.
const DISTURBED: f64 = 1.03;
/// Undisturbed workers, without which all are taken.
const ENOUGH: usize = 6;

/// The workers that had the core to themselves; all of them where they are too few.
fn undisturbed(samples: &[(usize, WorkSamples)]) -> Vec<Worked> {
    let all: Vec<Worked> = samples.iter().filter_map(|(_, samples)| reduced(samples)).collect();
    let ticks: Vec<f64> = all.iter().map(|worker| worker.inline_ticks).collect();
    let most = quantile(&ticks, CLEAR).map_or(f64::INFINITY, |clear| clear * DISTURBED);
    if ticks.iter().filter(|ticks| **ticks <= most).count() < ENOUGH {
        return all;
    }
    all.into_iter().filter(|worker| worker.inline_ticks <= most).collect()
}

/// What all workloads of a run are estimated with.
struct Means<'a> {
    draws: &'a Draws,
    family: &'a Student,
    costs: &'a Costs<'a>,
    ticks_per_second: f64,
}

fn of_workload(
    meta: &Meta,
    samples: &[(usize, WorkSamples)],
    workers: &[Worked],
    kernels: &[KernelColumn],
    with: &Means,
) -> Workload {
    let inline: Vec<f64> = workers.iter().map(|worker| worker.inline_cycles).collect();
    let inline_cycles = with.interval(&inline);
    let ticks: Vec<f64> = workers.iter().map(|worker| worker.inline_ticks).collect();
    let calls = samples.iter().map(|(_, s)| &s.calls).find(|calls| !calls.is_empty()).cloned().unwrap_or_default();
    // Kernels from the same source differ by where they stand: the largest such difference seen with this workload is
    // what mechanisms and options must exceed.
    let differs = |place| median(&logs(workers, place)).map_or(0.0, f64::abs);
    let floor = (0..FIRST_COLUMN - AGAIN).map(differs).fold(0.0, f64::max);
    let counted = Counted::of(samples);
    let kernel = |(index, column): (usize, &KernelColumn)| {
        let missing = samples.iter().flat_map(|(_, s)| &s.missing).find(|missing| missing.column == index);
        let found = logs(workers, index + FIRST_COLUMN - AGAIN);
        let kernel = of_kernel(column, missing, &found, inline_cycles.as_ref(), &calls, floor, with);
        counted.with(kernel, index)
    };
    Workload {
        name: meta.name.to_owned(),
        unit: meta.unit.to_owned(),
        summary: meta.summary.to_owned(),
        source: meta.source.to_owned(),
        units: samples.first().map_or(0, |(_, s)| s.units),
        workers: workers.len(),
        disturbed_workers: samples.len() - workers.len(),
        inline_cycles: inline_cycles.as_ref().map(estimate),
        inline_ns: median(&ticks).map(|ticks| ticks / with.ticks_per_second * 1e9),
        again_percent: with.interval(&logs(workers, 0)).map(|found| estimate(&percent(found))),
        copies_percent: (1..FIRST_COLUMN - AGAIN)
            .filter_map(|place| with.interval(&logs(workers, place)).map(|found| estimate(&percent(found))))
            .collect(),
        floor_percent: floor.exp_m1() * 100.0,
        kernels: kernels.iter().enumerate().map(kernel).collect(),
        inline_instructions: counted.inline_instructions(),
        inline_counters: counted.events.first().map(named),
        calls,
    }
}

/// What one worker counted: of `inline`, then of the columns.
#[derive(Default)]
struct Counted<'a> {
    columns: &'a [usize],
    instructions: &'a [Result<f64, String>],
    events: &'a [Vec<(String, f64)>],
}

impl<'a> Counted<'a> {
    fn of(samples: &'a [(usize, WorkSamples)]) -> Self {
        let with = samples.iter().map(|(_, s)| s).find(|s| !s.instructions.is_empty() || !s.counters.is_empty());
        with.map_or_else(Counted::default, |samples| Counted {
            columns: &samples.columns,
            instructions: &samples.instructions,
            events: &samples.counters,
        })
    }

    fn inline_instructions(&self) -> Option<f64> {
        self.instructions.first()?.as_ref().ok().copied()
    }

    /// A kernel with its counts, by its place in the plan.
    fn with(&self, mut kernel: WorkloadKernel, index: usize) -> WorkloadKernel {
        let Some(place) = self.columns.iter().position(|column| *column == index) else { return kernel };
        kernel.counters = self.events.get(place + 1).map(named);
        match (self.instructions.get(place + 1), self.inline_instructions()) {
            (Some(Ok(per_unit)), Some(inline)) => {
                let extra_percent = (per_unit / inline - 1.0) * 100.0;
                kernel.instructions = Some(UnitInstructions { per_unit: *per_unit, extra_percent });
            }
            (Some(Ok(_)), None) => kernel.instructions_absent = Some("inline could not be counted".to_owned()),
            (Some(Err(reason)), _) => kernel.instructions_absent = Some(reason.clone()),
            (None, _) => {}
        }
        kernel
    }
}

fn named(events: &Vec<(String, f64)>) -> BTreeMap<String, f64> {
    events.iter().cloned().collect()
}

fn of_kernel(
    column: &KernelColumn,
    missing: Option<&Missing>,
    found: &[f64],
    inline: Option<&Interval>,
    calls: &BTreeMap<String, f64>,
    floor: f64,
    with: &Means,
) -> WorkloadKernel {
    let (mechanism, state, option) = match column {
        KernelColumn::Mechanism(column) => (Some(column.mechanism.clone()), column.state, None),
        KernelColumn::Option(option) => (None, None, Some(option.clone())),
    };
    let interval = with.interval(found);
    let resolved = interval.as_ref().is_some_and(|interval| {
        let deviations: Vec<f64> = found.iter().map(|value| value - interval.estimate).collect();
        let strict = with.family.around(interval.estimate, &deviations);
        strict.is_some_and(|strict| strict.low > floor || strict.high < -floor)
    });
    let overhead = interval.map(percent);
    let cycles = overhead.as_ref().zip(inline).map(|(o, inline)| o.map(|percent| percent / 100.0 * inline.estimate));
    let predicted = mechanism.as_deref().zip(inline).map(|(mechanism, inline)| {
        let cycles = with.costs.of_calls(calls, mechanism, state).map_err(|ops| lacking(&ops))?;
        if calls.is_empty() { Err("no calls were counted".to_owned()) } else { Ok(cycles / inline.estimate * 100.0) }
    });
    WorkloadKernel {
        mechanism,
        state: state.map(|state| state.name().to_owned()),
        option,
        absent: match (&overhead, missing) {
            (Some(_), _) => None,
            (None, Some(missing)) => Some(missing.reason.clone()),
            (None, None) => Some("fewer than two workers finished it".to_owned()),
        },
        overhead_percent: overhead.as_ref().map(estimate),
        overhead_cycles: cycles.as_ref().map(estimate),
        instructions: None,
        instructions_absent: None,
        counters: None,
        resolved,
        predicted_percent: predicted.as_ref().and_then(|predicted| predicted.as_ref().ok().copied()),
        predicted_absent: predicted.and_then(Result::err),
    }
}

fn lacking(ops: &[String]) -> String {
    const NAMED: usize = 3;
    let rest = if ops.len() > NAMED { format!(" and {} more", ops.len() - NAMED) } else { String::new() };
    format!("the run has no throughput cell of {}{rest}", ops[..ops.len().min(NAMED)].join(", "))
}

impl Means<'_> {
    fn interval(&self, values: &[f64]) -> Option<Interval> {
        let over = Bootstrap { confidence: CONFIDENCE, resamples: RESAMPLES, resolution: 0.0 };
        self.draws.workers(&over, values)
    }
}

/// The logarithms of a kernel's ratio to `inline`, one per worker.
fn logs(workers: &[Worked], place: usize) -> Vec<f64> {
    workers.iter().filter_map(|worker| *worker.logs.get(place)?).collect()
}

fn percent(logarithm: Interval) -> Interval {
    logarithm.map(|log| log.exp_m1() * 100.0)
}

fn estimate(interval: &Interval) -> Estimate {
    Estimate { estimate: interval.estimate, low: interval.low, high: interval.high }
}
