//! The sampler: one group in palindromic rounds.
//!
//! A round is `C Q I m1 .. mk mk .. m1 I Q C`: C a chain of dependent adds, Q independent adds, which show whether
//! another hyperthread takes part of the core, I the `inline` loop, m1 .. mk the mechanisms' loops with `inline` again
//! and a copy of it among them, reshuffled every round. Each value of a round will be the mean of its two windows, so
//! that a drift which is linear over a round cancels; a round in which the machine changed its pace is dropped and made
//! again, and loops that were interrupted get a short round of their own. A [`window`](super::window) is one call of a
//! loop.

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
use super::wire::{GroupSamples, RoundSamples, Task, UnavailableVariant};
use crate::clock::Clock;
use crate::clock::calibration::{ADDS, chain, independent};
use crate::op::model::{Installed, ModelError};
use crate::op::xen::LazyMode;
use crate::op::{BodyKind, CpuModel};
use crate::patch::site::RecordError;
use crate::patch::{CodeError, FunctionError};
use crate::regime::random::{TargetSequence, set_sequence};
use crate::regime::{Regime, SITES};
use crate::stats::effect::{agree, closest, pair_mean, steady};
use crate::suite::OpEntry;

/// Why a group could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The group names no op of this build.
    #[error("there is no op '{0}' in this build")]
    UnknownOp(String),
    /// The plan names no mechanism of this build.
    #[error("there is no mechanism '{0}' in this build")]
    UnknownMechanism(String),
    /// The op has no loop in that regime.
    #[error("{0}: the op has no such loop (latency needs an argument and a result)")]
    NoLoop(Comparison),
    /// No CPU model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// No memory for copies.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The records of the sites.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// A mechanism with states left no record.
    #[error("{op}: {mechanism} left no record of its sites in this build; they cannot be patched")]
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

/// Passes that a loop runs after its sites were rewritten and before it is timed: caches and predictors learn it anew.
const WARM_PASSES: u64 = 100;

/// So many rounds of a group may be dropped; then this worker does without what is left of them.
const MAX_DROPPED: usize = 8;

/// So long at most a worker waits in all for the core to be its own again: bursts of a tenth of a second are common,
/// and a neighbour that stays is not to be waited for.
const PATIENCE: Duration = Duration::from_millis(250);
/// So long it waits at a time.
const WAIT: Duration = Duration::from_millis(5);

/// So many short rounds are made for the columns whose windows were interrupted.
const MAX_EXTRA: usize = 3;

/// Measures groups in this process.
pub struct Sampler {
    ops: Vec<OpEntry>,
    clock: Clock,
    step: u64,
    /// A round with fewer independent adds per cycle is made again, as long as there is patience left.
    pub min_adds_per_cycle: f64,
    patience: Duration,
    loops: Loops,
    cpu: Installed,
    rng: Pcg64Mcg,
    calibration: Window,
    quiet: Window,
    window_ticks: u64,
    counters: Option<Counters>,
    tracer: Option<Tracer>,
    /// Made when first needed.
    evict: Option<Evictor>,
    /// How many passes fill a window: of `inline`, then of the columns by their place in the assignment. Much the same
    /// at all layouts, so that a loop is sized at the first.
    passes: BTreeMap<(String, BodyKind, Regime), Vec<Option<u64>>>,
}

impl Sampler {
    /// Gets this process ready: CPU model, code memory, and how many ticks `window_cycles` are now.
    ///
    /// # Errors
    /// Where the kernel refuses the segment base or executable memory.
    pub fn new(
        ops: Vec<OpEntry>,
        seed: u64,
        clock: Clock,
        window_cycles: u64,
        count: bool,
        trace: bool,
    ) -> Result<Self, SampleError> {
        let mut calibration = Window { run: chain, copied: None, args: [0; 4], passes: 1, ops_per_pass: ADDS };
        // About 100 us of adds altogether: enough to know the rate to a percent, and the windows have 3% to spare. The
        // middle of five: had the process been stopped in the only one, all its windows would be as long as that.
        calibration.passes = 80_000 / ADDS;
        let mut rates = [(); 5].map(|()| calibration.ticks_per_op(clock));
        rates.sort_unstable_by(f64::total_cmp);
        let ticks_per_cycle = rates[2];
        let window_ticks = (window_cycles as f64 * ticks_per_cycle * SPARE) as u64;
        calibration.passes = (window_cycles as f64 * SPARE) as u64 / ADDS;
        let mut quiet = Window { run: independent, ..calibration.clone() };
        // Up to four adds in a cycle; half a window tells enough.
        quiet.passes = window_cycles * 2 / ADDS;
        Ok(Sampler {
            ops,
            clock,
            step: clock.step(),
            min_adds_per_cycle: 0.0,
            patience: PATIENCE,
            loops: Loops::new()?,
            cpu: CpuModel::install()?,
            rng: Pcg64Mcg::seed_from_u64(seed),
            calibration,
            quiet,
            window_ticks,
            counters: if count { Counters::open().ok() } else { None },
            tracer: if trace { Tracer::install().ok() } else { None },
            evict: None,
            passes: BTreeMap::new(),
        })
    }

    /// Measures one group. `columns` are those of the assignment.
    ///
    /// # Errors
    /// Where the group or a mechanism does not exist, or its loops cannot be copied.
    pub fn group(&mut self, task: &Task, columns: &[Variant]) -> Result<GroupSamples, SampleError> {
        let group = &task.group;
        // By their place in the assignment.
        let places: Vec<usize> = match &task.only {
            Some(only) => only.iter().copied().filter(|place| *place < columns.len()).collect(),
            None => (0..columns.len()).collect(),
        };
        let columns: Vec<Variant> = places.iter().map(|place| columns[*place].clone()).collect();
        let entry = self.ops.iter().find(|op| op.meta.name == group.op);
        let entry = entry.ok_or_else(|| SampleError::UnknownOp(group.op.clone()))?;
        // A group that entered lazy mode leaves nothing batched to the next.
        self.cpu.xen.flush();
        self.cpu.xen.lazy = LazyMode::None;
        let args = (entry.arguments)(&mut self.cpu);
        if let Some(count) = group.regime.targets() {
            let order = Box::new(std::array::from_fn(|_| self.rng.random_range(0..count) as u8));
            // SAFETY: this thread measures, and no loop runs.
            unsafe { set_sequence(|sequence| *sequence = Some(TargetSequence { targets: [0; 8], order, at: 0 })) };
        }
        let ([inline, copy], offers) = self.loops.prepare(entry, group, &columns)?;
        let (mut loops, mut present, mut absent) = (vec![inline.clone(), copy], Vec::new(), Vec::new());
        let mut missing = Vec::new();
        for (column, offer) in places.into_iter().zip(offers) {
            match offer {
                Prepared::Loop(copied) => {
                    loops.push(copied);
                    present.push(column);
                }
                Prepared::None => absent.push(column),
                Prepared::Refused(reason) => missing.push(UnavailableVariant { column, reason, refused: true }),
                Prepared::Unavailable(reason) => missing.push(UnavailableVariant { column, reason, refused: false }),
            }
        }
        let key = (group.op.clone(), group.body, group.regime);
        let mut passes = self.passes.remove(&key).unwrap_or_default();
        let inline = self.sized(inline, args, known(&mut passes, 0))?;
        let mut others = Vec::with_capacity(loops.len());
        for (copied, place) in loops.into_iter().zip([0, 0].into_iter().chain(present.iter().map(|place| place + 1))) {
            others.push(self.sized(copied, args, known(&mut passes, place))?);
        }
        self.passes.insert(key, passes);
        let (mut measured, mut dropped): (Vec<RoundSamples>, usize) = (Vec::with_capacity(task.rounds), 0);
        let (mut disturbed, mut given_up) = (0, 0);
        let within = group.regime.tolerance();
        let mut extra = 0;
        loop {
            // Whole rounds first; then short ones of what was interrupted too often in them.
            let mut order = lacking(&measured, others.len(), task.rounds, within);
            if measured.len() >= task.rounds {
                extra += 1;
            }
            if order.is_empty() || dropped > MAX_DROPPED || extra > MAX_EXTRA {
                break;
            }
            // Fisher and Yates.
            for i in (1..order.len()).rev() {
                order.swap(i, self.rng.random_range(0..=i));
            }
            let began = Instant::now();
            // Both look at what the core gives, and not at what is measured.
            let quiet = |adds_per_cycle: f64| adds_per_cycle >= self.min_adds_per_cycle || self.patience.is_zero();
            let first = self.pace();
            let round = if quiet(first.adds_per_cycle()) {
                Some(self.round(first, &inline, &others, &order, group.regime)?)
            } else {
                given_up += 1;
                None
            };
            match round {
                Some(round) if !steady(round.ticks_per_cycle, round.inline) => dropped += 1,
                Some(round) if round.adds_per_cycle >= self.min_adds_per_cycle || self.patience.is_zero() => {
                    measured.push(round)
                }
                shared => {
                    disturbed += usize::from(shared.is_some());
                    std::thread::sleep(WAIT);
                    self.patience = self.patience.saturating_sub(began.elapsed());
                }
            }
        }
        let mut counted = Vec::new();
        // The first two of the others are the A/A comparisons.
        for window in std::iter::once(&inline).chain(others.iter().skip(2)).filter(|_| task.count) {
            self.activate(window)?;
            // A loop that is called over and over is not cold.
            if let Some(counters) = self.counters.as_mut().filter(|_| task.count && !group.regime.is_cold()) {
                counted.push(counters.per_op(|| window.call(window.passes), window.passes * window.ops_per_pass));
            }
        }
        let mut instructions = Vec::new();
        for window in std::iter::once(&inline).chain(others.iter().skip(2)).filter(|_| task.count) {
            self.activate(window)?;
            if self.tracer.is_some() && group.regime.is_cold() {
                // A train ends after as many passes as it has copies, and after no others.
                instructions.push(Err("counted in throughput, whose loop this is".to_owned()));
            } else if let Some(tracer) = &mut self.tracer {
                // SAFETY: as in `Window::call`.
                instructions.push(unsafe { tracer.per_op(window.run, &window.args) }.map_err(|e| e.to_string()));
            }
        }
        let clock_step = self.step;
        dropped += disturbed + given_up;
        let (rounds, columns, counters) = (measured, present, counted);
        Ok(GroupSamples { rounds, dropped, given_up, columns, absent, missing, counters, instructions, clock_step })
    }

    /// Sizes a window; see [`Window::size`].
    fn sized(&mut self, copied: Copied, args: [u64; 4], known: &mut Option<u64>) -> Result<Window, SampleError> {
        let (run, unrolled) = (copied.run, copied.unrolled.clone());
        let mut window = Window { run, copied: Some(copied), args, passes: 1, ops_per_pass: SITES };
        self.activate(&window)?;
        match unrolled {
            None => {
                if !known.is_some_and(|passes| window.suits(self.clock, self.window_ticks, passes)) {
                    window.size(self.clock, self.window_ticks);
                }
                *known = Some(window.passes);
            }
            Some(unrolled) => {
                // A pass per copy. Once before it is timed: whatever the pages cost is done.
                window.passes = unrolled.copies as u64;
                window.call(window.passes);
            }
        }
        Ok(window)
    }

    /// Has a window's sites in its state, and the loop warm.
    fn activate(&mut self, window: &Window) -> Result<(), SampleError> {
        if let Some(targets) = window.copied.as_ref().and_then(|copied| copied.targets) {
            // SAFETY: this thread measures, and no loop runs.
            unsafe { set_sequence(|sequence| sequence.iter_mut().for_each(|sequence| sequence.targets = targets)) };
        }
        if let Some(copied) = &window.copied
            && self.loops.activate(copied)?
        {
            // A train has no loop to go through more often than it has copies.
            let passes = copied.unrolled.as_ref().map_or(WARM_PASSES, |unrolled| unrolled.copies as u64);
            window.call(passes);
        }
        Ok(())
    }

    fn time(&mut self, window: &Window, regime: Regime) -> Result<f64, SampleError> {
        self.activate(window)?;
        if let Some(unrolled) = window.copied.as_ref().and_then(|copied| copied.unrolled.as_ref()) {
            let word = self.rng.random();
            let evict = match self.evict.take() {
                Some(evict) => evict,
                None => Evictor::new(chain as *const () as usize)?,
            };
            self.evict.insert(evict).run(word);
            match regime {
                Regime::Flushed => flush(unrolled.start, unrolled.length),
                // What ran a moment ago is nearer than what did not; now all is as near.
                _ => touch(unrolled.start, unrolled.length),
            }
            // One traversal; what it costs to get in and out is a part in thousands of it, and `inline`'s, too.
            return Ok(window.ticks(self.clock, window.passes) as f64 / (window.passes * window.ops_per_pass) as f64);
        }
        Ok(window.ticks_per_op(self.clock))
    }

    /// The chain of adds, and the independent ones.
    fn pace(&self) -> Pace {
        Pace {
            ticks_per_cycle: self.calibration.ticks_per_op(self.clock),
            ticks_per_add: self.quiet.ticks_per_op(self.clock),
        }
    }

    /// A round that begins with the pace that was just taken.
    fn round(
        &mut self,
        before: Pace,
        inline: &Window,
        others: &[Window],
        order: &[usize],
        regime: Regime,
    ) -> Result<RoundSamples, SampleError> {
        let mut ticks = vec![[0.0; 2]; others.len()];
        let first = self.time(inline, regime)?;
        for &i in order {
            ticks[i][0] = self.time(&others[i], regime)?;
        }
        for &i in order.iter().rev() {
            ticks[i][1] = self.time(&others[i], regime)?;
        }
        let mut ends = [first, self.time(inline, regime)?];
        if !agree(ends, regime.tolerance()) {
            // All columns are held against it: one interruption must not cost the whole round.
            ends = closest(ends, self.time(inline, regime)?);
        }
        let inline = ends;
        let contended = before.ticks_per_add.max(self.quiet.ticks_per_op(self.clock));
        let calibrations = [before.ticks_per_cycle, self.calibration.ticks_per_op(self.clock)];
        // The shorter of the two: an interrupt in one must not pass for a wide core.
        let cycle = calibrations[0].min(calibrations[1]);
        let columns = ticks.split_off(2.min(ticks.len()));
        Ok(RoundSamples {
            ticks_per_cycle: calibrations,
            adds_per_cycle: cycle / contended,
            inline,
            again: ticks.first().copied().unwrap_or(inline),
            copy: ticks.get(1).copied().unwrap_or(inline),
            ticks: columns,
        })
    }
}

/// What the core gives at a moment.
#[derive(Clone, Copy)]
struct Pace {
    /// Of the chain.
    ticks_per_cycle: f64,
    /// Of the independent adds.
    ticks_per_add: f64,
}

impl Pace {
    fn adds_per_cycle(self) -> f64 {
        self.ticks_per_cycle / self.ticks_per_add
    }
}

/// Where the passes of a loop are kept.
fn known(passes: &mut Vec<Option<u64>>, place: usize) -> &mut Option<u64> {
    passes.resize(passes.len().max(place + 1), None);
    &mut passes[place]
}

/// Which of `loops` loops have fewer usable values than rounds are to be made. In the order of a round's comparisons:
/// `inline` again, its copy, the columns.
fn lacking(rounds: &[RoundSamples], loops: usize, wanted: usize, within: f64) -> Vec<usize> {
    let usable = |index: usize| {
        rounds
            .iter()
            .filter(|round| round.compared().nth(index).is_some_and(|twins| pair_mean(*twins, within).is_some()))
            .count()
    };
    (0..loops).filter(|index| usable(*index) < wanted).collect()
}
