//! Macro benchmarks. A [`Workload`] runs on the [model kernel](crate::kernel) and makes the requests of processes to
//! it, as all built-in ones do, or it is code of your own that calls its ops.
//!
//! A workload is deterministic from its seed. Every mechanism, configuration and repetition does the same work on the
//! same frames in the same order, and must reach the same checksum. Only this work is timed. The reset of the machine
//! to its state after boot and the setup of processes are not.

mod build;
mod contended;
mod context;
mod environment;
mod fork;
mod lat_mmap;
mod list;
mod mmap_perf;
mod null;
mod page_fault;
mod page_life;
pub mod random;
mod registry;
mod run;
mod sequence;
mod spinlock;

use crate::dispatch::Dispatch;
use crate::kernel::{Config, KernelError};

pub use build::KernelBuild;
pub use contended::SpinlockContended;
pub use context::ContextSwitch;
pub use environment::{Environment, ModelKernel, NoKernel};
pub use fork::{Exec, ForkExit};
pub use lat_mmap::LatMmap;
pub(crate) use list::entries as entries_of;
pub use list::{All, WorkloadVisitor, Workloads};
pub use mmap_perf::MmapPerf;
pub use null::NullSyscall;
pub use page_fault::{PageFault, ProtFault};
pub use page_life::PageLife;
pub use random::Random;
pub use registry::{MechanismRun, OptionVariant, WorkloadEntry, count_hooks};
pub(crate) use run::PROBES;
pub use run::{Outcome, PARTS, Run, run};
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

/// What the units of `W` get: the running kernel, or `()`.
pub type Running<'m, W, D, C> = <<W as Workload>::On as Environment>::Running<'m, D, C>;

/// The error of the units of `W`: that of the kernel, or a [`Failure`].
pub type UnitError<W> = <<W as Workload>::On as Environment>::Error;

/// A macro benchmark, generic over the mechanism that reaches its ops.
///
/// It must be deterministic from its seed: with every mechanism and in every repetition it does the same work in the
/// same order and reaches the same checksum. The checksum is made of the values that [`unit`](Workload::unit) returns.
///
/// It says what it runs [on](Workload::On). On [`NoKernel`], the units are code of your own, and get `()`. An example
/// is a driver that sends a line:
///
/// ```
/// use pvbench::prelude::*;
///
/// pvbench::functions! {
///     /// Reads a register.
///     pub struct Read: "uart_read" = fn(register: u64 = 5) -> u64 { 0x60 | register };
///     /// Writes one.
///     pub struct Write: "uart_write" = fn(register: u64 = 0, byte: u64 = 0x55) {
///         std::hint::black_box((register, byte));
///     };
/// }
///
/// struct Line;
///
/// impl Workload for Line {
///     const META: WorkloadMeta = WorkloadMeta {
///         name: "uart_line",
///         unit: "line",
///         summary: "a line of 80 bytes, each sent once the chip is ready",
///         source: "the 16550 driver",
///     };
///     type On = NoKernel<(Read, Write)>;
///     type State = u64;
///
///     fn prepare<D: Dispatch, C: Config>((): &mut (), _: Random) -> Result<u64, Failure> {
///         Ok(0)
///     }
///
///     fn unit<D: Dispatch, C: Config>((): &mut (), sent: &mut u64) -> Result<u64, Failure> {
///         for byte in 0..80 {
///             // SAFETY: `call` needs valid arguments and bound ops: the ops are safe functions, bound before a unit.
///             unsafe {
///                 while D::call::<Read>((5,)) & 0x20 == 0 {}
///                 D::call::<Write>((0, byte));
///             }
///             *sent += 1;
///         }
///         Ok(*sent)
///     }
/// }
///
/// let suite = Suite::builder("uart").ops::<(Read, Write)>().workload::<Line>().build().unwrap();
/// assert_eq!(suite.workloads().len(), 1);
/// ```
///
/// On [`ModelKernel`], the units get a [`Kernel`](crate::kernel::Kernel), whose hooks are reached by `D` and whose
/// options are those of `C`:
///
/// ```
/// use pvbench::kernel::{Kernel, KernelError};
/// use pvbench::prelude::*;
/// use pvbench::workload::ModelKernel;
///
/// struct Parents;
///
/// impl Workload for Parents {
///     const META: WorkloadMeta =
///         WorkloadMeta { name: "parents", unit: "call", summary: "getppid", source: "lmbench, lat_syscall" };
///     type On = ModelKernel;
///     type State = ();
///
///     fn prepare<D: Dispatch, C: Config>(_: &mut Kernel<'_, D, C>, _: Random) -> Result<(), KernelError> {
///         Ok(())
///     }
///
///     fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, (): &mut ()) -> Result<u64, KernelError> {
///         Ok(kernel.getppid())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not a workload", label = "implement `Workload` for it")]
pub trait Workload: Sized + 'static {
    /// Name and description.
    const META: WorkloadMeta;

    /// Whether it is measured when the command names no workloads.
    const BY_DEFAULT: bool = true;

    /// Units after which the work repeats, for work that is done once in several units. A part of a run has a whole
    /// number of periods, because its mix of work would otherwise depend on its length.
    const PERIOD_UNITS: u64 = 1;

    /// Number of CPUs that it runs on at once, for a workload that starts threads. If it is greater than 1, no other
    /// worker uses a CPU meanwhile.
    const CPUS: usize = 1;

    /// Length of a run, in core cycles of `inline`. A workload that warms up quickly has shorter runs, at more
    /// placements in the same time.
    const RUN_CYCLES: u64 = RUN_CYCLES;

    /// Units of the probe that measures the start-up and tear-down of a timed part: this number is compared with twice
    /// as many. It matters for workloads with short runs and short units. At 0, the probe times an empty part.
    const OVERHEAD_PROBE_UNITS: u64 = 0;

    /// What it runs on.
    type On: Environment;

    /// The state that is kept between units.
    type State;

    /// The reason why it cannot run here; `None` if it can.
    #[must_use]
    fn unavailable() -> Option<String> {
        None
    }

    /// Makes the state before the first unit: processes, memory, .. Not timed.
    ///
    /// # Errors
    /// A failure ends the measurement of the workload; its text is the reason.
    fn prepare<D: Dispatch, C: Config>(
        on: &mut Running<'_, Self, D, C>,
        random: Random,
    ) -> Result<Self::State, UnitError<Self>>;

    /// Does one unit of work. Returns its contribution to the checksum.
    ///
    /// # Errors
    /// As for [`prepare`](Workload::prepare).
    fn unit<D: Dispatch, C: Config>(
        on: &mut Running<'_, Self, D, C>,
        state: &mut Self::State,
    ) -> Result<u64, UnitError<Self>>;
}

/// Length of a run, in core cycles of `inline`: a quarter of a millisecond at 3 GHz. The contents of caches and
/// predictors at the start shift a whole run by a percent, and so does other work of the machine. Many short runs
/// therefore tell more than few long ones. At half this length, the data of `mmap_perf` is still colder than in a
/// steady state.
pub const RUN_CYCLES: u64 = 750_000;
