//! Macro benchmarks: a [`Workload`] of your own, or what processes ask of a kernel, on the
//! [model kernel](crate::kernel): a [`KernelWorkload`], as all built-in ones are.
//!
//! A workload is deterministic from its seed: every mechanism, every configuration and every repetition does the same
//! work on the same frames in the same order, and must come to the same checksum. What is timed is the work alone; the
//! machine is put back to what it was after boot, and processes are set up, outside of it.

mod build;
mod contended;
mod context;
mod fork;
mod lat_mmap;
mod list;
mod mmap_perf;
mod null;
mod own;
mod page_fault;
mod page_life;
pub mod random;
mod registry;
mod sequence;
mod spinlock;

use crate::clock::Clock;
use crate::dispatch::Dispatch;
use crate::kernel::{Config, Kernel, KernelError, Machine};

pub use build::KernelBuild;
pub use contended::SpinlockContended;
pub use context::ContextSwitch;
pub use fork::{Exec, ForkExit};
pub use lat_mmap::LatMmap;
pub use list::{All, Measured, OnKernel, WorkloadVisitor, Workloads, entries as entries_of};
pub use mmap_perf::MmapPerf;
pub use null::NullSyscall;
pub use own::Workload;
pub use page_fault::{PageFault, ProtFault};
pub use page_life::PageLife;
pub use random::Random;
pub use registry::{MechanismRun, OptionVariant, WorkloadEntry, count_hooks};
pub use spinlock::Spinlock;

/// What is said of a workload.
///
/// ```
/// use pvbench::workload::WorkloadMeta;
///
/// const LINE: WorkloadMeta = WorkloadMeta {
///     name: "uart_line",
///     unit: "line",
///     summary: "a line of 80 bytes, each sent once the chip is ready",
///     source: "the 16550 driver",
/// };
/// ```
#[derive(Clone, Copy, Debug)]
pub struct WorkloadMeta {
    /// Its name in commands and reports.
    pub name: &'static str,
    /// What one unit of its work is.
    pub unit: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// What it is modelled on.
    pub source: &'static str,
}

/// Why a workload came to no end. One of your own says it in its words:
///
/// ```
/// use pvbench::workload::Failure;
///
/// let failure = Failure::Own("the line was busy for a second".to_owned());
/// assert_eq!(failure.to_string(), "the line was busy for a second");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What the model kernel said.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// What the workload said.
    #[error("{0}")]
    Own(String),
}

/// A macro benchmark on the model kernel.
pub trait KernelWorkload: 'static {
    /// Name and description.
    const META: WorkloadMeta;

    /// Whether it is measured where nobody has named workloads.
    const BY_DEFAULT: bool = true;

    /// After how many units it starts over: a part of a run has a whole number of such rounds, or it would depend on
    /// its length what is in it.
    const PERIOD_UNITS: u64 = 1;

    /// On how many CPUs it runs at once. Where that is more than one, no other worker has one meanwhile.
    const CPUS: usize = 1;

    /// So many cycles of `inline` fill a run. Shorter runs at more places say more of a workload that is soon as warm
    /// as it gets.
    const RUN_CYCLES: u64 = RUN_CYCLES;

    /// What beginning and ending a part takes is told by so many units and twice as many: where runs are short, so that
    /// it matters, and units, too. Where there are none, it is what timing nothing takes.
    const OVERHEAD_PROBE_UNITS: u64 = 0;

    /// What is kept between units.
    type State;

    /// Why it cannot run here; `None` where it can.
    fn unavailable() -> Option<String> {
        None
    }

    /// Processes and memory as they are before the first unit. Not timed.
    ///
    /// # Errors
    /// What the kernel comes to.
    fn prepare<D: Dispatch, C: Config>(
        kernel: &mut Kernel<'_, D, C>,
        random: Random,
    ) -> Result<Self::State, KernelError>;

    /// One unit. Returns what goes into the checksum.
    ///
    /// # Errors
    /// What the kernel comes to.
    fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, state: &mut Self::State)
    -> Result<u64, KernelError>;
}

/// `inline` takes so many cycles in a run: a quarter of a millisecond at 3 GHz. What caches and predictors hold when a
/// run begins moves all of it by a percent, and so does what a machine does meanwhile: many short runs say more than
/// few long ones. In runs of half the length data that `mmap_perf` keeps is colder than it stays.
pub const RUN_CYCLES: u64 = 750_000;

/// A run is timed in so many parts. An interrupt falls into one of them, and the others show what it did.
pub const PARTS: usize = 4;

/// A run of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What its units took, in parts of equal length one after another.
    pub ticks: [u64; PARTS],
    /// Of all that the units returned and of the machine's state at the end.
    pub checksum: u64,
}

/// A workload with one mechanism, or on one kernel: machine, seed, units, clock.
pub type Run = fn(&mut Machine, u64, u64, Clock) -> Result<Outcome, Failure>;

/// Runs [`PARTS`] times `units` of `W` on a machine that is as after boot.
///
/// # Errors
/// What the kernel comes to.
pub fn run<W: KernelWorkload, D: Dispatch, C: Config>(
    machine: &mut Machine,
    seed: u64,
    units: u64,
    clock: Clock,
) -> Result<Outcome, Failure> {
    machine.reset();
    let mut kernel = Kernel::<D, C>::new(machine);
    kernel.start()?;
    let mut state = W::prepare(&mut kernel, Random::new(seed))?;
    // What the first units meet: a free list per CPU, a slab of each kind, predictors and caches that know the code.
    let first = units_of::<W, D, C>(&mut kernel, &mut state, units)?;
    let (ticks, sum) = timed(clock, first, [W::OVERHEAD_PROBE_UNITS, units], |units| {
        units_of::<W, D, C>(&mut kernel, &mut state, units)
    })?;
    Ok(Outcome { ticks, checksum: mixed(sum, kernel.machine().pages_in_use() as u64) })
}

/// Times the parts of a run, each of so many `units`: what each took without what it takes to begin and to end, and the
/// checksum of all that they returned after `first`.
///
/// That is the clock, the call, filling a pipeline and leaving a loop: a hundred cycles and more, which would make less
/// of what an indirection costs. It is what `telling` units take more than half of twice as many.
fn timed<E>(
    clock: Clock,
    first: u64,
    [telling, units]: [u64; 2],
    mut work: impl FnMut(u64) -> Result<u64, E>,
) -> Result<([u64; PARTS], u64), E> {
    let mut sum = first;
    let mut time = |units| {
        let start = clock.start();
        let done = work(units);
        let took = clock.stop().saturating_sub(start);
        sum = mixed(sum, done?);
        Ok(took)
    };
    let (mut once, mut twice) = (u64::MAX, u64::MAX);
    for _ in 0..PARTS {
        once = once.min(time(telling)?);
        twice = twice.min(time(2 * telling)?);
    }
    // Less than nothing, where the first units are cheaper than later ones.
    let edges = (2 * once).cast_signed() - twice.cast_signed();
    let mut ticks = [0; PARTS];
    for part in &mut ticks {
        *part = time(units)?.saturating_add_signed(-edges);
    }
    Ok((ticks, sum))
}

#[inline(never)]
fn units_of<W: KernelWorkload, D: Dispatch, C: Config>(
    kernel: &mut Kernel<'_, D, C>,
    state: &mut W::State,
    units: u64,
) -> Result<u64, KernelError> {
    // Not 0: a workload may return nothing but zeroes, and their number counts.
    let mut sum = 1;
    for _ in 0..units {
        sum = mixed(sum, W::unit(kernel, state)?);
    }
    Ok(sum)
}

/// A step of the checksum: Knuth's multiplier (The Art of Computer Programming 3, 6.4), and what came before turned by
/// 5.
#[inline(always)]
fn mixed(sum: u64, value: u64) -> u64 {
    (sum.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
