//! A worker's rounds of a workload: what its kernels differ by while the core was its own.

use crate::measure::work::{FIRST_VARIANT, HALVES, Parts, REPEAT, Turn, WorkSamples};
use crate::stats::location::{median, quantile};
use crate::workload::PARTS;

/// One worker's result for one workload.
pub(super) struct WorkerRounds {
    /// What a unit took with `inline`, in ticks.
    pub inline_ticks: f64,
    /// The same in core cycles.
    pub inline_cycles: f64,
    /// Rounds that were quiet at all.
    pub rounds: usize,
    /// Logarithms of the ratios to `inline` round by round, of the kernels from [`REPEAT`] on in their places; none for
    /// those that were not measured.
    pub logs: Vec<Vec<f64>>,
    /// Logarithms of the ratios between all places of `inline`, two by two, in each round that was quiet: there, and
    /// back.
    pub places: Vec<[f64; HALVES]>,
    /// Logarithms of what a part took with `inline` in each round that was quiet at all.
    pub levels: Vec<f64>,
}

/// A worker's runs: for each kernel and round the logarithms of what the parts of its runs took, in the order of time;
/// none for rounds that the kernel was not in.
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
        let rounds = samples.reference_run.len();
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
        self.kernels.iter().take(FIRST_VARIANT).enumerate().filter(|(place, _)| *place != REPEAT).map(|(_, logs)| logs)
    }

    /// What a kernel differs by from the others, over the rounds that were quiet at all: each has other places and
    /// other work. Of a round it is the median of the differences of what ran next to each other and did the same work;
    /// where the two are the same it is as often above 0 as below, whatever comes in between.
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
    fn reduced(&self, quiet: &[Quiet]) -> Option<WorkerRounds> {
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
        let last = samples.variants.iter().max().map_or(0, |last| last + 1);
        let mut logs = vec![Vec::new(); FIRST_VARIANT - REPEAT + last];
        for (index, kernel) in self.kernels.iter().enumerate().skip(REPEAT) {
            let place = match index.checked_sub(FIRST_VARIANT) {
                None => index,
                Some(column) => FIRST_VARIANT + *samples.variants.get(column)?,
            };
            let others: Vec<_> = self.reference().filter(|other| !std::ptr::eq(*other, kernel)).collect();
            // A kernel that is there several times has so many places in a round.
            logs[place - REPEAT].extend(Self::apart(kernel, &others, quiet));
        }
        let inline = self.kernels.get(..FIRST_VARIANT)?.iter().enumerate();
        let pairs =
            inline.flat_map(|(i, one)| self.kernels[i + 1..FIRST_VARIANT].iter().map(move |other| (one, other)));
        let places = pairs.flat_map(|(one, other)| Self::halves_apart(one, other, quiet)).collect();
        let level = |round: usize| {
            let quiet = |half: &usize| quiet[round][*half];
            let runs = self.reference().filter_map(|kernel| kernel[round].as_ref());
            let halves = runs.flat_map(|logs| (0..HALVES).filter(quiet).map(|half| logs[half].iter().sum::<f64>()));
            median(&halves.collect::<Vec<_>>()).map(|sum| sum / PARTS as f64)
        };
        let levels: Vec<f64> = (0..quiet.len()).filter_map(level).collect();
        let rounds = quiet.iter().filter(|halves| halves.contains(&true)).count();
        Some(WorkerRounds { inline_ticks: ticks, inline_cycles: ticks / median(&rates)?, rounds, logs, places, levels })
    }
}

fn logarithms(ticks: Parts) -> [f64; PARTS] {
    ticks.map(|ticks| f64::from(ticks.max(1.0)).ln())
}

/// What is looked at takes undisturbed: so much of it takes no longer.
const CLEAR: f64 = 0.1;
/// A half before or after which the pace, or adds, took longer than this times what they take undisturbed had less than
/// the whole core: another guest ran on its sibling, say, which takes a third of it. There an indirection costs
/// something else. What caches hold when a run begins moves the pace, too, by some percent.
const DISTURBED: f64 = 1.1;
/// A worker with fewer quiet halves says nothing.
const ENOUGH_HALVES: usize = HALVES;
/// Undisturbed workers, without which all are taken with all that they measured.
const ENOUGH: usize = 6;

/// Logarithms of what was looked at before, between and after the halves of a round.
type Looks = [f64; HALVES + 1];

/// What the pace took longer than it usually does.
fn paces(samples: &[&WorkSamples]) -> Vec<Vec<Looks>> {
    let paces: Vec<[f64; PARTS]> =
        samples.iter().flat_map(|samples| samples.reference_run.iter().flatten().copied().map(logarithms)).collect();
    let part = |part: usize| median(&paces.iter().map(|pace| pace[part]).collect::<Vec<_>>()).unwrap_or(0.0);
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

/// What adds took.
fn adds(samples: &[&WorkSamples]) -> Vec<Vec<Looks>> {
    samples.iter().map(|samples| samples.adds.iter().map(|adds| adds.map(f64::ln)).collect()).collect()
}

/// Which halves of each worker's rounds had neither before nor after them what is seldom seen.
fn calm(looks: &[Vec<Looks>]) -> Vec<Vec<Quiet>> {
    let round = |looks: &Looks| -> [f64; HALVES] { std::array::from_fn(|half| looks[half].max(looks[half + 1])) };
    let halves: Vec<f64> = looks.iter().flatten().flat_map(round).collect();
    let most = quantile(&halves, CLEAR).map_or(f64::INFINITY, |clear| clear + DISTURBED.ln());
    looks
        .iter()
        .map(|worker| worker.iter().map(|looks| round(looks).map(|most_of| most_of <= most)).collect())
        .collect()
}

/// The workers that had the core to themselves, and what they measured while they had; all of it where that is too
/// little.
pub(super) fn uncontended(samples: &[(usize, WorkSamples)]) -> Vec<WorkerRounds> {
    let samples: Vec<&WorkSamples> = samples.iter().map(|(_, samples)| samples).collect();
    let both = |(pace, adds): (&Quiet, &Quiet)| -> Quiet { std::array::from_fn(|half| pace[half] && adds[half]) };
    let (paces, adds) = (calm(&paces(&samples)), calm(&adds(&samples)));
    let quiet: Vec<Vec<Quiet>> =
        paces.iter().zip(&adds).map(|(paces, adds)| paces.iter().zip(adds).map(both).collect()).collect();
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
