//! Workloads of a user's own: any code that calls its ops through a mechanism.

use std::any::TypeId;
use std::marker::PhantomData;

use super::{Failure, Outcome, Random, WorkloadMeta, mix, time_parts};
use crate::clock::Clock;
use crate::dispatch::{self, Dispatch};
use crate::kernel::Machine;
use crate::op::{BodyKind, Op, OpVisitor, Ops};

/// A macro benchmark: work of your own, generic over the mechanism that reaches its ops.
///
/// It must be deterministic from its seed: with every mechanism and in every repetition it does the same work in the
/// same order and reaches the same checksum. The checksum is made of the values that [`unit`](Workload::unit) returns.
/// An example is a driver that sends a line:
///
/// ```
/// use pvbench::Suite;
/// use pvbench::dispatch::Dispatch;
/// use pvbench::workload::{Failure, WorkloadMeta, Random, Workload};
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
///     type Ops = (Read, Write);
///     type State = u64;
///
///     fn prepare<D: Dispatch>(_: Random) -> Result<u64, Failure> {
///         Ok(0)
///     }
///
///     fn unit<D: Dispatch>(sent: &mut u64) -> Result<u64, Failure> {
///         for byte in 0..80 {
///             // SAFETY: the ops are safe functions, and are bound before a unit runs.
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a workload",
    label = "implement `Workload` for it, or wrap a `KernelWorkload` in `OnKernel<..>`"
)]
pub trait Workload: 'static {
    /// Name and description.
    const META: WorkloadMeta;

    /// The ops that it calls; all must be in the suite. They are bound to their native bodies before each run.
    type Ops: Ops;

    /// Units after which the work repeats, for work that is done once in several units. A part of a run has a whole
    /// number of periods, because its mix of work would otherwise depend on its length.
    const PERIOD_UNITS: u64 = 1;

    /// Number of CPUs that it runs on at once, for a workload that starts threads. If it is greater than 1, no other
    /// worker uses a CPU meanwhile.
    const CPUS: usize = 1;

    /// The state that is kept between units.
    type State;

    /// Makes the state before the first unit. Not timed.
    ///
    /// # Errors
    /// A failure ends the measurement of the workload; its text is the reason.
    fn prepare<D: Dispatch>(random: Random) -> Result<Self::State, Failure>;

    /// Does one unit of work. Returns its contribution to the checksum.
    ///
    /// # Errors
    /// As for [`prepare`](Workload::prepare).
    fn unit<D: Dispatch>(state: &mut Self::State) -> Result<u64, Failure>;
}

/// Runs `units` of `W` [`PARTS`](super::PARTS) times, after as many units that are not timed.
pub(super) fn run<W: Workload, D: Dispatch>(
    machine: &mut Machine,
    seed: u64,
    units: u64,
    clock: Clock,
) -> Result<Outcome, Failure> {
    // Ops of the catalogue expect the CPU model in its state after boot.
    machine.reset();
    bind::<W, D>(BodyKind::Native);
    let mut state = W::prepare::<D>(Random::new(seed))?;
    let first = run_units::<W, D>(&mut state, units)?;
    let (ticks, checksum) = time_parts(clock, first, [0, units], |units| run_units::<W, D>(&mut state, units))?;
    Ok(Outcome { ticks, checksum })
}

/// Binds a workload's ops.
#[inline(never)]
pub(super) fn bind<W: Workload, D: Dispatch>(platform: BodyKind) {
    struct Bind<D>(BodyKind, PhantomData<fn(D)>);
    impl<D: Dispatch> OpVisitor for Bind<D> {
        fn visit<O: Op>(&mut self) {
            D::bind::<O>(self.0);
        }
    }
    W::Ops::visit(&mut Bind::<D>(platform, PhantomData));
}

#[inline(never)]
fn run_units<W: Workload, D: Dispatch>(state: &mut W::State, units: u64) -> Result<u64, Failure> {
    // The sum does not start at 0, because a workload may return only zeroes, and their number counts.
    let mut sum = 1;
    for _ in 0..units {
        sum = mix(sum, W::unit::<D>(state)?);
    }
    Ok(sum)
}

/// The reason why a mechanism is unavailable for a workload: the first one of an op that it calls.
pub(super) fn unavailable<W: Workload, D: Dispatch>() -> Option<String> {
    struct First<D>(Option<String>, PhantomData<fn(D)>);
    impl<D: Dispatch> OpVisitor for First<D> {
        fn visit<O: Op>(&mut self) {
            self.0 = self.0.take().or_else(dispatch::unavailable::<D, O>);
        }
    }
    let mut first = First::<D>(D::unavailable(), PhantomData);
    W::Ops::visit(&mut first);
    first.0
}

/// The types and names of a workload's ops.
pub(super) fn ops<W: Workload>() -> Vec<(TypeId, &'static str)> {
    struct Types(Vec<(TypeId, &'static str)>);
    impl OpVisitor for Types {
        fn visit<O: Op>(&mut self) {
            self.0.push((TypeId::of::<O>(), O::META.name));
        }
    }
    let mut types = Types(Vec::new());
    W::Ops::visit(&mut types);
    types.0
}
