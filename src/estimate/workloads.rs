//! Workloads: each round is reduced to what its kernels differ by undisturbed, and each kernel gets its overhead over workers,
//! in the mean over a worker's rounds.

use std::collections::BTreeMap;

use super::predict::Costs;
use super::{CONFIDENCE, MOST_ERROR};
use crate::measure::wire::Missing;
use crate::measure::work::{AGAIN, FIRST_COLUMN, HALVES, KernelColumn, Turn, WorkSamples};
use crate::report::schema::{Cell, Estimate, UnitInstructions, Workload, WorkloadKernel};
use crate::stats::Interval;
use crate::stats::bootstrap::{Bootstrap, Draws};
use crate::stats::location::{mad, median, quantile};
use crate::stats::multiplicity::confidence_for;
use crate::stats::nested::Nested;
use crate::workload::{Meta, PARTS};

const RESAMPLES: usize = 1000;

/// Half the width of a mechanism's interval that a run aims at, in percentage points.
const WANTED: f64 = 0.2;
/// From here on it would take more than the rest of a run, in which a kernel that a round has six of becomes five times as well
/// known as at half of the time.
const OUT_OF_REACH: f64 = 0.5;
/// So many kernels of a round are worth what `inline` and the placing take beside them. Further places of one kernel are as good
/// as further rounds.
const MEASURED_AGAIN: usize = 6;

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

    /// The mechanisms, by their places among `kernels`, that more workers would make known as well as they are wanted: those
    /// whose interval is wider, and not so wide that no run would do. Each is there so often that a round measures six; all
    /// kernels, where nothing is known of the workload.
    #[must_use]
    pub fn worth_more(&self, workload: &str, kernels: &[KernelColumn]) -> Vec<usize> {
        let Some(samples) = self.samples.get(workload) else { return (0..kernels.len()).collect() };
        let workers = undisturbed(samples);
        let mechanisms = kernels.iter().enumerate().filter(|(_, kernel)| matches!(kernel, KernelColumn::Mechanism(_)));
        let half_width = |index: usize| {
            let overhead = logs(&workers, index + FIRST_COLUMN - AGAIN).interval(CONFIDENCE).map(percent)?;
            Some((overhead.high - overhead.low) / 2.0)
        };
        let wide = mechanisms
            .map(|(index, _)| index)
            .filter(|index| half_width(*index).is_some_and(|width| (WANTED..OUT_OF_REACH).contains(&width)));
        let wide: Vec<usize> = wide.collect();
        let times = (MEASURED_AGAIN / wide.len().max(1)).max(1);
        wide.repeat(times)
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
        let with = Means {
            draws: &Draws::new(seed ^ 0x776f_726b_6c6f_6164),
            strict: confidence_for(judgements.max(1), 1.0 - CONFIDENCE).max(1.0 - MOST_ERROR),
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
    /// Rounds that were quiet at all.
    rounds: usize,
    /// Logarithms of the ratios to `inline` round by round, of the kernels from [`AGAIN`] on in their places; none for those
    /// that were not measured.
    logs: Vec<Vec<f64>>,
    /// Logarithms of the ratios between all places of `inline`, two by two, in each round that was quiet: there, and back.
    places: Vec<[f64; HALVES]>,
}

/// A worker's runs: for each kernel and round the logarithms of what the parts of its runs took, in the order of time; none
/// for rounds that the kernel was not in.
struct Runs<'a> {
    samples: &'a WorkSamples,
    kernels: Vec<Vec<Option<Logs>>>,
}

/// Of the runs of a round.
type Logs = [[f64; PARTS]; HALVES];

/// Which halves of a round had the core to themselves.
type Quiet = [bool; HALVES];

impl<'a> Runs<'a> {
    fn of(samples: &'a WorkSamples) -> Self {
        let rounds = samples.pace.len();
        let kernel = |turns: &Vec<Turn>| {
            // Options are in one of several rounds, the first of them.
            let step = rounds.div_ceil(turns.len().max(1)).max(1);
            let mut logs = vec![None; rounds];
            for (turn, own) in turns.iter().zip(logs.iter_mut().step_by(step)) {
                *own = Some(turn.map(logarithms));
            }
            logs
        };
        Runs { samples, kernels: samples.kernels.iter().map(kernel).collect() }
    }

    /// The places of `inline` that all else is held against.
    fn reference(&self) -> impl Iterator<Item = &Vec<Option<Logs>>> {
        self.kernels.iter().take(FIRST_COLUMN).enumerate().filter(|(place, _)| *place != AGAIN).map(|(_, logs)| logs)
    }

    /// What a kernel differs by from the others, over the rounds that were quiet at all: each has other places and other
    /// work. Of a round it is the median of the differences of what ran next to each other and did the same work; where the
    /// two are the same it is as often above 0 as below, whatever comes in between.
    fn apart(kernel: &[Option<Logs>], others: &[&Vec<Option<Logs>>], quiet: &[Quiet]) -> Vec<f64> {
        let round = |round: usize| {
            let own = kernel[round].as_ref()?;
            let differences = others.iter().filter_map(|other| other[round].as_ref()).flat_map(|other| {
                let halves = own.iter().zip(other).zip(quiet[round]).filter(|(_, quiet)| *quiet);
                halves.flat_map(|((own, other), _)| own.iter().zip(other).map(|(own, other)| own - other))
            });
            median(&differences.collect::<Vec<_>>())
        };
        (0..kernel.len()).filter_map(round).collect()
    }

    /// What a kernel differs by from another in each half of the rounds that were quiet.
    fn halves_apart<'k>(
        kernel: &'k [Option<Logs>],
        other: &'k [Option<Logs>],
        quiet: &'k [Quiet],
    ) -> impl Iterator<Item = [f64; HALVES]> {
        let rounds = kernel.iter().zip(other).zip(quiet).filter(|(_, quiet)| **quiet == [true; HALVES]);
        rounds.filter_map(|((own, other), _)| {
            let (own, other) = (own.as_ref()?, other.as_ref()?);
            let half = |half: usize| median(&std::array::from_fn::<f64, PARTS, _>(|i| own[half][i] - other[half][i]));
            Some([half(0)?, half(1)?])
        })
    }

    /// This worker's result from the halves that were quiet.
    fn reduced(&self, quiet: &[Quiet]) -> Option<Worked> {
        let samples = self.samples;
        // Of each part what it took in the median over quiet halves and places.
        let part = |part: usize| {
            let rounds = self.reference().flat_map(|kernel| kernel.iter().zip(quiet));
            let logs = rounds.flat_map(|(logs, quiet)| {
                logs.iter().flatten().zip(quiet).filter(|(_, quiet)| **quiet).map(|(half, _)| half[part])
            });
            median(&logs.collect::<Vec<_>>()).map(f64::exp)
        };
        let ticks = (0..PARTS).map(part).sum::<Option<f64>>()? / (samples.units * PARTS as u64) as f64;
        let rates: Vec<f64> = samples.ticks_per_cycle.iter().flatten().copied().collect();
        let last = samples.columns.iter().max().map_or(0, |last| last + 1);
        let mut logs = vec![Vec::new(); FIRST_COLUMN - AGAIN + last];
        for (index, kernel) in self.kernels.iter().enumerate().skip(AGAIN) {
            let place = match index.checked_sub(FIRST_COLUMN) {
                None => index,
                Some(column) => FIRST_COLUMN + *samples.columns.get(column)?,
            };
            let others: Vec<_> = self.reference().filter(|other| !std::ptr::eq(*other, kernel)).collect();
            // A kernel that is there several times has so many places in a round.
            logs[place - AGAIN].extend(Self::apart(kernel, &others, quiet));
        }
        let inline = self.kernels.get(..FIRST_COLUMN)?.iter().enumerate();
        let pairs = inline.flat_map(|(i, one)| self.kernels[i + 1..FIRST_COLUMN].iter().map(move |other| (one, other)));
        let places = pairs.flat_map(|(one, other)| Self::halves_apart(one, other, quiet)).collect();
        let rounds = quiet.iter().filter(|halves| halves.contains(&true)).count();
        Some(Worked { inline_ticks: ticks, inline_cycles: ticks / median(&rates)?, rounds, logs, places })
    }
}

fn logarithms(ticks: [u64; PARTS]) -> [f64; PARTS] {
    ticks.map(|ticks| (ticks.max(1) as f64).ln())
}

/// What the pace takes undisturbed: so much of it takes no longer.
const CLEAR: f64 = 0.1;
/// A half in which the pace took longer than this times what it takes undisturbed had less than the whole core: another
/// guest ran on its sibling, say, which takes a third of it. There an indirection costs something else. What caches hold
/// when a run begins moves the pace, too, by some percent.
const DISTURBED: f64 = 1.1;
/// A worker with fewer quiet halves says nothing.
const ENOUGH_HALVES: usize = HALVES;
/// Undisturbed workers, without which all are taken with all that they measured.
const ENOUGH: usize = 6;

/// By how much the pace took longer than it does in most halves, before or after each half of each worker's rounds, as a
/// logarithm.
fn excess(samples: &[&WorkSamples]) -> Vec<Vec<[f64; HALVES]>> {
    let paces: Vec<[f64; PARTS]> =
        samples.iter().flat_map(|samples| samples.pace.iter().flatten().copied().map(logarithms)).collect();
    let part = |part: usize| median(&paces.iter().map(|pace| pace[part]).collect::<Vec<_>>()).unwrap_or(0.0);
    let typical: [f64; PARTS] = std::array::from_fn(part);
    let above = |pace: &[u64; PARTS]| {
        let parts = logarithms(*pace).into_iter().zip(typical).map(|(log, typical)| log - typical);
        median(&parts.collect::<Vec<_>>()).unwrap_or(f64::INFINITY)
    };
    let round = |round: &[[u64; PARTS]; HALVES + 1]| {
        let paces = round.each_ref().map(above);
        std::array::from_fn(|half| paces[half].max(paces[half + 1]))
    };
    samples.iter().map(|samples| samples.pace.iter().map(round).collect()).collect()
}

/// The workers that had the core to themselves, and what they measured while they had; all of it where that is too little.
fn undisturbed(samples: &[(usize, WorkSamples)]) -> Vec<Worked> {
    let samples: Vec<&WorkSamples> = samples.iter().map(|(_, samples)| samples).collect();
    let excess = excess(&samples);
    let halves: Vec<f64> = excess.iter().flatten().flatten().copied().collect();
    let most = quantile(&halves, CLEAR).map_or(f64::INFINITY, |clear| clear + DISTURBED.ln());
    let quiet = |worker: &Vec<[f64; HALVES]>| worker.iter().map(|round| round.map(|above| above <= most)).collect();
    let quiet: Vec<Vec<Quiet>> = excess.iter().map(quiet).collect();
    let enough = |quiet: &[Quiet]| {
        quiet.as_flattened().iter().filter(|quiet| **quiet).count() >= ENOUGH_HALVES.min(quiet.len() * HALVES)
    };
    let workers = samples.iter().zip(&quiet);
    if quiet.iter().filter(|quiet| enough(quiet)).count() < ENOUGH {
        let all = |quiet: &[Quiet]| vec![[true; HALVES]; quiet.len()];
        return workers.filter_map(|(samples, quiet)| Runs::of(samples).reduced(&all(quiet))).collect();
    }
    let kept = workers.filter(|(_, quiet)| enough(quiet));
    kept.filter_map(|(samples, quiet)| Runs::of(samples).reduced(quiet)).collect()
}

/// What all workloads of a run are estimated with.
struct Means<'a> {
    draws: &'a Draws,
    /// The confidence with which all kernels are right together, and of a single one no less than of a single cell.
    strict: f64,
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
    // The same kernel at other places shows what is left of them in the mean over workers: the largest such difference
    // seen with this workload is what mechanisms and options must exceed.
    let differs = |place| logs(workers, place).interval(CONFIDENCE).map_or(0.0, |found| found.estimate.abs());
    let floor = (0..FIRST_COLUMN - AGAIN).map(differs).fold(0.0, f64::max);
    let in_place = samples.iter().find_map(|(_, s)| s.in_place.clone());
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
        placements: workers.iter().map(|worker| worker.rounds).sum(),
        inline_cycles: inline_cycles.as_ref().map(estimate),
        inline_ns: median(&ticks).map(|ticks| ticks / with.ticks_per_second * 1e9),
        again_percent: logs(workers, 0).interval(CONFIDENCE).map(|found| estimate(&percent(found))),
        copies_percent: (1..FIRST_COLUMN - AGAIN)
            .filter_map(|place| logs(workers, place).interval(CONFIDENCE))
            .map(|found| estimate(&percent(found)))
            .collect(),
        floor_percent: floor.exp_m1() * 100.0,
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

/// What the same kernel at two places differs by, in percent: what the two halves of a round have in common, and not what
/// differs from run to run. Of two numbers with a common part the sum varies by four times that part more than the difference.
fn placement(workers: &[Worked]) -> Option<f64> {
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
    column: &KernelColumn,
    missing: Option<&Missing>,
    found: &Nested,
    inline: Option<&Interval>,
    calls: &BTreeMap<String, f64>,
    floor: f64,
    with: &Means,
) -> WorkloadKernel {
    let (mechanism, state, option) = match column {
        KernelColumn::Mechanism(column) => (Some(column.mechanism.clone()), column.state, None),
        KernelColumn::Option(option) => (None, None, Some(option.clone())),
    };
    let interval = found.interval(CONFIDENCE);
    let strict = found.interval(with.strict);
    let resolved = strict.is_some_and(|strict| strict.low > floor || strict.high < -floor);
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

/// The logarithms of a kernel's ratio to `inline`.
fn logs(workers: &[Worked], place: usize) -> Nested {
    let rounds: Vec<Vec<f64>> = workers.iter().filter_map(|worker| worker.logs.get(place).cloned()).collect();
    Nested::of(&rounds)
}

fn percent(logarithm: Interval) -> Interval {
    logarithm.map(|log| log.exp_m1() * 100.0)
}

fn estimate(interval: &Interval) -> Estimate {
    Estimate { estimate: interval.estimate, low: interval.low, high: interval.high }
}
