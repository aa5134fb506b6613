//! Workloads: each worker's rounds are reduced to a median, and each kernel gets its overhead over workers.

use std::collections::BTreeMap;

use super::predict::Costs;
use super::reduce::Reduced;
use super::{CONFIDENCE, quiet_from, quiet_or_all};
use crate::measure::wire::{GroupSamples, Missing};
use crate::measure::work::{KernelColumn, WINDOW_CYCLES, WorkSamples};
use crate::report::schema::{Cell, Estimate, Workload, WorkloadKernel};
use crate::stats::Interval;
use crate::stats::bootstrap::{Bootstrap, Draws};
use crate::stats::location::median;
use crate::stats::multiplicity::confidence_for;
use crate::stats::student::Student;
use crate::workload::{COPIES, Meta};

const RESAMPLES: usize = 1000;

/// Collects what workers found for workloads.
#[derive(Default)]
pub struct WorkEstimator {
    /// By workload, with the number of the worker.
    samples: BTreeMap<String, Vec<(usize, WorkSamples)>>,
}

/// The kernels of a workload, as places in [`Reduced::effects`].
const AGAIN: usize = 0;
const FIRST_KERNEL: usize = 1 + COPIES;

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
        let adds = measured.iter().flat_map(|(_, samples)| samples.iter());
        let adds: Vec<f64> = adds.flat_map(|(_, s)| s.samples.rounds.iter().map(|r| r.adds_per_cycle)).collect();
        let from = quiet_from(&adds);
        let reduced: Vec<Vec<Reduced>> = measured
            .iter()
            .map(|(_, samples)| {
                let samples: Vec<(usize, &GroupSamples)> = samples.iter().map(|(w, s)| (*w, &s.samples)).collect();
                quiet_or_all(&samples, from, WINDOW_CYCLES)
            })
            .collect();
        let judgements = measured.len() * kernels.len();
        let workers = reduced.iter().map(Vec::len).max().unwrap_or(0);
        let with = Means {
            draws: &Draws::new(seed ^ 0x776f_726b_6c6f_6164),
            family: &Student::new(confidence_for(judgements.max(1), 1.0 - CONFIDENCE), workers),
            costs: &Costs::of(cells),
            ticks_per_second,
        };
        let workload = |((meta, samples), reduced): (&(&Meta, &Vec<(usize, WorkSamples)>), &Vec<Reduced>)| {
            of_workload(meta, samples, reduced, kernels, &with)
        };
        measured.iter().zip(&reduced).map(workload).collect()
    }
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
    workers: &[Reduced],
    kernels: &[KernelColumn],
    with: &Means,
) -> Workload {
    let inline: Vec<f64> = workers.iter().map(|worker| worker.inline_cycles).collect();
    let inline_cycles = with.interval(&inline);
    let rates = samples.iter().flat_map(|(_, s)| s.samples.rounds.iter().map(|round| round.ticks_per_cycle[0]));
    let rate = median(&rates.collect::<Vec<_>>());
    let calls = samples.iter().map(|(_, s)| &s.calls).find(|calls| !calls.is_empty()).cloned().unwrap_or_default();
    // Kernels from the same source differ by where they stand: the largest such difference seen with this workload is
    // what mechanisms and options must exceed.
    let differs = |place| median(&logs(workers, place)).map_or(0.0, f64::abs);
    let floor = (AGAIN..FIRST_KERNEL).map(differs).fold(0.0, f64::max);
    let kernel = |(index, column): (usize, &KernelColumn)| {
        let missing = samples.iter().flat_map(|(_, s)| &s.samples.missing).find(|missing| missing.column == index);
        of_kernel(column, missing, &logs(workers, index + FIRST_KERNEL), inline_cycles.as_ref(), &calls, floor, with)
    };
    Workload {
        name: meta.name.to_owned(),
        unit: meta.unit.to_owned(),
        summary: meta.summary.to_owned(),
        source: meta.source.to_owned(),
        units: samples.first().map_or(0, |(_, s)| s.units),
        workers: workers.len(),
        inline_cycles: inline_cycles.as_ref().map(estimate),
        inline_ns: inline_cycles
            .as_ref()
            .zip(rate)
            .map(|(cycles, rate)| cycles.estimate * rate / with.ticks_per_second * 1e9),
        again_percent: with.interval(&logs(workers, AGAIN)).map(|found| estimate(&percent(found))),
        copies_percent: (AGAIN + 1..FIRST_KERNEL)
            .filter_map(|place| with.interval(&logs(workers, place)).map(|found| estimate(&percent(found))))
            .collect(),
        floor_percent: floor.exp_m1() * 100.0,
        kernels: kernels.iter().enumerate().map(kernel).collect(),
        calls,
    }
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

/// The logarithms of the ratio to `inline`, one per worker.
fn logs(workers: &[Reduced], place: usize) -> Vec<f64> {
    workers.iter().filter_map(|worker| Some(worker.effects.get(place)?.as_ref()?.log_ratio)).collect()
}

fn percent(logarithm: Interval) -> Interval {
    logarithm.map(|log| log.exp_m1() * 100.0)
}

fn estimate(interval: &Interval) -> Estimate {
    Estimate { estimate: interval.estimate, low: interval.low, high: interval.high }
}
