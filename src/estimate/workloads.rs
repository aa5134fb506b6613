//! Workloads: each round is reduced to what its kernels differ by undisturbed, and each kernel gets its overhead over
//! workers, in the mean over a worker's rounds.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use super::allocation::{ExtraRounds, KernelNeed, MAX_HALF_WIDTH, TARGET_HALF_WIDTH, allocate_rounds};
use super::predict::Costs;
use super::uncontended::{WorkerRounds, uncontended};
use super::{CONFIDENCE, MAX_ERROR};
use crate::measure::wire::UnavailableVariant;
use crate::measure::work::{FIRST_VARIANT, HALVES, KernelVariant, Parts, REPEAT, WorkSamples};
use crate::measure::work_parent::Allocation;
use crate::report::schema::{Bounds, Cell, Estimate, Limit, UnitInstructions, WorkloadKernel, WorkloadResult};
use crate::stats::Interval;
use crate::stats::bootstrap::{Bootstrap, Draws};
use crate::stats::cluster_mean::ClusterMean;
use crate::stats::location::{mad, median};
use crate::stats::multiplicity::confidence_for;
use crate::stats::resolve::Deciders;
use crate::stats::student::t_quantile;
use crate::workload::{PARTS, WorkloadMeta};

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

    /// What the rest of a run is worth spending on, `left` times as much time as was spent; see [`Sink::allocate`].
    ///
    /// [`Sink::allocate`]: crate::measure::parent::Observer::worth
    #[must_use]
    pub fn allocate(&self, kernels: &[KernelVariant], left: f64) -> (Vec<Allocation>, f64) {
        let extra = self.samples.iter().map(|(name, samples)| extra_rounds(name, samples, kernels)).collect();
        allocate_rounds(extra, self.samples.values().flatten().map(|(_, samples)| samples.ticks as f64).sum(), left)
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
        metas: &[WorkloadMeta],
        kernels: &[KernelVariant],
        cells: &[Cell],
        seed: u64,
        ticks_per_second: f64,
    ) -> Vec<WorkloadResult> {
        let measured: Vec<(&WorkloadMeta, &Vec<(usize, WorkSamples)>)> =
            metas.iter().filter_map(|meta| Some((meta, self.samples.get(meta.name)?))).collect();
        let quiet: Vec<Vec<WorkerRounds>> = measured.iter().map(|(_, samples)| uncontended(samples)).collect();
        let judgements = measured.len() * kernels.len();
        let with = WorkloadContext {
            draws: &Draws::new(seed ^ 0x776f_726b_6c6f_6164),
            strict: confidence_for(judgements.max(1), 1.0 - CONFIDENCE).max(1.0 - MAX_ERROR),
            costs: &Costs::of(cells),
            ticks_per_second,
        };
        let each = measured.iter().zip(&quiet);
        each.map(|((meta, samples), workers)| of_workload(meta, samples, workers, kernels, &with)).collect()
    }
}

/// The mechanisms of a workload that are known worse than wanted, and what further rounds of them take, in ticks.
fn extra_rounds(name: &str, samples: &[(usize, WorkSamples)], kernels: &[KernelVariant]) -> ExtraRounds {
    let workers = uncontended(samples);
    let all = || samples.iter().map(|(_, samples)| samples);
    // A part more than is timed comes before the others.
    let whole = |parts: &Parts| parts.iter().copied().map(f64::from).sum::<f64>() * (PARTS + 1) as f64 / PARTS as f64;
    let runs =
        || all().flat_map(|s| s.reference_run.iter().flatten().chain(s.kernels.iter().flatten().flatten()).map(whole));
    // Beside its parts a run takes the putting back of the machine, and of the placing what falls to it.
    let beside = (all().map(|s| s.ticks as f64).sum::<f64>() - runs().sum::<f64>()).max(0.0) / runs().count() as f64;
    let run = |of: &dyn Fn(&WorkSamples) -> Vec<usize>| {
        let turns =
            all().flat_map(|s| of(s).into_iter().filter_map(|kernel| s.kernels.get(kernel)).flatten().flatten());
        median(&turns.map(whole).collect::<Vec<_>>()).map(|run| run + beside)
    };
    let columns = |s: &WorkSamples, index| {
        let places = s.variants.iter().enumerate().filter(|(_, column)| **column == index);
        places.map(|(place, _)| FIRST_VARIANT + place).collect::<Vec<_>>()
    };
    let variance = |values: Vec<f64>| mad(&values).map_or(0.0, |deviation| deviation.powi(2));
    let level = variance(workers.iter().flat_map(|worker| worker.levels.iter().copied()).collect());
    // Of the median of as many places as all else is held against (see `stats::cluster_mean` for the factor), and of
    // two places.
    let pairs =
        variance(workers.iter().flat_map(|w| w.places.iter().map(|[there, back]| (there + back) / 2.0)).collect());
    let reference = PI / 2.0 / (FIRST_VARIANT - 1) as f64 * pairs / 2.0;
    let kernel = |(index, kernel): (usize, &KernelVariant)| {
        let KernelVariant::Mechanism(_) = kernel else { return None };
        let found = logs(&workers, index + FIRST_VARIANT - REPEAT);
        let logarithm = found.interval(CONFIDENCE)?;
        let overhead = percent(logarithm);
        let half = (overhead.high - overhead.low) / 2.0;
        // Calls cost the same where all else takes longer: then they are less of it.
        let common = reference + (1.0 - (-logarithm.estimate).exp()).powi(2) * level;
        let quantile = t_quantile(f64::midpoint(1.0, CONFIDENCE), workers.len() as f64 - 1.0)?;
        let of_mean = ((logarithm.high - logarithm.low) / 2.0 / quantile).powi(2);
        let place = HALVES as f64 * run(&|s| columns(s, index))?;
        (half > MAX_HALF_WIDTH).then(|| KernelNeed {
            index,
            place,
            // Of one place each there would be as many.
            rounds: found.unit_variance() / of_mean * ((half / TARGET_HALF_WIDTH).powi(2) - 1.0),
            common: (common / found.unit_variance()).clamp(0.05, 0.6),
        })
    };
    let inline = run(&|_| (0..FIRST_VARIANT).collect()).unwrap_or(0.0);
    ExtraRounds {
        workload: name.to_owned(),
        round: inline * (FIRST_VARIANT * HALVES + HALVES + 1) as f64,
        kernels: kernels.iter().enumerate().filter_map(kernel).collect(),
    }
}

/// What all workloads of a run are estimated with.
struct WorkloadContext<'a> {
    draws: &'a Draws,
    /// The confidence with which all kernels are right together, and of a single one no less than of a single cell.
    strict: f64,
    costs: &'a Costs<'a>,
    ticks_per_second: f64,
}

fn of_workload(
    meta: &WorkloadMeta,
    samples: &[(usize, WorkSamples)],
    workers: &[WorkerRounds],
    kernels: &[KernelVariant],
    with: &WorkloadContext,
) -> WorkloadResult {
    let inline: Vec<f64> = workers.iter().map(|worker| worker.inline_cycles).collect();
    let inline_cycles = with.interval(&inline);
    let ticks: Vec<f64> = workers.iter().map(|worker| worker.inline_ticks).collect();
    let calls = samples.iter().map(|(_, s)| &s.calls).find(|calls| !calls.is_empty()).cloned().unwrap_or_default();
    // The same kernel at other places shows what is left of them in the mean over workers: the largest such difference
    // seen with this workload is what mechanisms and options must exceed.
    let differs = |place| logs(workers, place).interval(CONFIDENCE).map_or(0.0, |found| found.estimate.abs());
    let floor = (0..FIRST_VARIANT - REPEAT).map(differs).fold(0.0, f64::max).exp_m1() * 100.0;
    let in_place = samples.iter().find_map(|(_, s)| s.in_place.clone());
    let counted = Counted::of(samples);
    let kernel = |(index, column): (usize, &KernelVariant)| {
        let missing = samples.iter().flat_map(|(_, s)| &s.missing).find(|missing| missing.variant == index);
        let found = logs(workers, index + FIRST_VARIANT - REPEAT);
        let kernel = of_kernel(column, missing, &found, inline_cycles.as_ref(), &calls, floor, with);
        counted.with(kernel, index)
    };
    WorkloadResult {
        name: meta.name.to_owned(),
        unit: meta.unit.to_owned(),
        summary: meta.summary.to_owned(),
        source: meta.source.to_owned(),
        units: samples.first().map_or(0, |(_, s)| s.units),
        workers: workers.len(),
        disturbed_workers: samples.len() - workers.len(),
        placements: workers.iter().map(|worker| worker.rounds).sum(),
        inline_cycles: inline_cycles.as_ref().map(estimate),
        inline_ns: median(&ticks).map(|ticks| ticks / with.ticks_per_second * 1e9),
        again_percent: logs(workers, 0).interval(CONFIDENCE).map(|found| estimate(&percent(found))),
        copies_percent: (1..FIRST_VARIANT - REPEAT)
            .filter_map(|place| logs(workers, place).interval(CONFIDENCE))
            .map(|found| estimate(&percent(found)))
            .collect(),
        floor_percent: floor,
        placement_percent: in_place.is_none().then(|| placement(workers)).flatten(),
        in_place,
        kernels: kernels.iter().enumerate().map(kernel).collect(),
        inline_instructions: counted.inline_instructions(),
        inline_counters: counted.events.first().map(|events| named(events)),
        calls,
    }
}

/// Of two places of the same kernel 95 in 100 differ by less than so many of their deviations, where those are normal.
const OF_95: f64 = 1.96;

/// What the same kernel at two places differs by, in percent: what the two halves of a round have in common, and not
/// what differs from run to run. Of two numbers with a common part the sum varies by four times that part more than the
/// difference.
fn placement(workers: &[WorkerRounds]) -> Option<f64> {
    let halves = || workers.iter().flat_map(|worker| &worker.places);
    let sums = mad(&halves().map(|[there, back]| there + back).collect::<Vec<_>>())?;
    let differences = mad(&halves().map(|[there, back]| there - back).collect::<Vec<_>>())?;
    let apart = (sums.powi(2) - differences.powi(2)).max(0.0).sqrt() / 2.0;
    Some((OF_95 * apart).exp_m1() * 100.0)
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
            columns: &samples.variants,
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
        kernel.counters = self.events.get(place + 1).map(|events| named(events));
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

fn named(events: &[(String, f64)]) -> BTreeMap<String, f64> {
    events.iter().cloned().collect()
}

fn of_kernel(
    column: &KernelVariant,
    missing: Option<&UnavailableVariant>,
    found: &ClusterMean,
    inline: Option<&Interval>,
    calls: &BTreeMap<String, f64>,
    floor: f64,
    with: &WorkloadContext,
) -> WorkloadKernel {
    let (mechanism, state, option) = match column {
        KernelVariant::Mechanism(column) => (Some(column.mechanism.clone()), column.state, None),
        KernelVariant::Option(option) => (None, None, Some(option.clone())),
    };
    let interval = found.interval(CONFIDENCE);
    let strict = found.interval(with.strict).map(percent);
    let overhead = interval.map(percent);
    // In the unit that is shown: below zero a percentage is smaller than its logarithm.
    let limit = overhead.and_then(|overhead| limit(overhead.estimate, strict, floor));
    let cycles = overhead.as_ref().zip(inline).map(|(o, inline)| o.map(|percent| percent / 100.0 * inline.estimate));
    let predicted = mechanism.as_deref().zip(inline).map(|(mechanism, inline)| {
        let cycles = with.costs.of_calls(calls, mechanism, state).map_err(|ops| absent_cells(&ops))?;
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
        deciding_percent: strict.map(|Interval { low, high, .. }| Bounds { low, high }),
        resolved: overhead.is_some() && limit.is_none(),
        limit,
        predicted_percent: predicted.as_ref().and_then(|predicted| predicted.as_ref().ok().copied()),
        predicted_absent: predicted.and_then(Result::err),
    }
}

/// What keeps a kernel from being resolved, in percent above `inline`. Kernels have no layouts and no
/// modes: rounds draw their placements.
fn limit(estimate: f64, interval: Option<Interval>, floor: f64) -> Option<Limit> {
    super::cell::limit(&Deciders { estimate, interval, layouts: &[], layouts_dominate: false, modes: &[], floor })
}

fn absent_cells(ops: &[String]) -> String {
    const NAMED: usize = 3;
    let rest = if ops.len() > NAMED { format!(" and {} more", ops.len() - NAMED) } else { String::new() };
    format!("the run has no throughput cell of {}{rest}", ops[..ops.len().min(NAMED)].join(", "))
}

impl WorkloadContext<'_> {
    fn interval(&self, values: &[f64]) -> Option<Interval> {
        let over = Bootstrap { confidence: CONFIDENCE, resamples: RESAMPLES, resolution: 0.0 };
        self.draws.workers(&over, values)
    }
}

/// The logarithms of a kernel's ratio to `inline`.
fn logs(workers: &[WorkerRounds], place: usize) -> ClusterMean {
    let rounds: Vec<Vec<f64>> = workers.iter().filter_map(|worker| worker.logs.get(place).cloned()).collect();
    ClusterMean::of(&rounds)
}

fn percent(logarithm: Interval) -> Interval {
    logarithm.map(|log| log.exp_m1() * 100.0)
}

fn estimate(interval: &Interval) -> Estimate {
    Estimate { estimate: interval.estimate, low: interval.low, high: interval.high }
}
