//! The sampler: one group in palindromic rounds.
//!
//! A round is `C Q I m1 .. mk mk .. m1 I Q C`: C a chain of dependent adds, Q independent adds, which show whether
//! another hyperthread takes part of the core, I the `inline` loop, m1 .. mk the mechanisms'
//! loops with `inline` again and a copy of it among them, reshuffled every round. Each value of a round is the mean of
//! its two windows, so that a drift which is linear over a round cancels. A window is one call of a loop,
//!
//! ```text
//! start = clock; loop(args, passes); stop = clock        ticks per op = (stop - start - entry) / ((passes - 1) * 8)
//! ```
//!
//! where `entry` is what the same loop takes with a single pass: what it costs to read the clock and to get in and out
//! of the loop is in both and cancels.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::calibration::{ADDS, chain, independent};
use super::clock::Clock;
use super::counters::Counters;
use super::plan::Group;
use super::wire::{GroupSamples, RoundSamples};
use crate::op::CpuModel;
use crate::op::model::{Installed, ModelError};
use crate::op::xen::LazyMode;
use crate::patch::{CodeError, CodeMemory, Function, FunctionError};
use crate::regime::{Loop, SITES};
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
    NoLoop(Group),
    /// No CPU model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// No memory for copies.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// A loop could not be copied.
    #[error(transparent)]
    Function(#[from] FunctionError),
}

/// Room for the copies of one group's loops.
const CODE_BYTES: usize = 256 << 10;

/// Measures groups in this process.
pub struct Sampler {
    ops: Vec<OpEntry>,
    clock: Clock,
    step: u64,
    memory: CodeMemory,
    cpu: Installed,
    rng: Pcg64Mcg,
    calibration: Window,
    quiet: Window,
    window_ticks: u64,
    counters: Option<Counters>,
}

/// A loop, ready to be timed.
#[derive(Clone, Copy)]
struct Window {
    run: Loop,
    args: [u64; 4],
    passes: u64,
    entry: f64,
    ops_per_pass: u64,
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
    ) -> Result<Self, SampleError> {
        let mut calibration = Window { run: chain, args: [0; 4], passes: 1, entry: 0.0, ops_per_pass: ADDS };
        // About 100 us of adds: enough to know the rate to a percent, and the windows have 3% to spare.
        calibration.entry = calibration.entry_ticks(clock);
        calibration.passes = 400_000 / ADDS;
        let ticks_per_cycle = calibration.ticks_per_op(clock);
        let window_ticks = (window_cycles as f64 * ticks_per_cycle * 1.03) as u64;
        calibration.passes = window_cycles * 103 / 100 / ADDS;
        let mut quiet = Window { run: independent, ..calibration };
        quiet.entry = quiet.entry_ticks(clock);
        // Up to four adds in a cycle; half a window tells enough.
        quiet.passes = window_cycles * 2 / ADDS;
        Ok(Sampler {
            ops,
            clock,
            step: clock.step(),
            memory: CodeMemory::new(chain as *const () as usize, CODE_BYTES)?,
            cpu: CpuModel::install()?,
            rng: Pcg64Mcg::seed_from_u64(seed),
            calibration,
            quiet,
            window_ticks,
            counters: if count { Counters::open().ok() } else { None },
        })
    }

    /// Measures one group with the named mechanisms in `rounds` rounds.
    ///
    /// # Errors
    /// Where the group or a mechanism does not exist, or its loops cannot be copied.
    pub fn group(&mut self, group: &Group, mechanisms: &[String], rounds: usize) -> Result<GroupSamples, SampleError> {
        let windows = self.prepare(group, mechanisms)?;
        let Some((inline, others)) = windows.split_first() else {
            return Err(SampleError::NoLoop(group.clone()));
        };
        let mut order: Vec<usize> = (0..others.len()).collect();
        let rounds = (0..rounds)
            .map(|_| {
                // Fisher and Yates.
                for i in (1..order.len()).rev() {
                    order.swap(i, self.rng.random_range(0..=i));
                }
                self.round(inline, others, &order)
            })
            .collect();
        let counters = match &mut self.counters {
            // The first two of the others are the A/A comparisons.
            Some(counters) => std::iter::once(inline)
                .chain(others.iter().skip(2))
                .map(|window| counters.per_op(|| window.call(), window.passes * window.ops_per_pass))
                .collect(),
            None => Vec::new(),
        };
        Ok(GroupSamples { rounds, counters, clock_step: self.step })
    }

    /// Binds, copies and sizes the loops of a group: `inline`, `inline` again, its copy, the mechanisms.
    fn prepare(&mut self, group: &Group, mechanisms: &[String]) -> Result<Vec<Window>, SampleError> {
        let entry = self
            .ops
            .iter()
            .find(|op| op.meta.name == group.op)
            .ok_or_else(|| SampleError::UnknownOp(group.op.clone()))?;
        let find = |name: &str| {
            entry
                .pairs
                .iter()
                .find(|pair| pair.mechanism.name == name)
                .ok_or_else(|| SampleError::UnknownMechanism(name.to_owned()))
        };
        let inline = find("inline")?;
        let pairs = mechanisms.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>()?;
        // A group that entered lazy mode leaves nothing batched to the next.
        self.cpu.xen.flush();
        self.cpu.xen.lazy = LazyMode::None;
        let args = (entry.arguments)(&mut self.cpu);
        self.memory.clear();
        let mut copy = |source: Option<Loop>| {
            let source = source.ok_or_else(|| SampleError::NoLoop(group.clone()))?;
            // SAFETY: the address of a function of this program.
            let function = unsafe { Function::with_loop(source as *const () as usize) }?;
            let start = function.copy_to(&mut self.memory, group.offset as usize)?;
            // SAFETY: the copy decodes to the same function, and everything it refers to is where it was.
            Ok::<Loop, SampleError>(unsafe { std::mem::transmute::<*const (), Loop>(start as *const ()) })
        };
        let first = copy(inline.loop_of(group.regime))?;
        let mut loops = vec![first, first, copy(inline.loop_of(group.regime))?];
        for pair in pairs {
            (pair.bind)(group.body);
            loops.push(copy(pair.loop_of(group.regime))?);
        }
        self.memory.serialise();
        Ok(loops.into_iter().map(|run| Window::sized(run, args, self.clock, self.window_ticks)).collect())
    }

    fn round(&self, inline: &Window, others: &[Window], order: &[usize]) -> RoundSamples {
        let time = |window: &Window| window.ticks_per_op(self.clock);
        let mut ticks = vec![0.0; others.len()];
        let mut calibration = time(&self.calibration);
        let mut contended = time(&self.quiet);
        let mut baseline = time(inline);
        for &i in order.iter().chain(order.iter().rev()) {
            ticks[i] += time(&others[i]) / 2.0;
        }
        baseline = (baseline + time(inline)) / 2.0;
        contended = contended.max(time(&self.quiet));
        let second = time(&self.calibration);
        // The shorter of the two: an interrupt in one must not pass for a wide core.
        let cycle = calibration.min(second);
        calibration = (calibration + second) / 2.0;
        let mechanisms = ticks.split_off(2.min(ticks.len()));
        RoundSamples {
            ticks_per_cycle: calibration,
            adds_per_cycle: cycle / contended,
            inline: baseline,
            again: ticks.first().copied().unwrap_or(baseline),
            copy: ticks.get(1).copied().unwrap_or(baseline),
            ticks: mechanisms,
        }
    }
}

impl Window {
    /// A window of at least `window_ticks`, found by doubling. That also warms caches and predictors up.
    fn sized(run: Loop, args: [u64; 4], clock: Clock, window_ticks: u64) -> Self {
        let mut window = Window { run, args, passes: 1, entry: 0.0, ops_per_pass: SITES };
        loop {
            let ticks = window.ticks(clock);
            if ticks >= window_ticks / 8 || window.passes >= 1 << 40 {
                let scaled = (window.passes as f64 * window_ticks as f64 / ticks.max(1) as f64).ceil();
                window.passes = (scaled as u64).max(2);
                break;
            }
            window.passes *= if ticks < window_ticks / 64 { 8 } else { 2 };
        }
        window.entry = window.entry_ticks(clock);
        window
    }

    /// What getting in and out costs beside the passes: the median of a few single-pass calls.
    fn entry_ticks(&self, clock: Clock) -> f64 {
        let single = Window { passes: 1, ..*self };
        let mut ticks = [(); 7].map(|()| single.ticks(clock));
        ticks.sort_unstable();
        ticks[3] as f64
    }

    #[inline(never)]
    fn ticks(&self, clock: Clock) -> u64 {
        let start = clock.start();
        self.call();
        clock.stop().saturating_sub(start)
    }

    fn call(&self) {
        // SAFETY: `args` was made for this thread's installed CPU model by the op whose loop this is; passes >= 1.
        std::hint::black_box(unsafe { (self.run)(&raw const self.args, self.passes) });
    }

    fn ticks_per_op(&self, clock: Clock) -> f64 {
        let ticks = self.ticks(clock) as f64;
        (ticks - self.entry) / ((self.passes - 1).max(1) * self.ops_per_pass) as f64
    }
}
