//! Times replays: placements drawn anew, and in each one blocks of all mechanisms at the same addresses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::result::{self, PlacementResult, ReplayResult};
use super::skeleton::{Loaded, Skeleton};
use super::window::ReplayWindow;
use super::{Assumptions, ReplayError, SiteKind};
use crate::clock::Clock;
use crate::linux::record::recording::Recording;
use crate::measure::block::{Bench, palindrome};
use crate::measure::core_probe::CoreProbe;
use crate::measure::samples::{Block, Probe};
use crate::stats::location::median;

/// Shortest time of a window: passes within it are timed one by one.
const WINDOW: Duration = Duration::from_millis(5);
/// Passes of a window at least.
const MIN_PASSES: u64 = 3;
/// Further passes that replace interrupted ones, as a multiple of those wanted.
const MAX_TRIES: u64 = 5;
/// Samples of the core's cycle in a probe, of which the median counts.
const PROBE_SAMPLES: usize = 5;
/// Blocks that are tried for each that is wanted.
const MAX_BLOCKS_PER_WANTED: usize = 4;
/// Share of the best core throughput below which a block was contended.
const MIN_THROUGHPUT: f64 = 0.9;
/// Largest difference of the two windows of `inline` in a block, as a share.
const MAX_PAIR_DIFFERENCE: f64 = 0.1;

/// The columns of a block: `inline`, its repeat, its copy at other addresses, and the mechanisms.
pub(super) const INLINE: usize = 0;
pub(super) const REPEAT: usize = 1;
pub(super) const COPY: usize = 2;
const FIRST_TREATMENT: usize = 3;

/// What to measure.
#[derive(Clone, Debug)]
pub struct ReplayPlan {
    /// The mechanisms that are compared with `inline`.
    pub mechanisms: Vec<SiteKind>,
    /// Placements.
    pub placements: usize,
    /// Blocks of each placement.
    pub blocks: usize,
    /// What the recording does not say.
    pub assumptions: Assumptions,
    /// Share of the window that is replayed.
    pub part: f64,
    /// Seed of placements and orders.
    pub seed: u64,
}

/// Measures the replay of a recording. `step` is called before each placement.
///
/// # Errors
/// If the recording cannot be replayed, or nothing could be measured.
pub fn measure(
    recording: &Recording,
    plan: &ReplayPlan,
    stop: &AtomicBool,
    step: &(dyn Fn(usize) + Sync),
) -> Result<ReplayResult, ReplayError> {
    let ReplayWindow { runs, units } = ReplayWindow::of(recording, plan.part);
    let mut rng = Pcg64Mcg::seed_from_u64(plan.seed);
    let core = CoreProbe::new(Clock::Tsc);
    let ticks_per_second = Clock::Tsc.ticks_per_second(Duration::from_millis(20));
    let mut best_throughput = 0.0f64;
    let (mut placements, mut facts) = (Vec::new(), None);
    let mut dropped = 0;
    for number in 0..2 * plan.placements {
        if placements.len() == plan.placements {
            break;
        }
        if stop.load(Ordering::Relaxed) {
            return Err(ReplayError::Interrupted);
        }
        step(placements.len());
        let skeleton = Skeleton::of(recording, runs.clone(), plan.assumptions, plan.seed.wrapping_add(number as u64))?;
        let copies = [skeleton.load()?, skeleton.load()?];
        let mut bench = ReplayBench { copies, plan, core: &core, units, passes: 1, ticks_per_second, step: 1 };
        bench.find_passes()?;
        let mut kept = Vec::new();
        for _ in 0..MAX_BLOCKS_PER_WANTED * plan.blocks {
            if kept.len() == plan.blocks || stop.load(Ordering::Relaxed) {
                break;
            }
            let mut order: Vec<usize> = (0..FIRST_TREATMENT + plan.mechanisms.len()).collect();
            order.shuffle(&mut rng);
            bench.step = rng.random_range(1..4);
            let Some(block) = palindrome(&mut bench, &order, order.len())? else { continue };
            let throughput = block.adds_per_cycle();
            best_throughput = best_throughput.max(throughput.min(8.0));
            let is_uncontended = throughput >= MIN_THROUGHPUT * best_throughput;
            if is_uncontended && is_whole(&block) { kept.push(block) } else { dropped += 1 }
        }
        facts.get_or_insert_with(|| skeleton.facts.clone());
        placements.extend(PlacementResult::of(&kept, &skeleton.facts, units, &plan.mechanisms));
    }
    let workload = || recording.about.workload.clone();
    let (Some(facts), true) = (facts, placements.len() > 1) else {
        return Err(ReplayError::Contended { workload: workload() });
    };
    Ok(result::summarise(recording, &facts, units, placements, plan, dropped))
}

/// Whether all windows were timed, and those of `inline` agree.
fn is_whole(block: &Block<f64>) -> bool {
    let is_timed = block.pairs.iter().all(|pair| pair.is_some_and(|pair| pair.iter().all(|ticks| ticks.is_finite())));
    let inline = block.pairs.get(INLINE);
    is_timed && inline.is_some_and(|[a, b]| (a - b).abs() <= MAX_PAIR_DIFFERENCE * a.min(b))
}

/// A replay as a bench.
struct ReplayBench<'a> {
    /// The replay with all mechanisms, and a copy of it that stays inline.
    copies: [Loaded; 2],
    plan: &'a ReplayPlan,
    core: &'a CoreProbe,
    units: f64,
    /// Passes of a window.
    passes: u64,
    ticks_per_second: f64,
    /// Passes before a window, which are not timed.
    step: u64,
}

impl ReplayBench<'_> {
    fn find_passes(&mut self) -> Result<(), ReplayError> {
        let ticks = (0..3).map(|_| self.time_pass(0).0).fold(f64::INFINITY, f64::min);
        let wanted = WINDOW.as_secs_f64() * self.ticks_per_second;
        self.passes = ((wanted / ticks.max(1.0)).ceil() as u64).max(MIN_PASSES);
        Ok(())
    }

    /// Times a pass; also says whether the thread was interrupted.
    fn time_pass(&mut self, copy: usize) -> (f64, bool) {
        let before = count_switches();
        let start = Clock::Tsc.start();
        if let Some(copy) = self.copies.get_mut(copy) {
            copy.run(1);
        }
        let ticks = Clock::Tsc.stop().saturating_sub(start) as f64;
        (ticks, count_switches() != before)
    }
}

impl Bench for ReplayBench<'_> {
    type Ticks = f64;
    type Error = ReplayError;

    const PROBE_BETWEEN_HALVES: bool = false;

    fn begin_half(&mut self) -> Result<(), ReplayError> {
        Ok(())
    }

    fn probe(&mut self) -> Result<Probe<f64>, ReplayError> {
        let ticks_per_cycle = self.core.median_ticks_per_cycle(PROBE_SAMPLES);
        Ok(Probe { ticks_per_cycle, ticks_per_add: self.core.ticks_per_add(), reference_run: None })
    }

    fn goes_on(&self, _: &Probe<f64>) -> bool {
        true
    }

    /// Ticks per unit: the median over the passes of a window in which no other thread ran. Not a number without one.
    fn time(&mut self, column: usize) -> Result<f64, ReplayError> {
        let treatment = column.checked_sub(FIRST_TREATMENT).and_then(|index| self.plan.mechanisms.get(index));
        let copy = usize::from(column == COPY);
        if let Some(loaded) = self.copies.get_mut(copy) {
            loaded.set(treatment.copied().unwrap_or(SiteKind::Inline))?;
            // Caches and predictors must learn the sites again.
            loaded.run(self.step);
        }
        let mut passes = Vec::with_capacity(self.passes as usize);
        let mut is_cold = false;
        for _ in 0..MAX_TRIES * self.passes {
            if passes.len() as u64 == self.passes {
                break;
            }
            let (ticks, was_interrupted) = self.time_pass(copy);
            // The pass after an interruption fills the caches again.
            if !was_interrupted && !is_cold {
                passes.push(ticks);
            }
            is_cold = was_interrupted;
        }
        Ok(median(&passes).map_or(f64::NAN, |ticks| ticks / self.units))
    }
}

/// How often this thread lost its CPU.
fn count_switches() -> i64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the call writes one `rusage`, for which there is room; zeroes are a valid one.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init()
    };
    usage.ru_nivcsw + usage.ru_nvcsw
}
