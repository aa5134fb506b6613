//! Loops of an op as a bench: the variants of a comparison are timed in blocks.
//!
//! A block is the [palindrome](super::block) `I m1 .. mk mk .. m1 I`. I is the `inline` loop. m1 .. mk are the loops of
//! the mechanisms, with the repeat and the copy of `inline` among them, reshuffled every block. A block in which the
//! core's rate changed is dropped and repeated. Loops that were interrupted get a short block of their own. A
//! [`window`](super::window) is one call of a loop.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::block::{Bench, palindrome};
use super::comparison::Comparison;
use super::counters::Counters;
use super::evict::{Evictor, flush, touch};
use super::loops::{Copied, Loops, Prepared};
use super::sample_error::SampleError;
use super::samples::{
    Block, JobSamples, LoopSamples, Pair, Probe, Unavailability, UnavailableTreatment, VariantCounts,
};
use super::trace::{Passes, Trace, Tracer};
use super::variant::{MechanismState, TreatmentId, Treatments, Variant};
use super::window::{SPARE, Window};
use crate::clock::Clock;
use crate::clock::calibration::{ADDS, chain, independent};
use crate::op::model::Installed;
use crate::op::xen::LazyMode;
use crate::op::{BodyKind, CpuModel};
use crate::regime::random::{TargetSequence, set_sequence};
use crate::regime::{Regime, SITES};
use crate::stats::effect::{agree, closest, pair_mean, steady};
use crate::suite::OpEntry;

/// Passes of a loop between the patching of its sites and its window, at most as many as the window has: caches and
/// predictors must learn the new code. A window of an op that takes microseconds has a few passes, and a hundred would
/// take as long as all windows of its block.
const MAX_WARM_PASSES: u64 = 100;

/// Unsteady blocks per comparison; beyond them, this worker omits the remaining blocks.
const MAX_DROPPED: usize = 8;

/// Time that a worker waits in all for an uncontended core. Bursts of a tenth of a second are common, and waiting does
/// not help against a neighbour that stays.
const MAX_WAIT: Duration = Duration::from_millis(250);
/// Time of one wait.
const WAIT_STEP: Duration = Duration::from_millis(5);

/// Short blocks per comparison, for the variants whose windows were interrupted.
const MAX_SHORT_BLOCKS: usize = 3;

/// Column of the reference in a job's samples; the other variants follow it.
const REFERENCE: usize = 0;

/// The conditions under which loops are timed.
#[derive(Clone, Copy, Debug)]
pub struct LoopConditions {
    /// Seed of the order within blocks.
    pub seed: u64,
    /// The clock that times windows.
    pub clock: Clock,
    /// Shortest length of a window, in core cycles.
    pub window_cycles: u64,
    /// Independent adds per cycle below which a block is contended, and repeated while time to wait is left; 0 where
    /// this is unknown.
    pub min_adds_per_cycle: f64,
    /// Whether to count events with the hardware counters.
    pub counters: bool,
    /// Whether to count executed instructions.
    pub instructions: bool,
}

/// A request to measure a comparison.
#[derive(Clone, Copy, Debug)]
pub struct LoopJob<'a> {
    /// The comparison.
    pub comparison: &'a Comparison,
    /// The treatments to time, all of them mechanisms.
    pub treatments: &'a [TreatmentId],
    /// Number of blocks.
    pub blocks: usize,
    /// Whether to count events and instructions. One layout is enough, since all layouts have the same code.
    pub count: bool,
}

/// A bench for the loops of ops, in this process.
pub struct LoopBench {
    ops: Vec<OpEntry>,
    conditions: LoopConditions,
    step: u64,
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
    /// Passes that fill a window, by loop. Layouts hardly differ in it, so a loop is sized at its first layout.
    passes: BTreeMap<(String, BodyKind, Regime), BTreeMap<Variant, u64>>,
}

/// The loops of a comparison, ready to be timed.
struct Windows {
    /// The keys of the windows.
    variants: Vec<Variant>,
    /// The reference, then the others.
    windows: Vec<Window>,
    regime: Regime,
    unavailable: Vec<UnavailableTreatment>,
}

impl LoopBench {
    /// Makes this process ready: CPU model, code memory, and the length of a window in ticks.
    ///
    /// # Errors
    /// [`SampleError`] where the kernel refuses the segment base or executable memory.
    pub fn new(ops: Vec<OpEntry>, conditions: LoopConditions) -> Result<Self, SampleError> {
        let LoopConditions { seed, clock, window_cycles, counters, instructions, .. } = conditions;
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
        Ok(LoopBench {
            ops,
            conditions,
            step: clock.step(),
            wait_left: MAX_WAIT,
            loops: Loops::new()?,
            cpu: CpuModel::install()?,
            rng: Pcg64Mcg::seed_from_u64(seed),
            calibration,
            throughput,
            window_ticks,
            counters: if counters { Counters::open().ok() } else { None },
            tracer: if instructions { Tracer::install().ok() } else { None },
            evict: None,
            passes: BTreeMap::new(),
        })
    }

    /// Measures one comparison. `treatments` says what the job's ids stand for.
    ///
    /// # Errors
    /// [`SampleError`] where the op or a mechanism does not exist, or a loop cannot be copied.
    pub fn measure(&mut self, job: &LoopJob, treatments: &Treatments) -> Result<LoopSamples, SampleError> {
        let windows = self.prepare(job, treatments)?;
        let variants = windows.variants.clone();
        let tolerance = windows.regime.tolerance();
        let (mut blocks, mut dropped, mut given_up): (Vec<Block<f64>>, usize, usize) = (Vec::new(), 0, 0);
        let (mut contended, mut short) = (0, 0);
        loop {
            // Full blocks come first, then short ones of the loops that were interrupted too often.
            let mut order = list_incomplete(&blocks, windows.windows.len(), job.blocks, tolerance);
            if blocks.len() >= job.blocks {
                short += 1;
            }
            if order.is_empty() || dropped > MAX_DROPPED || short > MAX_SHORT_BLOCKS {
                break;
            }
            order.shuffle(&mut self.rng);
            order.insert(0, REFERENCE);
            let began = Instant::now();
            match self.time_block(&windows, &order)? {
                Some(block) if !is_steady(&block) => dropped += 1,
                Some(block) if self.is_uncontended(block.adds_per_cycle()) => blocks.push(block),
                shared => {
                    given_up += usize::from(shared.is_none());
                    contended += usize::from(shared.is_some());
                    std::thread::sleep(WAIT_STEP);
                    self.wait_left = self.wait_left.saturating_sub(began.elapsed());
                }
            }
        }
        let counts = if job.count { self.count(&windows)? } else { Vec::new() };
        Ok(LoopSamples {
            table: JobSamples { variants, blocks, unavailable: windows.unavailable, counts },
            dropped: dropped + contended + given_up,
            given_up,
            clock_step: self.step,
        })
    }

    /// Copies, binds and sizes the loops of a job.
    fn prepare(&mut self, job: &LoopJob, treatments: &Treatments) -> Result<Windows, SampleError> {
        let comparison = job.comparison;
        let mechanism = |id: &TreatmentId| Some((*id, treatments.mechanism(*id)?.clone()));
        let (ids, mechanisms): (Vec<TreatmentId>, Vec<MechanismState>) =
            job.treatments.iter().filter_map(mechanism).unzip();
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
        let ([inline, copy], prepared) = self.loops.prepare(entry, comparison, &mechanisms)?;
        let mut loops = vec![(Variant::Reference, inline.clone()), (Variant::Repeat, inline), (Variant::Copy(1), copy)];
        let mut unavailable = Vec::new();
        for (treatment, prepared) in ids.into_iter().zip(prepared) {
            let why = match prepared {
                Prepared::Loop(copied) => {
                    loops.push((Variant::Treatment(treatment), copied));
                    continue;
                }
                Prepared::None => Unavailability::Never,
                Prepared::Refused(reason) => Unavailability::Refused(reason),
                Prepared::Unavailable(reason) => Unavailability::Unsupported(reason),
            };
            unavailable.push(UnavailableTreatment { treatment, why });
        }
        let key = (comparison.op.clone(), comparison.body, comparison.regime);
        let mut passes = self.passes.remove(&key).unwrap_or_default();
        let (mut variants, mut windows) = (Vec::with_capacity(loops.len()), Vec::with_capacity(loops.len()));
        for (variant, copied) in loops {
            // All loops of `inline` have the same size.
            let sized = if variant.treatment().is_some() { variant } else { Variant::Reference };
            let is_unrolled = copied.unrolled.is_some();
            let window = self.size_window(copied, args, passes.get(&sized).copied())?;
            if !is_unrolled {
                passes.insert(sized, window.passes);
            }
            variants.push(variant);
            windows.push(window);
        }
        self.passes.insert(key, passes);
        Ok(Windows { variants, windows, regime: comparison.regime, unavailable })
    }

    /// Sizes a window, with the passes of an earlier layout if they suit; see [`Window::size`].
    fn size_window(&mut self, copied: Copied, args: [u64; 4], known: Option<u64>) -> Result<Window, SampleError> {
        let copies = copied.unrolled.as_ref().map(|unrolled| unrolled.copies as u64);
        let mut window = Window { run: copied.run, copied: Some(copied), args, passes: 1, ops_per_pass: SITES };
        self.activate(&window, known.unwrap_or(1))?;
        match copies {
            None => {
                let clock = self.conditions.clock;
                if !known.is_some_and(|passes| window.adopt_passes(clock, self.window_ticks, passes)) {
                    window.size(clock, self.window_ticks);
                }
            }
            Some(copies) => {
                // One pass per copy. The first run is untimed and pays for the new pages.
                window.passes = copies;
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
        let clock = self.conditions.clock;
        if let Some(unrolled) = window.copied.as_ref().and_then(|copied| copied.unrolled.as_ref()) {
            let word = self.rng.random();
            let evict = match self.evict.take() {
                Some(evict) => evict,
                None => Evictor::new(chain as *const () as usize)?,
            };
            self.evict.insert(evict).run(word);
            if regime.flushes_code() {
                flush(unrolled.start, unrolled.length);
            } else {
                // Code that ran a moment ago lies in a nearer cache; touching puts all code at the same distance.
                touch(unrolled.start, unrolled.length);
            }
            // One traversal. Entry and exit cost less than a thousandth part of it, and `inline` has them, too.
            return Ok(window.ticks(clock, window.passes) as f64 / (window.passes * window.ops_per_pass) as f64);
        }
        Ok(window.ticks_per_op(clock))
    }

    /// Whether a core with this throughput is worth measuring on, as far as is known. The decision looks at the core
    /// alone, never at the values that a block measures.
    fn is_uncontended(&self, adds_per_cycle: f64) -> bool {
        adds_per_cycle >= self.conditions.min_adds_per_cycle || self.wait_left.is_zero()
    }

    /// Times a block; `None` where its first probe ended it.
    fn time_block(&mut self, windows: &Windows, order: &[usize]) -> Result<Option<Block<f64>>, SampleError> {
        palindrome(&mut BlockTiming { bench: self, windows }, order, windows.windows.len())
    }

    /// Counts events and instructions of the reference and of the treatments.
    fn count(&mut self, windows: &Windows) -> Result<Vec<VariantCounts>, SampleError> {
        let is_cold = windows.regime.is_cold();
        let mut counts = Vec::new();
        let counted = |variant: &Variant| *variant == Variant::Reference || variant.treatment().is_some();
        for (variant, window) in windows.variants.iter().zip(&windows.windows).filter(|(variant, _)| counted(variant)) {
            self.activate(window, window.passes)?;
            // A loop that runs again and again is not cold.
            let counters = self.counters.as_mut().filter(|_| !is_cold);
            let events = counters.map(|counters| {
                let ops = window.passes * window.ops_per_pass;
                counters.count_per_op(|| window.call(window.passes), ops).into_iter().collect()
            });
            let code = window.copied.as_ref().and_then(|copied| self.loops.identify(copied));
            counts.push(VariantCounts { variant: *variant, instructions: None, mix: None, code, events });
        }
        let windows = windows.variants.iter().zip(&windows.windows).filter(|(variant, _)| counted(variant));
        for ((_, window), count) in windows.zip(&mut counts) {
            self.activate(window, window.passes)?;
            match &mut self.tracer {
                None => {}
                // An unrolled chain can only run exactly as many passes as it has copies.
                Some(_) if is_cold => {
                    count.instructions = Some(Err("counted in throughput, whose loop this is".to_owned()));
                }
                Some(tracer) => {
                    // SAFETY: `passes` needs a loop that may be called with these arguments: they were made for the op
                    // of this window.
                    let passes = unsafe { tracer.passes(window.run, &window.args) };
                    count.mix = passes.as_ref().ok().and_then(Passes::mix);
                    count.instructions = Some(passes.map(|passes| passes.per_op()).map_err(|error| error.to_string()));
                }
            }
        }
        Ok(counts)
    }
}

/// One block of a comparison.
struct BlockTiming<'a> {
    bench: &'a mut LoopBench,
    windows: &'a Windows,
}

impl Bench for BlockTiming<'_> {
    type Ticks = f64;
    type Error = SampleError;

    // A block of loops takes a millisecond: the core seldom changes within it.
    const PROBE_BETWEEN_HALVES: bool = false;

    fn begin_half(&mut self) -> Result<(), SampleError> {
        Ok(())
    }

    fn probe(&mut self) -> Result<Probe<f64>, SampleError> {
        let clock = self.bench.conditions.clock;
        Ok(Probe {
            ticks_per_cycle: self.bench.calibration.ticks_per_op(clock),
            ticks_per_add: self.bench.throughput.ticks_per_op(clock),
            reference_run: None,
        })
    }

    fn goes_on(&self, before: &Probe<f64>) -> bool {
        self.bench.is_uncontended(before.ticks_per_cycle / before.ticks_per_add)
    }

    fn time(&mut self, column: usize) -> Result<f64, SampleError> {
        self.bench.time_window(&self.windows.windows[column], self.windows.regime)
    }

    fn amend(&mut self, pairs: &mut [Option<Pair<f64>>]) -> Result<(), SampleError> {
        // All variants are compared with the reference: one interruption must not cost the whole block.
        if let Some(ends) = &mut pairs[REFERENCE]
            && !agree(*ends, self.windows.regime.tolerance())
        {
            *ends = closest(*ends, self.time(REFERENCE)?);
        }
        Ok(())
    }
}

fn is_steady(block: &Block<f64>) -> bool {
    steady(block.ticks_per_cycle(), block.pairs.get(REFERENCE).unwrap_or_default())
}

/// Lists the columns of `columns`, without the reference, that have fewer than `wanted` usable values.
fn list_incomplete(blocks: &[Block<f64>], columns: usize, wanted: usize, tolerance: f64) -> Vec<usize> {
    let is_usable = |pair: Pair<f64>| pair_mean(pair, tolerance).is_some();
    let usable = |column: usize| blocks.iter().filter(|block| block.pairs.get(column).is_some_and(is_usable)).count();
    (0..columns).filter(|column| *column != REFERENCE && usable(*column) < wanted).collect()
}
