//! Every workload with every mechanism and kernel option, as plain data.

use std::any::TypeId;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use super::{Environment, Failure, Run, Workload, WorkloadMeta, run};
use crate::clock::Clock;
use crate::dispatch::{self, Dispatch, Inline, Mechanism, Mechanisms};
use crate::kernel::options::{OptionVisitor, Optional};
use crate::kernel::{Machine, Plain};
use crate::op::{BodyKind, Op};

/// A workload with all kernels that it runs on.
#[derive(Clone)]
pub struct WorkloadEntry {
    /// Its name and description.
    pub meta: WorkloadMeta,
    /// Whether it is measured when the command names no workloads.
    pub(crate) by_default: bool,
    /// The reason why it cannot run here; `None` if it can.
    pub unavailable: fn() -> Option<String>,
    /// The name of its Rust type.
    pub(crate) type_name: &'static str,
    /// The types and names of the ops that a suite must have. Empty on the model kernel, which calls those of the
    /// catalogue.
    pub(crate) ops: Vec<(TypeId, &'static str)>,
    /// The workload with each mechanism, in the order of the tables, `inline` first.
    pub variants: Vec<MechanismRun>,
    /// The workload with `inline` and each kernel option.
    pub options: Vec<OptionVariant>,
    /// Units after which the work repeats.
    pub(crate) period: u64,
    /// Number of CPUs that it runs on at once.
    pub(crate) cpus: usize,
    /// Length of a run, in core cycles of `inline`.
    pub(crate) run_cycles: u64,
    counted: Run,
}

/// A workload on a kernel with one option.
#[derive(Clone, Copy)]
pub struct OptionVariant {
    /// The name of the option.
    pub name: &'static str,
    /// The function that runs the workload.
    pub run: Run,
}

/// A workload with one mechanism.
#[derive(Clone, Copy)]
pub struct MechanismRun {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The reason why it is unavailable here; `None` if it is available.
    pub unavailable: fn() -> Option<String>,
    /// See [`Dispatch::data`].
    pub data: Option<(usize, usize)>,
    /// The function that binds the workload's ops.
    pub bind: fn(BodyKind),
    /// The function that runs the workload.
    pub run: Run,
}

impl WorkloadEntry {
    /// A workload with each mechanism of a list, and with each kernel option of what it runs on.
    #[must_use]
    pub fn new<W: Workload, M: Mechanisms>() -> Self {
        struct MechanismRuns<W>(Vec<MechanismRun>, PhantomData<fn(W)>);
        impl<W: Workload> dispatch::MechanismVisitor for MechanismRuns<W> {
            fn visit<D: Dispatch>(&mut self) {
                self.0.push(MechanismRun {
                    mechanism: D::META,
                    unavailable: W::On::unavailable::<D>,
                    data: D::data(),
                    bind: W::On::binder::<D>(),
                    run: run::<W, D, Plain>,
                });
            }
        }
        struct OptionVariants<W>(Vec<OptionVariant>, PhantomData<fn(W)>);
        impl<W: Workload> OptionVisitor for OptionVariants<W> {
            fn visit<C: Optional>(&mut self) {
                self.0.push(OptionVariant { name: C::META.name, run: run::<W, Inline, C> });
            }
        }
        let mut variants = MechanismRuns::<W>(Vec::new(), PhantomData);
        M::visit(&mut variants);
        let mut options = OptionVariants::<W>(Vec::new(), PhantomData);
        W::On::visit_options(&mut options);
        WorkloadEntry {
            meta: W::META,
            type_name: std::any::type_name::<W>(),
            ops: W::On::ops(),
            by_default: W::BY_DEFAULT,
            unavailable: W::unavailable,
            variants: variants.0,
            options: options.0,
            period: W::PERIOD_UNITS,
            cpus: W::CPUS,
            run_cycles: W::RUN_CYCLES,
            counted: run::<W, CountedInline, Plain>,
        }
    }
}

thread_local! {
    static CALLS: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// The mechanism `inline`, with a count of calls per op.
struct CountedInline;

impl Dispatch for CountedInline {
    const META: Mechanism = Mechanism { name: "counted", ..Mechanism::BASE };

    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        CALLS.with_borrow_mut(|calls| *calls.entry(O::META.name).or_default() += 1);
        // SAFETY: `O::inline` has the contract of this function, which the caller meets.
        unsafe { O::inline(args) }
    }

    fn bind<O: Op>(_: BodyKind) {}
}

/// Counts the calls of each hook in a run of `units`: in the parts of the run and the equal stretch before them. The
/// counts of a run with twice as many units minus those of this run leave out the setup.
///
/// # Errors
/// Returns the error of the workload.
pub fn count_hooks(
    entry: &WorkloadEntry,
    machine: &mut Machine,
    seed: u64,
    units: u64,
) -> Result<BTreeMap<&'static str, u64>, Failure> {
    let mut count = |units| -> Result<BTreeMap<&'static str, u64>, Failure> {
        CALLS.with_borrow_mut(BTreeMap::clear);
        (entry.counted)(machine, seed, units, Clock::Tsc)?;
        Ok(CALLS.with_borrow_mut(std::mem::take))
    };
    let (once, twice) = (count(units)?, count(units * 2)?);
    let above = |(op, calls): (&'static str, u64)| (op, calls.saturating_sub(once.get(op).copied().unwrap_or(0)));
    Ok(twice.into_iter().map(above).filter(|(_, calls)| *calls > 0).collect())
}
