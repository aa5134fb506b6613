//! Every workload on every kernel, as plain data.

use std::any::TypeId;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use super::{Failure, KernelWorkload, RUN_CYCLES, Run, Workload, WorkloadMeta, own, run};
use crate::clock::Clock;
use crate::dispatch::{self, Dispatch, Inline, Mechanism, Mechanisms};
use crate::kernel::options::{self, Optional};
use crate::kernel::{Machine, Plain, bind_hooks};
use crate::op::{BodyKind, Op};

/// A workload with all kernels it runs on.
#[derive(Clone)]
pub struct WorkloadEntry {
    /// What is said of it.
    pub meta: WorkloadMeta,
    /// Whether it is measured where nobody has named workloads.
    pub by_default: bool,
    /// Why it cannot run here; `None` where it can.
    pub unavailable: fn() -> Option<String>,
    /// The type.
    pub type_name: &'static str,
    /// The ops it calls, where it is a user's own: their types and names. The model kernel's are the catalogue's.
    pub ops: Vec<(TypeId, &'static str)>,
    /// With each mechanism, in the order of the tables, `inline` first.
    pub variants: Vec<MechanismRun>,
    /// With `inline` and each kernel option.
    pub options: Vec<OptionVariant>,
    /// After how many units it starts over.
    pub period: u64,
    /// On how many CPUs it runs at once.
    pub cpus: usize,
    /// So many cycles of `inline` fill a run.
    pub run_cycles: u64,
    counted: Run,
}

/// A workload on a kernel with an option.
#[derive(Clone, Copy)]
pub struct OptionVariant {
    /// The option's name.
    pub name: &'static str,
    /// The workload.
    pub run: Run,
}

/// A workload with one mechanism.
#[derive(Clone, Copy)]
pub struct MechanismRun {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// Why it cannot be had here.
    pub unavailable: fn() -> Option<String>,
    /// See [`Dispatch::data`].
    pub data: Option<(usize, usize)>,
    /// What the workload binds its ops with.
    pub bind: fn(BodyKind),
    /// The workload.
    pub run: Run,
}

impl WorkloadEntry {
    /// A workload on the model kernel.
    #[must_use]
    pub fn on_kernel<W: KernelWorkload, M: Mechanisms>() -> Self {
        struct MechanismRuns<W>(Vec<MechanismRun>, PhantomData<fn(W)>);
        impl<W: KernelWorkload> dispatch::MechanismVisitor for MechanismRuns<W> {
            fn visit<D: Dispatch>(&mut self) {
                let (mechanism, unavailable) = (D::META, D::unavailable as fn() -> Option<String>);
                let bind = bind_hooks::<D>;
                self.0.push(MechanismRun { mechanism, unavailable, data: D::data(), bind, run: run::<W, D, Plain> });
            }
        }
        let mut variants = MechanismRuns::<W>(Vec::new(), PhantomData);
        M::visit(&mut variants);
        struct Yardsticks<W>(Vec<OptionVariant>, PhantomData<fn(W)>);
        impl<W: KernelWorkload> options::OptionVisitor for Yardsticks<W> {
            fn visit<C: Optional>(&mut self) {
                self.0.push(OptionVariant { name: C::META.name, run: run::<W, Inline, C> });
            }
        }
        let mut yardsticks = Yardsticks::<W>(Vec::new(), PhantomData);
        options::for_each(&mut yardsticks);
        WorkloadEntry {
            meta: W::META,
            type_name: std::any::type_name::<W>(),
            ops: Vec::new(),
            by_default: W::BY_DEFAULT,
            unavailable: W::unavailable,
            variants: variants.0,
            options: yardsticks.0,
            period: W::PERIOD_UNITS,
            cpus: W::CPUS,
            run_cycles: W::RUN_CYCLES,
            counted: run::<W, Counted, Plain>,
        }
    }

    /// A workload of a user's own.
    #[must_use]
    pub fn own<W: Workload, M: Mechanisms>() -> Self {
        struct MechanismRuns<W>(Vec<MechanismRun>, PhantomData<fn(W)>);
        impl<W: Workload> dispatch::MechanismVisitor for MechanismRuns<W> {
            fn visit<D: Dispatch>(&mut self) {
                self.0.push(MechanismRun {
                    mechanism: D::META,
                    unavailable: own::unavailable::<W, D>,
                    data: D::data(),
                    bind: own::bind::<W, D>,
                    run: own::run::<W, D>,
                });
            }
        }
        let mut variants = MechanismRuns::<W>(Vec::new(), PhantomData);
        M::visit(&mut variants);
        WorkloadEntry {
            meta: W::META,
            type_name: std::any::type_name::<W>(),
            ops: own::ops::<W>(),
            by_default: true,
            unavailable: || None,
            variants: variants.0,
            options: Vec::new(),
            period: W::PERIOD_UNITS,
            cpus: W::CPUS,
            run_cycles: RUN_CYCLES,
            counted: own::run::<W, Counted>,
        }
    }
}

thread_local! {
    static CALLS: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// `inline`, with every call counted by op.
struct Counted;

impl Dispatch for Counted {
    const META: Mechanism = Mechanism { name: "counted", ..Mechanism::BASE };

    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        CALLS.with_borrow_mut(|calls| *calls.entry(O::META.name).or_default() += 1);
        // SAFETY: the caller's contract is that of the body.
        unsafe { O::inline(args) }
    }

    fn bind<O: Op>(_: BodyKind) {}
}

/// How often `units` of a workload, times the parts of a run and one before them, call each hook: what twice as many
/// call above that, so that setting up is not in it.
///
/// # Errors
/// What the kernel comes to.
pub fn count_hooks(
    entry: &WorkloadEntry,
    machine: &mut Machine,
    seed: u64,
    units: u64,
) -> Result<BTreeMap<&'static str, u64>, Failure> {
    let mut of = |units| -> Result<BTreeMap<&'static str, u64>, Failure> {
        CALLS.with_borrow_mut(BTreeMap::clear);
        (entry.counted)(machine, seed, units, Clock::Tsc)?;
        Ok(CALLS.with_borrow_mut(std::mem::take))
    };
    let (once, twice) = (of(units)?, of(units * 2)?);
    let above = |(op, calls): (&'static str, u64)| (op, calls.saturating_sub(once.get(op).copied().unwrap_or(0)));
    Ok(twice.into_iter().map(above).filter(|(_, calls)| *calls > 0).collect())
}
