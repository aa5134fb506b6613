//! The sampler: it measures one comparison in palindromic rounds.
//!
//! A round is `C Q I m1 .. mk mk .. m1 I Q C`. C is a chain of dependent adds. Q is independent adds, which show
//! whether another hyperthread takes part of the core. I is the `inline` loop. m1 .. mk are the loops of the
//! mechanisms, with the repeat and the copy of `inline` among them, reshuffled every round. The value of a loop in a
//! round is the mean of its two windows, so that a drift that is linear over the round cancels. A round in which the
//! core's rate changed is dropped and repeated. Loops that were interrupted get a short round of their own. A
//! [`window`](super::window) is one call of a loop.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::counters::Counters;
use super::evict::{Evictor, flush, touch};
use super::loops::{Copied, Loops, Prepared};
use super::plan::{Comparison, Variant};
use super::trace::{Trace, Tracer};
use super::window::{SPARE, Window};
use super::wire::{ComparisonSamples, RoundSamples, Task, UnavailableVariant};
use crate::clock::Clock;
use crate::clock::calibration::{ADDS, chain, independent};
use crate::op::model::{Installed, ModelError};
use crate::op::xen::LazyMode;
use crate::op::{BodyKind, CpuModel};
use crate::patch::site::RecordError;
use crate::regime::random::{TargetSequence, set_sequence};
use crate::regime::{Regime, SITES};
use crate::relocate::{CodeError, FunctionError};
use crate::stats::effect::{agree, closest, pair_mean, steady};
use crate::suite::OpEntry;

/// The reason why a comparison could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The comparison names no op of this build.
    #[error("there is no op '{0}' in this build; `pvbench list ops` shows all")]
    UnknownOp(String),
    /// The assignment names no mechanism of this build.
    #[error("there is no mechanism '{0}' in this build; `pvbench list mechanisms` shows all")]
    UnknownMechanism(String),
    /// The op has no loop in this regime.
    #[error("{0}: the op has no loop in this regime (latency needs an argument and a result); choose another regime")]
    NoLoop(Comparison),
    /// The CPU model could not be installed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// There is no memory for copies.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The records of the sites are damaged.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// A mechanism with states has no record of its sites.
    #[error("{op}: this build has no record of the {mechanism} sites, so they cannot be patched; build it again")]
    NoSites {
        /// The op.
        op: &'static str,
        /// The mechanism.
        mechanism: &'static str,
    },
    /// A loop could not be copied.
    #[error(transparent)]
    Function(#[from] FunctionError),
}

/// Passes of a loop between the patching of its sites and its window, at most as many as the window has: caches and
/// predictors must learn the new code. A window of an op that takes microseconds has a few passes, and a hundred would
/// take as long as all windows of its round.
const MAX_WARM_PASSES: u64 = 100;

/// Unsteady rounds per comparison; beyond them, this worker omits the remaining rounds.
const MAX_DROPPED: usize = 8;

/// Time that a worker waits in all for an uncontended core. Bursts of a tenth of a second are common, and waiting does
/// not help against a neighbour that stays.
const MAX_WAIT: Duration = Duration::from_millis(250);
/// Time of one wait.
const WAIT_STEP: Duration = Duration::from_millis(5);

/// Short rounds per comparison, for the variants whose windows were interrupted.
const MAX_SHORT_ROUNDS: usize = 3;

/// A sampler of comparisons in this process.
pub struct Sampler {
    ops: Vec<OpEntry>,
    clock: Clock,
    step: u64,
    /// A round with fewer independent adds per cycle is repeated, while time to wait is left.
    pub min_adds_per_cycle: f64,
    wait_left: Duration,
    loops: Loops,
    cpu: Installed,
    rng: Pcg64Mcg,
    calibration: Window,
    throughput: Window,
    window_ticks: u64,
    counters: Option<Counters>,
    tracer: Option<Tracer>,
    /// Made at first use.
    evict: Option<Evictor>,
    /// Passes that fill a window: of `inline`, then of the variants by index in the assignment. Layouts hardly differ
    /// in it, so a loop is sized at its first layout.
    passes: BTreeMap<(String, BodyKind, Regime), Vec<Option<u64>>>,
}

impl Sampler {
    /// Makes this process ready: CPU model, code memory, and the length of `window_cycles` in ticks.
    ///
    /// # Errors
    /// [`SampleError`] where the kernel refuses the segment base or executable memory.
    pub fn new(
        ops: Vec<OpEntry>,
        seed: u64,
        clock: Clock,
        window_cycles: u64,
        count: bool,
        trace: bool,
    ) -> Result<Self, SampleError> {
        let mut calibration = Window { run: chain, copied: None, args: [0; 4], passes: 1, ops_per_pass: ADDS };
        // The adds take about 100 us, which gives the rate to a percent; windows have 3% to spare. The median of five
        // counts: one sample may include a time in which the process was stopped, and all windows would be that long.
        calibration.passes = 80_000 / ADDS;
        let mut rates = [(); 5].map(|()| calibration.ticks_per_op(clock));
        rates.sort_unstable_by(f64::total_cmp);
        let ticks_per_cycle = rates[2];
        let window_ticks = (window_cycles as f64 * ticks_per_cycle * SPARE) as u64;
        calibration.passes = (window_cycles as f64 * SPARE) as u64 / ADDS;
        let mut throughput = Window { run: independent, ..calibration.clone() };
        // A core executes up to four adds per cycle; half a window is enough.
        throughput.passes = window_cycles * 2 / ADDS;
        Ok(Sampler {
            ops,
            clock,
            step: clock.step(),
            min_adds_per_cycle: 0.0,
            wait_left: MAX_WAIT,
            loops: Loops::new()?,
            cpu: CpuModel::install()?,
            rng: Pcg64Mcg::seed_from_u64(seed),
            calibration,
            throughput,
            window_ticks,
            counters: if count { Counters::open().ok() } else { None },
            tracer: if trace { Tracer::install().ok() } else { None },
            evict: None,
            passes: BTreeMap::new(),
        })
    }

    /// Measures one comparison. `variants` are those of the assignment.
    ///
    /// # Errors
    /// [`SampleError`] where the op or a mechanism does not exist, or a loop cannot be copied.
    pub fn measure(&mut self, task: &Task, variants: &[Variant]) -> Result<ComparisonSamples, SampleError> {
        let comparison = &task.comparison;
        // Indices into the assignment's variants.
        let indices: Vec<usize> = match &task.variants {
            Some(chosen) => chosen.iter().copied().filter(|index| *index < variants.len()).collect(),
            None => (0..variants.len()).collect(),
        };
        let variants: Vec<Variant> = indices.iter().map(|index| variants[*index].clone()).collect();
        let entry = self.ops.iter().find(|op| op.meta.name == comparison.op);
        let entry = entry.ok_or_else(|| SampleError::UnknownOp(comparison.op.clone()))?;
        // A comparison that entered lazy mode must leave nothing batched for the next.
        self.cpu.xen.flush();
        self.cpu.xen.lazy = LazyMode::None;
        let args = (entry.arguments)(&mut self.cpu);
        if let Some(count) = comparison.regime.targets() {
            let order = Box::new(std::array::from_fn(|_| self.rng.random_range(0..count) as u8));
            // SAFETY: this thread measures, and no loop runs.
            unsafe { set_sequence(|sequence| *sequence = Some(TargetSequence { targets: [0; 8], order, at: 0 })) };
        }
        let ([inline, copy], prepared) = self.loops.prepare(entry, comparison, &variants)?;
        let (mut loops, mut present, mut absent) = (vec![inline.clone(), copy], Vec::new(), Vec::new());
        let mut missing = Vec::new();
        for (variant, prepared) in indices.into_iter().zip(prepared) {
            match prepared {
                Prepared::Loop(copied) => {
                    loops.push(copied);
                    present.push(variant);
                }
                Prepared::None => absent.push(variant),
                Prepared::Refused(reason) => missing.push(UnavailableVariant { variant, reason, refused: true }),
                Prepared::Unavailable(reason) => missing.push(UnavailableVariant { variant, reason, refused: false }),
            }
        }
        let key = (comparison.op.clone(), comparison.body, comparison.regime);
        let mut passes = self.passes.remove(&key).unwrap_or_default();
        let inline = self.size_window(inline, args, passes_entry(&mut passes, 0))?;
        let mut others = Vec::with_capacity(loops.len());
        for (copied, index) in
            loops.into_iter().zip([0, 0].into_iter().chain(present.iter().map(|variant| variant + 1)))
        {
            others.push(self.size_window(copied, args, passes_entry(&mut passes, index))?);
        }
        self.passes.insert(key, passes);
        let (mut measured, mut dropped): (Vec<RoundSamples>, usize) = (Vec::with_capacity(task.rounds), 0);
        let (mut contended, mut given_up) = (0, 0);
        let tolerance = comparison.regime.tolerance();
        let mut extra = 0;
        loop {
            // Full rounds come first, then short ones of the loops that were interrupted too often.
            let mut order = list_incomplete(&measured, others.len(), task.rounds, tolerance);
            if measured.len() >= task.rounds {
                extra += 1;
            }
            if order.is_empty() || dropped > MAX_DROPPED || extra > MAX_SHORT_ROUNDS {
                break;
            }
            // Shuffle, after Fisher and Yates.
            for i in (1..order.len()).rev() {
                order.swap(i, self.rng.random_range(0..=i));
            }
            let began = Instant::now();
            // Both checks look at the core throughput, never at the values that the round measures.
            let is_uncontended =
                |adds_per_cycle: f64| adds_per_cycle >= self.min_adds_per_cycle || self.wait_left.is_zero();
            let sample = self.sample_core();
            let round = if is_uncontended(sample.adds_per_cycle()) {
                Some(self.measure_round(sample, &inline, &others, &order, comparison.regime)?)
            } else {
                given_up += 1;
                None
            };
            match round {
                Some(round) if !steady(round.ticks_per_cycle, round.inline) => dropped += 1,
                Some(round) if round.adds_per_cycle >= self.min_adds_per_cycle || self.wait_left.is_zero() => {
                    measured.push(round)
                }
                shared => {
                    contended += usize::from(shared.is_some());
                    std::thread::sleep(WAIT_STEP);
                    self.wait_left = self.wait_left.saturating_sub(began.elapsed());
                }
            }
        }
        let mut counted = Vec::new();
        // The first two loops of `others` are the A/A comparisons.
        for window in std::iter::once(&inline).chain(others.iter().skip(2)).filter(|_| task.count) {
            self.activate(window, window.passes)?;
            // A loop that runs again and again is not cold.
            if let Some(counters) = self.counters.as_mut().filter(|_| task.count && !comparison.regime.is_cold()) {
                counted.push(counters.count_per_op(|| window.call(window.passes), window.passes * window.ops_per_pass));
            }
        }
        let mut instructions = Vec::new();
        for window in std::iter::once(&inline).chain(others.iter().skip(2)).filter(|_| task.count) {
            self.activate(window, window.passes)?;
            if self.tracer.is_some() && comparison.regime.is_cold() {
                // An unrolled chain can only run exactly as many passes as it has copies.
                instructions.push(Err("counted in throughput, whose loop this is".to_owned()));
            } else if let Some(tracer) = &mut self.tracer {
                // SAFETY: as in `Window::call`.
                instructions.push(unsafe { tracer.per_op(window.run, &window.args) }.map_err(|e| e.to_string()));
            }
        }
        let clock_step = self.step;
        dropped += contended + given_up;
        let (rounds, variants, counters) = (measured, present, counted);
        Ok(ComparisonSamples {
            rounds,
            dropped,
            given_up,
            variants,
            absent,
            missing,
            counters,
            instructions,
            clock_step,
        })
    }

    /// Sizes a window; see [`Window::size`].
    fn size_window(&mut self, copied: Copied, args: [u64; 4], known: &mut Option<u64>) -> Result<Window, SampleError> {
        let (run, unrolled) = (copied.run, copied.unrolled.clone());
        let mut window = Window { run, copied: Some(copied), args, passes: 1, ops_per_pass: SITES };
        self.activate(&window, known.unwrap_or(1))?;
        match unrolled {
            None => {
                if !known.is_some_and(|passes| window.adopt_passes(self.clock, self.window_ticks, passes)) {
                    window.size(self.clock, self.window_ticks);
                }
                *known = Some(window.passes);
            }
            Some(unrolled) => {
                // One pass per copy. The first run is untimed and pays for the new pages.
                window.passes = unrolled.copies as u64;
                window.call(window.passes);
            }
        }
        Ok(window)
    }

    /// Sets a window's sites to its state, and warms the loop up with up to `passes` passes.
    fn activate(&mut self, window: &Window, passes: u64) -> Result<(), SampleError> {
        if let Some(targets) = window.copied.as_ref().and_then(|copied| copied.targets) {
            // SAFETY: this thread measures, and no loop runs.
            unsafe { set_sequence(|sequence| sequence.iter_mut().for_each(|sequence| sequence.targets = targets)) };
        }
        if let Some(copied) = &window.copied
            && self.loops.activate(copied)?
        {
            // An unrolled chain has no more passes than copies.
            let passes = passes.min(MAX_WARM_PASSES);
            window.call(copied.unrolled.as_ref().map_or(passes, |unrolled| unrolled.copies as u64));
        }
        Ok(())
    }

    fn time_window(&mut self, window: &Window, regime: Regime) -> Result<f64, SampleError> {
        self.activate(window, window.passes)?;
        if let Some(unrolled) = window.copied.as_ref().and_then(|copied| copied.unrolled.as_ref()) {
            let word = self.rng.random();
            let evict = match self.evict.take() {
                Some(evict) => evict,
                None => Evictor::new(chain as *const () as usize)?,
            };
            self.evict.insert(evict).run(word);
            match regime {
                Regime::Flushed => flush(unrolled.start, unrolled.length),
                // Code that ran a moment ago lies in a nearer cache; touching puts all code at the same distance.
                _ => touch(unrolled.start, unrolled.length),
            }
            // One traversal. Entry and exit cost less than a thousandth part of it, and `inline` has them, too.
            return Ok(window.ticks(self.clock, window.passes) as f64 / (window.passes * window.ops_per_pass) as f64);
        }
        Ok(window.ticks_per_op(self.clock))
    }

    /// Times the dependent adds and the independent adds.
    fn sample_core(&self) -> CoreSample {
        CoreSample {
            ticks_per_cycle: self.calibration.ticks_per_op(self.clock),
            ticks_per_add: self.throughput.ticks_per_op(self.clock),
        }
    }

    /// Makes a round that begins with the core sample `before`.
    fn measure_round(
        &mut self,
        before: CoreSample,
        inline: &Window,
        others: &[Window],
        order: &[usize],
        regime: Regime,
    ) -> Result<RoundSamples, SampleError> {
        let mut ticks = vec![[0.0; 2]; others.len()];
        let first = self.time_window(inline, regime)?;
        for &i in order {
            ticks[i][0] = self.time_window(&others[i], regime)?;
        }
        for &i in order.iter().rev() {
            ticks[i][1] = self.time_window(&others[i], regime)?;
        }
        let mut ends = [first, self.time_window(inline, regime)?];
        if !agree(ends, regime.tolerance()) {
            // All variants are compared with `inline`: one interruption must not cost the whole round.
            ends = closest(ends, self.time_window(inline, regime)?);
        }
        let inline = ends;
        let ticks_per_add = before.ticks_per_add.max(self.throughput.ticks_per_op(self.clock));
        let calibrations = [before.ticks_per_cycle, self.calibration.ticks_per_op(self.clock)];
        // The shorter of the two counts: an interrupt in one must not look like a wide core.
        let cycle = calibrations[0].min(calibrations[1]);
        let variants = ticks.split_off(2.min(ticks.len()));
        Ok(RoundSamples {
            ticks_per_cycle: calibrations,
            adds_per_cycle: cycle / ticks_per_add,
            inline,
            repeat: ticks.first().copied().unwrap_or(inline),
            copy: ticks.get(1).copied().unwrap_or(inline),
            ticks: variants,
        })
    }
}

/// The state of the core at one moment.
#[derive(Clone, Copy)]
struct CoreSample {
    /// Of the dependent adds.
    ticks_per_cycle: f64,
    /// Of the independent adds.
    ticks_per_add: f64,
}

impl CoreSample {
    fn adds_per_cycle(self) -> f64 {
        self.ticks_per_cycle / self.ticks_per_add
    }
}

/// Returns the entry for the passes of a loop.
fn passes_entry(passes: &mut Vec<Option<u64>>, index: usize) -> &mut Option<u64> {
    passes.resize(passes.len().max(index + 1), None);
    &mut passes[index]
}

/// Lists the loops of `loops` that have fewer than `wanted` usable values, as indices in the order of a round: the
/// repeat of `inline`, its copy, the variants.
fn list_incomplete(rounds: &[RoundSamples], loops: usize, wanted: usize, tolerance: f64) -> Vec<usize> {
    let usable = |index: usize| {
        rounds
            .iter()
            .filter(|round| round.compared().nth(index).is_some_and(|pair| pair_mean(*pair, tolerance).is_some()))
            .count()
    };
    (0..loops).filter(|index| usable(*index) < wanted).collect()
}
