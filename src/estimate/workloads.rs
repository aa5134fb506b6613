//! From samples of workloads to the overheads of kernels. Each uncontended block gives the log-ratios of its kernels to
//! `inline`; a kernel's overhead is their mean, minus that of the copies of `inline`.

use std::collections::{BTreeMap, BTreeSet};
use std::f64::consts::PI;

use super::CONFIDENCE;
use super::allocation::{
    Allocation, ExtraBlocks, KernelNeed, MAX_HALF_WIDTH_POINTS, TARGET_HALF_WIDTH_POINTS, allocate_blocks,
};
use super::predict::Costs;
use super::uncontended::{WorkerBlocks, reduce_uncontended};
use crate::measure::samples::{HALVES, Parts, UnavailableTreatment, VariantCounts, WorkloadSamples};
use crate::measure::variant::{MechanismState, Treatment, TreatmentId, Treatments, Variant};
use crate::measure::workload_bench::INLINE;
use crate::report::schema::{Cell, Estimate, Limit, UnitInstructions, WorkloadKernel, WorkloadResult};
use crate::stats::block_mean::BlockMean;
use crate::stats::location::{mad, median};
use crate::stats::measured::Measured;
use crate::stats::resolve::Obstacles;
use crate::stats::worker_median::WorkerMedian;
use crate::workload::{PARTS, WorkloadMeta};

/// Collects samples of workloads and estimates overheads from them.
#[derive(Default)]
pub struct WorkEstimator {
    /// Samples by workload, with the number of the worker.
    samples: BTreeMap<String, Vec<(usize, WorkloadSamples)>>,
}

impl WorkEstimator {
    /// Adds one worker's samples of a workload.
    pub fn add(&mut self, worker: usize, workload: &str, mut samples: WorkloadSamples) {
        samples.table.shrink();
        self.samples.entry(workload.to_owned()).or_default().push((worker, samples));
    }

    /// Whether all of these workloads have samples.
    #[must_use]
    pub fn has_all(&self, workloads: &[String]) -> bool {
        workloads.iter().all(|name| self.samples.contains_key(name))
    }

    /// Allocates extra blocks to the mechanisms with too wide intervals. `left` is the remaining time in units of the
    /// time spent. Returns the extra blocks, and the share of the workers that take them, 0 to 1.
    #[must_use]
    pub fn allocate(&self, mechanisms: &[TreatmentId], left: f64) -> (Vec<Allocation>, f64) {
        let extra = self.samples.iter().map(|(name, samples)| extra_blocks(name, samples, mechanisms)).collect();
        allocate_blocks(extra, self.samples.values().flatten().map(|(_, samples)| samples.ticks as f64).sum(), left)
    }

    /// Whether any workload has samples.
    #[must_use]
    pub fn has_any(&self) -> bool {
        !self.samples.is_empty()
    }

    /// Estimates the workloads, in the order of `metas`. The `cells` of the same run give the predictions.
    #[must_use]
    pub fn finish(
        &self,
        metas: &[WorkloadMeta],
        (kernels, treatments): (&[TreatmentId], &Treatments),
        cells: &[Cell],
        ticks_per_second: f64,
    ) -> Vec<WorkloadResult> {
        let measured: Vec<(&WorkloadMeta, &Vec<(usize, WorkloadSamples)>)> =
            metas.iter().filter_map(|meta| Some((meta, self.samples.get(meta.name)?))).collect();
        let reduced: Vec<Vec<WorkerBlocks>> = measured.iter().map(|(_, samples)| reduce_uncontended(samples)).collect();
        let context = WorkloadContext { costs: &Costs::of(cells), treatments, ticks_per_second };
        let workloads = measured.iter().zip(&reduced);
        workloads
            .map(|((meta, samples), workers)| estimate_workload(meta, samples, workers, kernels, &context))
            .collect()
    }
}

/// The need of a workload for extra blocks: its mechanisms with too wide intervals, and the time of their blocks in
/// ticks.
fn extra_blocks(name: &str, samples: &[(usize, WorkloadSamples)], mechanisms: &[TreatmentId]) -> ExtraBlocks {
    let workers = reduce_uncontended(samples);
    let all = || samples.iter().map(|(_, samples)| samples);
    // An untimed part comes before the timed ones.
    let whole = |parts: Parts| parts.iter().copied().map(f64::from).sum::<f64>() * (PARTS + 1) as f64 / PARTS as f64;
    let blocks = || all().flat_map(|samples| &samples.table.blocks);
    let reference_runs = || blocks().flat_map(|block| &block.probes).filter_map(|probe| probe.reference_run);
    let timed_runs = || blocks().flat_map(|block| block.pairs.timed().flatten());
    let runs = || reference_runs().chain(timed_runs()).map(whole);
    // A run also takes time to restore the machine, and its share of the time to place kernels.
    let untimed = (all().map(|s| s.ticks as f64).sum::<f64>() - runs().sum::<f64>()).max(0.0) / runs().count() as f64;
    let run = |is_wanted: &dyn Fn(Variant) -> bool| {
        let columns = all().flat_map(|samples| samples.table.columns()).filter(|(variant, _)| is_wanted(*variant));
        let runs = columns.flat_map(|(_, column)| column.pairs().flatten().flatten());
        median(&runs.map(whole).collect::<Vec<_>>()).map(|run| run + untimed)
    };
    let variance = |values: Vec<f64>| mad(&values).map_or(0.0, |deviation| deviation.powi(2));
    let time_variance = variance(workers.iter().flat_map(|worker| worker.log_times.iter().copied()).collect());
    // The variance of the reference, a median over the placements of `inline`: pi / 2 / n times the variance of one
    // placement, which is half the variance between two.
    let pairs = variance(
        workers.iter().flat_map(|w| w.inline_pairs.iter().map(|[there, back]| (there + back) / 2.0)).collect(),
    );
    let placements = INLINE.iter().filter(|variant| **variant != Variant::Repeat).count();
    let reference = PI / 2.0 / placements as f64 * pairs / 2.0;
    let means = Means::from_workers(&workers);
    let kernel = |id: &TreatmentId| {
        let variant = Variant::Treatment(*id);
        let mean = means.mean(variant)?;
        let log_ratio = means.log_ratio(variant)?;
        let overhead = Estimate::percent_from_log(&log_ratio, CONFIDENCE)?;
        let half_width = (overhead.high - overhead.low) / 2.0;
        // Calls cost the same in a longer unit, so their relative cost is smaller there.
        let common = reference + (1.0 - (-log_ratio.value).exp()).powi(2) * time_variance;
        let placement = HALVES as f64 * run(&|wanted| wanted == variant)?;
        // The half-width falls with the square root of the number of blocks.
        let blocks = mean.effective_blocks()? * ((half_width / TARGET_HALF_WIDTH_POINTS).powi(2) - 1.0);
        let common = (common / mean.block_variance()).clamp(0.05, 0.6);
        (half_width > MAX_HALF_WIDTH_POINTS).then_some(KernelNeed { treatment: *id, placement, blocks, common })
    };
    let inline = run(&|variant| variant.treatment().is_none()).unwrap_or(0.0);
    ExtraBlocks {
        workload: name.to_owned(),
        block: inline * (INLINE.len() * HALVES + HALVES + 1) as f64,
        kernels: mechanisms.iter().filter_map(kernel).collect(),
    }
}

/// What the estimates of all workloads in a run share.
struct WorkloadContext<'a> {
    costs: &'a Costs<'a>,
    /// What the ids of kernels stand for.
    treatments: &'a Treatments,
    ticks_per_second: f64,
}

fn estimate_workload(
    meta: &WorkloadMeta,
    samples: &[(usize, WorkloadSamples)],
    workers: &[WorkerBlocks],
    kernels: &[TreatmentId],
    context: &WorkloadContext,
) -> WorkloadResult {
    let inline: Vec<f64> = workers.iter().map(|worker| worker.inline_cycles).collect();
    let inline_cycles =
        WorkerMedian::from_values(&inline).and_then(|median| Estimate::from_measured(&median.measured(), CONFIDENCE));
    let ticks: Vec<f64> = workers.iter().map(|worker| worker.inline_ticks).collect();
    let calls = samples.iter().map(|(_, s)| &s.calls).find(|calls| !calls.is_empty()).cloned().unwrap_or_default();
    let means = Means::from_workers(workers);
    let percent = |variant| Estimate::percent_from_log(&means.log_ratio(variant)?, CONFIDENCE);
    // The largest A/A difference between `inline` and itself at other placements.
    let largest_aa = controls().filter_map(|variant| Some(means.log_ratio(variant)?.value.abs())).fold(0.0, f64::max);
    let floor = largest_aa.exp_m1() * 100.0;
    let in_place = samples.iter().find_map(|(_, s)| s.in_place.clone());
    let counted = Counted::from_samples(samples);
    let kernel = |id: &TreatmentId| {
        let treatment = context.treatments.get(*id)?;
        let missing = samples.iter().flat_map(|(_, s)| &s.table.unavailable).find(|missing| missing.treatment == *id);
        let overhead = percent(Variant::Treatment(*id));
        let kernel = estimate_kernel(treatment, missing, overhead, inline_cycles.as_ref(), &calls, floor, context);
        Some(counted.add_to(kernel, *id))
    };
    WorkloadResult {
        name: meta.name.to_owned(),
        unit: meta.unit.to_owned(),
        summary: meta.summary.to_owned(),
        source: meta.source.to_owned(),
        units: samples.first().map_or(0, |(_, s)| s.units),
        workers: workers.len(),
        contended_workers: samples.len() - workers.len(),
        placements: workers.iter().map(|worker| worker.blocks).sum(),
        inline_cycles,
        inline_ns: median(&ticks).map(|ticks| ticks / context.ticks_per_second * 1e9),
        repeat_percent: percent(Variant::Repeat),
        copies_percent: controls().filter(|variant| *variant != Variant::Repeat).filter_map(percent).collect(),
        floor_percent: floor,
        placement_percent: in_place.is_none().then(|| placement_range(workers)).flatten(),
        in_place,
        kernels: kernels.iter().filter_map(kernel).collect(),
        inline_instructions: counted.inline_instructions(),
        inline_counters: counted.of(Variant::Reference).and_then(|count| count.events.clone()),
        calls,
        surroundings: samples.iter().find_map(|(_, samples)| samples.surroundings),
    }
}

/// Half-width of the central 95% of a normal distribution, in standard deviations: its quantile at 0.975.
const NORMAL_95_HALF_WIDTH: f64 = 1.96;

/// The placement range in percent: the 95% range between two placements of the same kernel, run-to-run noise removed.
///
/// Both halves of a block share the difference d between the two placements; each half adds noise of its own. The sum
/// of both halves varies by `4 var(d)` more than their difference, so `sd(d) = sqrt(var(sum) - var(difference)) / 2`.
fn placement_range(workers: &[WorkerBlocks]) -> Option<f64> {
    let halves = || workers.iter().flat_map(|worker| &worker.inline_pairs);
    let sums = mad(&halves().map(|[there, back]| there + back).collect::<Vec<_>>())?;
    let differences = mad(&halves().map(|[there, back]| there - back).collect::<Vec<_>>())?;
    let deviation = (sums.powi(2) - differences.powi(2)).max(0.0).sqrt() / 2.0;
    Some((NORMAL_95_HALF_WIDTH * deviation).exp_m1() * 100.0)
}

/// The counts of one worker.
struct Counted<'a>(&'a [VariantCounts]);

impl<'a> Counted<'a> {
    /// The counts of the first worker that has any.
    fn from_samples(samples: &'a [(usize, WorkloadSamples)]) -> Self {
        let mut counts = samples.iter().map(|(_, samples)| &samples.table.counts);
        Counted(counts.find(|counts| !counts.is_empty()).map_or(&[], Vec::as_slice))
    }

    fn of(&self, variant: Variant) -> Option<&'a VariantCounts> {
        self.0.iter().find(|count| count.variant == variant)
    }

    fn inline_instructions(&self) -> Option<f64> {
        self.of(Variant::Reference)?.instructions.as_ref()?.as_ref().ok().copied()
    }

    /// Adds the counts to the kernel of this treatment.
    fn add_to(&self, mut kernel: WorkloadKernel, id: TreatmentId) -> WorkloadKernel {
        let Some(count) = self.of(Variant::Treatment(id)) else { return kernel };
        kernel.counters.clone_from(&count.events);
        match (&count.instructions, self.inline_instructions()) {
            (Some(Ok(per_unit)), Some(inline)) => {
                let extra_percent = (per_unit / inline - 1.0) * 100.0;
                kernel.instructions = Some(UnitInstructions { per_unit: *per_unit, extra_percent });
            }
            (Some(Ok(_)), None) => {
                kernel.instructions_absent = Some("the instructions of inline were not counted".to_owned())
            }
            (Some(Err(reason)), _) => kernel.instructions_absent = Some(reason.clone()),
            (None, _) => {}
        }
        kernel
    }
}

fn estimate_kernel(
    treatment: &Treatment,
    missing: Option<&UnavailableTreatment>,
    overhead: Option<Estimate>,
    inline: Option<&Estimate>,
    calls: &BTreeMap<String, f64>,
    floor: f64,
    context: &WorkloadContext,
) -> WorkloadKernel {
    let (mechanism, state, option) = match treatment {
        Treatment::Mechanism(MechanismState { mechanism, state }) => (Some(mechanism.clone()), *state, None),
        Treatment::Option(option) => (None, None, Some(option.clone())),
    };
    let verdict = overhead.as_ref().and_then(|overhead| Verdict::of(overhead, floor));
    let cycles = overhead.zip(inline).map(|(overhead, inline)| overhead.scaled(inline.estimate / 100.0));
    let predicted = mechanism.as_deref().zip(inline).map(|(mechanism, inline)| {
        let cycles = context.costs.of_calls(calls, mechanism, state).map_err(|ops| describe_missing_cells(&ops))?;
        if calls.is_empty() { Err("no calls were counted".to_owned()) } else { Ok(cycles / inline.estimate * 100.0) }
    });
    WorkloadKernel {
        mechanism,
        state: state.map(|state| state.name().to_owned()),
        option,
        absent: match (&overhead, missing) {
            (Some(_), _) => None,
            (None, Some(missing)) => missing.why.reason().map(str::to_owned),
            (None, None) => Some("fewer than two workers finished this kernel; run longer".to_owned()),
        },
        overhead_percent: overhead,
        overhead_cycles: cycles,
        instructions: None,
        instructions_absent: None,
        counters: None,
        floor_percent: verdict.as_ref().map(|verdict| verdict.floor),
        resolved: verdict.as_ref().is_some_and(|verdict| verdict.limit.is_none()),
        limit: verdict.and_then(|verdict| verdict.limit),
        predicted_percent: predicted.as_ref().and_then(|predicted| predicted.as_ref().ok().copied()),
        // The whole report has the cells that bound it.
        predicted_range_percent: None,
        predicted_absent: predicted.and_then(Result::err),
    }
}

/// Whether a kernel's overhead is resolved, all in percent.
struct Verdict {
    /// The floor of the kernel: that of its workload plus the allowance for chance.
    floor: f64,
    /// Why the overhead is not resolved.
    limit: Option<Limit>,
}

impl Verdict {
    /// An overhead is resolved where its interval lies beyond the floor. With the allowance for chance this is so by
    /// chance at most as often as [`MAX_ERROR`](crate::stats::resolve::MAX_ERROR). Kernels have neither layouts nor
    /// modes, because each block draws new placements.
    fn of(overhead: &Estimate, noise: f64) -> Option<Self> {
        let obstacles = Obstacles { noise, ..Obstacles::default() };
        let floor = obstacles.floor(&overhead.measured(), CONFIDENCE)?;
        let is_resolved = overhead.low > floor || overhead.high < -floor;
        let limit = if overhead.estimate.abs() <= noise { Limit::Floor } else { Limit::Interval };
        Some(Verdict { floor, limit: (!is_resolved).then_some(limit) })
    }
}

fn describe_missing_cells(ops: &[String]) -> String {
    const MAX_NAMED: usize = 3;
    let rest = if ops.len() > MAX_NAMED { format!(" and {} more", ops.len() - MAX_NAMED) } else { String::new() };
    format!("the run has no throughput cell of {}{rest}", ops[..ops.len().min(MAX_NAMED)].join(", "))
}

/// Two runs differ by a tenth more than their workers let expect, by the rms of 2,640 differences between five default
/// runs. Copies of `inline` do not. At 1, 7% of the differences lie beyond their 95% interval instead of 5%.
const RUN_ERROR_FACTOR: f64 = 1.1;

/// The copies of `inline` that are compared with it: differences between them are placement and noise.
fn controls() -> impl Iterator<Item = Variant> {
    INLINE.into_iter().filter(|variant| *variant != Variant::Reference)
}

/// The means of all variants of a workload over its blocks.
struct Means(BTreeMap<Variant, BlockMean>);

impl Means {
    fn from_workers(workers: &[WorkerBlocks]) -> Self {
        let variants: BTreeSet<Variant> = workers.iter().flat_map(|worker| worker.log_ratios.keys().copied()).collect();
        let mean = |variant: Variant| {
            let blocks = workers.iter().map(|worker| worker.log_ratios.get(&variant).map_or(&[][..], Vec::as_slice));
            BlockMean::from_workers(&blocks.collect::<Vec<_>>())
        };
        Means(variants.into_iter().filter_map(|variant| Some((variant, mean(variant)?))).collect())
    }

    fn mean(&self, variant: Variant) -> Option<&BlockMean> {
        self.0.get(&variant)
    }

    /// The log-ratio of a variant to `inline`, against the controls other than itself.
    fn log_ratio(&self, variant: Variant) -> Option<Measured> {
        let others = controls().filter(|control| *control != variant);
        let found = self.mean(variant)?.against(&others.filter_map(|control| self.mean(control)).collect::<Vec<_>>());
        let factor = if variant.treatment().is_some() { RUN_ERROR_FACTOR } else { 1.0 };
        Some(Measured { standard_error: factor * found.standard_error, ..found })
    }
}
