//! Macro benchmarks. A [`KernelWorkload`] makes the requests of processes to the [model kernel](crate::kernel); all
//! built-in workloads are of this kind. A [`Workload`] is one of your own.
//!
//! A workload is deterministic from its seed. Every mechanism, configuration and repetition does the same work on the
//! same frames in the same order, and must reach the same checksum. Only this work is timed. The reset of the machine
//! to its state after boot and the setup of processes are not.

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

/// The name and description of a workload.
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
    /// The name of one unit of its work.
    pub unit: &'static str,
    /// The work, in one line.
    pub summary: &'static str,
    /// The benchmark or text that it is modelled on.
    pub source: &'static str,
}

/// The reason why a workload failed. A workload of your own gives it as text:
///
/// ```
/// use pvbench::workload::Failure;
///
/// let failure = Failure::Own("the line was busy for a second".to_owned());
/// assert_eq!(failure.to_string(), "the line was busy for a second");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// An error of the model kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// An error of the workload itself.
    #[error("{0}")]
    Own(String),
}

/// A macro benchmark on the model kernel.
pub trait KernelWorkload: 'static {
    /// Name and description.
    const META: WorkloadMeta;

    /// Whether it is measured when the command names no workloads.
    const BY_DEFAULT: bool = true;

    /// Units after which the work repeats. A part of a run has a whole number of periods, because its mix of work would
    /// otherwise depend on its length.
    const PERIOD_UNITS: u64 = 1;

    /// Number of CPUs that it runs on at once. If it is greater than 1, no other worker uses a CPU meanwhile.
    const CPUS: usize = 1;

    /// Length of a run, in core cycles of `inline`. A workload that warms up quickly has shorter runs, at more
    /// placements in the same time.
    const RUN_CYCLES: u64 = RUN_CYCLES;

    /// Units of the probe that measures the start-up and tear-down of a timed part: this number is compared with twice
    /// as many. It matters for workloads with short runs and short units. At 0, the probe times an empty part.
    const OVERHEAD_PROBE_UNITS: u64 = 0;

    /// The state that is kept between units.
    type State;

    /// The reason why it cannot run here; `None` if it can.
    fn unavailable() -> Option<String> {
        None
    }

    /// Sets up processes and memory before the first unit. Not timed.
    ///
    /// # Errors
    /// Returns the error of the kernel.
    fn prepare<D: Dispatch, C: Config>(
        kernel: &mut Kernel<'_, D, C>,
        random: Random,
    ) -> Result<Self::State, KernelError>;

    /// Does one unit of work. Returns its contribution to the checksum.
    ///
    /// # Errors
    /// Returns the error of the kernel.
    fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, state: &mut Self::State)
    -> Result<u64, KernelError>;
}

/// Length of a run, in core cycles of `inline`: a quarter of a millisecond at 3 GHz. The contents of caches and
/// predictors at the start shift a whole run by a percent, and so does other work of the machine. Many short runs
/// therefore tell more than few long ones. At half this length, the data of `mmap_perf` is still colder than in a
/// steady state.
pub const RUN_CYCLES: u64 = 750_000;

/// Number of parts that a run is timed in. An interrupt falls into one part, and the others show its effect.
pub const PARTS: usize = 4;

/// The result of a run of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Ticks of the units, by part; all parts have the same number of units.
    pub ticks: [u64; PARTS],
    /// Checksum of the values that units returned and of the machine's final state.
    pub checksum: u64,
}

/// A workload with one mechanism or kernel option, as a function of machine, seed, units and clock.
pub type Run = fn(&mut Machine, u64, u64, Clock) -> Result<Outcome, Failure>;

/// Runs `units` of `W` [`PARTS`] times on a machine in its state after boot.
///
/// # Errors
/// Returns the error of the kernel.
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
    // The first units are not timed. They fill the CPU's free list, the slabs, predictors and caches.
    let first = run_units::<W, D, C>(&mut kernel, &mut state, units)?;
    let (ticks, sum) = time_parts(clock, first, [W::OVERHEAD_PROBE_UNITS, units], |units| {
        run_units::<W, D, C>(&mut kernel, &mut state, units)
    })?;
    Ok(Outcome { ticks, checksum: mix(sum, kernel.machine().pages_in_use() as u64) })
}

/// Times the parts of a run, each of `units`. Returns the ticks of each part without start-up and tear-down, and the
/// checksum of all returned values, which continues `first`.
///
/// Start-up and tear-down are the clock, the call, filling the pipeline and leaving the loop. They take a hundred
/// cycles and more, which would make the cost of an indirection look smaller. They are twice the time of `probe_units`
/// minus the time of twice as many units.
fn time_parts<E>(
    clock: Clock,
    first: u64,
    [probe_units, units]: [u64; 2],
    mut work: impl FnMut(u64) -> Result<u64, E>,
) -> Result<([u64; PARTS], u64), E> {
    let mut sum = first;
    let mut time = |units| {
        let start = clock.start();
        let done = work(units);
        let took = clock.stop().saturating_sub(start);
        sum = mix(sum, done?);
        Ok(took)
    };
    let (mut once, mut twice) = (u64::MAX, u64::MAX);
    for _ in 0..PARTS {
        once = once.min(time(probe_units)?);
        twice = twice.min(time(2 * probe_units)?);
    }
    // Negative if the first units are cheaper than later ones.
    let edges = (2 * once).cast_signed() - twice.cast_signed();
    let mut ticks = [0; PARTS];
    for part in &mut ticks {
        *part = time(units)?.saturating_add_signed(-edges);
    }
    Ok((ticks, sum))
}

#[inline(never)]
fn run_units<W: KernelWorkload, D: Dispatch, C: Config>(
    kernel: &mut Kernel<'_, D, C>,
    state: &mut W::State,
    units: u64,
) -> Result<u64, KernelError> {
    // The sum does not start at 0, because a workload may return only zeroes, and their number counts.
    let mut sum = 1;
    for _ in 0..units {
        sum = mix(sum, W::unit(kernel, state)?);
    }
    Ok(sum)
}

/// Adds a value to the checksum: rotates the sum by 5, adds the value by xor, and multiplies by Knuth's constant (The
/// Art of Computer Programming 3, 6.4).
#[inline(always)]
fn mix(sum: u64, value: u64) -> u64 {
    (sum.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
