//! The reduction of a worker's rounds of a workload: log-ratios between its kernels while the core was uncontended.

use crate::measure::work::{FIRST_VARIANT, HALVES, Parts, REPEAT, Turn, WorkSamples};
use crate::stats::location::{median, quantile};
use crate::workload::PARTS;

/// One worker's estimates for one workload.
pub(super) struct WorkerRounds {
    /// Time of a unit with `inline`, in ticks.
    pub inline_ticks: f64,
    /// The same in core cycles.
    pub inline_cycles: f64,
    /// Rounds with an uncontended half.
    pub rounds: usize,
    /// Log-ratios to `inline`, one per round, of the kernels from [`REPEAT`] on by their index; empty for kernels that
    /// were not measured.
    pub log_ratios: Vec<Vec<f64>>,
    /// Log-ratios between all pairs of placements of `inline`, in both halves of each uncontended round.
    pub inline_pairs: Vec<[f64; HALVES]>,
    /// Logarithms of the time of a part with `inline`, one per round with an uncontended half.
    pub log_times: Vec<f64>,
}

/// A worker's runs: for each kernel and round the log times of the parts, in the order of time; `None` for a round
/// without the kernel.
struct Runs<'a> {
    samples: &'a WorkSamples,
    kernels: Vec<Vec<Option<LogTimes>>>,
}

/// The log times of a kernel's runs in a round, by half and part.
type LogTimes = [[f64; PARTS]; HALVES];

/// Whether each half of a round was uncontended.
type Uncontended = [bool; HALVES];

impl<'a> Runs<'a> {
    fn from_samples(samples: &'a WorkSamples) -> Self {
        let rounds = samples.reference_run.len();
        let kernel = |turns: &Vec<Turn>| {
            // An option is measured in every `step`-th round, from the first.
            let step = rounds.div_ceil(turns.len().max(1)).max(1);
            let mut logs = vec![None; rounds];
            for (turn, own) in turns.iter().zip(logs.iter_mut().step_by(step)) {
                *own = Some(turn.map(logarithms));
            }
            logs
        };
        Runs { samples, kernels: samples.kernels.iter().map(kernel).collect() }
    }

    /// The placements of `inline` that all other kernels are compared with.
    fn reference(&self) -> impl Iterator<Item = &Vec<Option<LogTimes>>> {
        self.kernels.iter().take(FIRST_VARIANT).enumerate().filter(|(place, _)| *place != REPEAT).map(|(_, logs)| logs)
    }

    /// The log-ratios of a kernel to the others, one per round with an uncontended half; each round has new placements
    /// and new work. A round's log-ratio is the median over pairs of runs that are neighbours and do the same work. For
    /// equal kernels its sign is symmetric, whatever disturbs the runs.
    fn round_log_ratios(
        kernel: &[Option<LogTimes>],
        others: &[&Vec<Option<LogTimes>>],
        uncontended: &[Uncontended],
    ) -> Vec<f64> {
        let round = |round: usize| {
            let own = kernel[round].as_ref()?;
            let differences = others.iter().filter_map(|other| other[round].as_ref()).flat_map(|other| {
                let halves = own.iter().zip(other).zip(uncontended[round]).filter(|(_, uncontended)| *uncontended);
                halves.flat_map(|((own, other), _)| own.iter().zip(other).map(|(own, other)| own - other))
            });
            median(&differences.collect::<Vec<_>>())
        };
        (0..kernel.len()).filter_map(round).collect()
    }

    /// The log-ratio of a kernel to another in both halves of each uncontended round.
    fn half_log_ratios<'k>(
        kernel: &'k [Option<LogTimes>],
        other: &'k [Option<LogTimes>],
        uncontended: &'k [Uncontended],
    ) -> impl Iterator<Item = [f64; HALVES]> {
        let rounds =
            kernel.iter().zip(other).zip(uncontended).filter(|(_, uncontended)| **uncontended == [true; HALVES]);
        rounds.filter_map(|((own, other), _)| {
            let (own, other) = (own.as_ref()?, other.as_ref()?);
            let half = |half: usize| median(&std::array::from_fn::<f64, PARTS, _>(|i| own[half][i] - other[half][i]));
            Some([half(0)?, half(1)?])
        })
    }

    /// Reduces this worker's uncontended halves; `None` without an uncontended half.
    fn reduce(&self, uncontended: &[Uncontended]) -> Option<WorkerRounds> {
        let samples = self.samples;
        // The time of each part: the median over uncontended halves and placements.
        let part = |part: usize| {
            let rounds = self.reference().flat_map(|kernel| kernel.iter().zip(uncontended));
            let logs = rounds.flat_map(|(logs, uncontended)| {
                logs.iter()
                    .flatten()
                    .zip(uncontended)
                    .filter(|(_, uncontended)| **uncontended)
                    .map(|(half, _)| half[part])
            });
            median(&logs.collect::<Vec<_>>()).map(f64::exp)
        };
        let ticks = (0..PARTS).map(part).sum::<Option<f64>>()? / (samples.units * PARTS as u64) as f64;
        let rates: Vec<f64> = samples.ticks_per_cycle.iter().flatten().copied().collect();
        let last = samples.variants.iter().max().map_or(0, |last| last + 1);
        let mut log_ratios = vec![Vec::new(); FIRST_VARIANT - REPEAT + last];
        for (index, kernel) in self.kernels.iter().enumerate().skip(REPEAT) {
            let place = match index.checked_sub(FIRST_VARIANT) {
                None => index,
                Some(column) => FIRST_VARIANT + *samples.variants.get(column)?,
            };
            let others: Vec<_> = self.reference().filter(|other| !std::ptr::eq(*other, kernel)).collect();
            // A kernel that is listed several times has as many placements in a round.
            log_ratios[place - REPEAT].extend(Self::round_log_ratios(kernel, &others, uncontended));
        }
        let inline = self.kernels.get(..FIRST_VARIANT)?.iter().enumerate();
        let pairs =
            inline.flat_map(|(i, one)| self.kernels[i + 1..FIRST_VARIANT].iter().map(move |other| (one, other)));
        let inline_pairs = pairs.flat_map(|(one, other)| Self::half_log_ratios(one, other, uncontended)).collect();
        let log_time = |round: usize| {
            let uncontended = |half: &usize| uncontended[round][*half];
            let runs = self.reference().filter_map(|kernel| kernel[round].as_ref());
            let halves =
                runs.flat_map(|logs| (0..HALVES).filter(uncontended).map(|half| logs[half].iter().sum::<f64>()));
            median(&halves.collect::<Vec<_>>()).map(|sum| sum / PARTS as f64)
        };
        let log_times: Vec<f64> = (0..uncontended.len()).filter_map(log_time).collect();
        let rounds = uncontended.iter().filter(|halves| halves.contains(&true)).count();
        Some(WorkerRounds {
            inline_ticks: ticks,
            inline_cycles: ticks / median(&rates)?,
            rounds,
            log_ratios,
            inline_pairs,
            log_times,
        })
    }
}

fn logarithms(ticks: Parts) -> [f64; PARTS] {
    ticks.map(|ticks| f64::from(ticks.max(1.0)).ln())
}

/// Quantile of the core probes that is taken as uncontended.
const UNCONTENDED_QUANTILE: f64 = 0.1;
/// Largest slowdown of the core probes before and after an uncontended half, as a ratio to their uncontended time.
/// Beyond it the half had only a part of the core, and there an indirection has another cost. A guest on the sibling,
/// for example, takes a third of the core. The contents of caches at the start of a run also move the reference run by
/// some percent.
const MAX_SLOWDOWN: f64 = 1.1;
/// Least number of uncontended halves of a worker that counts.
const MIN_UNCONTENDED_HALVES: usize = HALVES;
/// Least number of uncontended workers. With fewer, all workers count with all their halves.
const MIN_WORKERS: usize = 6;

/// Log times of a core probe before, between and after the halves of a round. The probes are the reference run and a
/// timing of independent adds.
type Probes = [f64; HALVES + 1];

/// The log slowdown of the reference runs: the median over parts of their log time minus the median log time of the
/// part.
fn reference_run_slowdowns(samples: &[&WorkSamples]) -> Vec<Vec<Probes>> {
    let runs: Vec<[f64; PARTS]> =
        samples.iter().flat_map(|samples| samples.reference_run.iter().flatten().copied().map(logarithms)).collect();
    let part = |part: usize| median(&runs.iter().map(|run| run[part]).collect::<Vec<_>>()).unwrap_or(0.0);
    let typical: [f64; PARTS] = std::array::from_fn(part);
    let above = |pace: &Parts| {
        let parts = logarithms(*pace).into_iter().zip(typical).map(|(log, typical)| log - typical);
        median(&parts.collect::<Vec<_>>()).unwrap_or(f64::INFINITY)
    };
    samples
        .iter()
        .map(|samples| samples.reference_run.iter().map(|paces| paces.each_ref().map(above)).collect())
        .collect()
}

/// The log times of the independent adds.
fn add_log_times(samples: &[&WorkSamples]) -> Vec<Vec<Probes>> {
    samples.iter().map(|samples| samples.adds.iter().map(|adds| adds.map(f64::ln)).collect()).collect()
}

/// The halves of each worker's rounds whose probes before and after are not slower than [`MAX_SLOWDOWN`] allows.
fn find_uncontended(probes: &[Vec<Probes>]) -> Vec<Vec<Uncontended>> {
    let slower = |probes: &Probes| -> [f64; HALVES] { std::array::from_fn(|half| probes[half].max(probes[half + 1])) };
    let halves: Vec<f64> = probes.iter().flatten().flat_map(slower).collect();
    let max_log_time = quantile(&halves, UNCONTENDED_QUANTILE).map_or(f64::INFINITY, |clear| clear + MAX_SLOWDOWN.ln());
    probes
        .iter()
        .map(|worker| worker.iter().map(|probes| slower(probes).map(|log_time| log_time <= max_log_time)).collect())
        .collect()
}

/// The estimates of the uncontended workers, from their uncontended halves; those of all workers from all halves where
/// fewer than [`MIN_WORKERS`] are uncontended.
pub(super) fn reduce_uncontended(samples: &[(usize, WorkSamples)]) -> Vec<WorkerRounds> {
    let samples: Vec<&WorkSamples> = samples.iter().map(|(_, samples)| samples).collect();
    let both = |(runs, adds): (&Uncontended, &Uncontended)| -> Uncontended {
        std::array::from_fn(|half| runs[half] && adds[half])
    };
    let by_runs = find_uncontended(&reference_run_slowdowns(&samples));
    let by_adds = find_uncontended(&add_log_times(&samples));
    let uncontended: Vec<Vec<Uncontended>> =
        by_runs.iter().zip(&by_adds).map(|(runs, adds)| runs.iter().zip(adds).map(both).collect()).collect();
    let counts = |uncontended: &[Uncontended]| {
        uncontended.as_flattened().iter().filter(|uncontended| **uncontended).count()
            >= MIN_UNCONTENDED_HALVES.min(uncontended.len() * HALVES)
    };
    let workers = samples.iter().zip(&uncontended);
    if uncontended.iter().filter(|uncontended| counts(uncontended)).count() < MIN_WORKERS {
        let all = |uncontended: &[Uncontended]| vec![[true; HALVES]; uncontended.len()];
        return workers
            .filter_map(|(samples, uncontended)| Runs::from_samples(samples).reduce(&all(uncontended)))
            .collect();
    }
    let kept = workers.filter(|(_, uncontended)| counts(uncontended));
    kept.filter_map(|(samples, uncontended)| Runs::from_samples(samples).reduce(uncontended)).collect()
}
