//! Every workload on every kernel, as plain data.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use super::{
    ContextSwitch, Exec, ForkExit, KernelBuild, LatMmap, Meta, MmapPerf, NullSyscall, PageFault, PageLife, ProtFault,
    Run, Spinlock, SpinlockContended, Workload, run,
};
use crate::dispatch::{self, Dispatch, Inline, Mechanism, Platform};
use crate::kernel::options::{self, Optional};
use crate::kernel::{Copied, Machine, Plain, Trouble};
use crate::measure::clock::Clock;
use crate::op::Op;
use crate::suite;

/// How often the plain kernel is compiled again, to see what its place in memory does to it.
pub const COPIES: usize = 3;

/// Mechanisms that decide the argument over paravirt_ops: what the default run measures workloads with.
pub const DECISIVE: [&str; 6] = ["flag", "table", "site", "retpoline", "dyn", "direct"];

/// A workload with all kernels it runs on.
pub struct Entry {
    /// What is said of it.
    pub meta: Meta,
    /// Whether it is measured where nobody has named workloads.
    pub by_default: bool,
    /// Why it cannot run here; `None` where it can.
    pub unavailable: fn() -> Option<String>,
    /// With each mechanism, in the order of the tables, `inline` first.
    pub variants: Vec<Variant>,
    /// With `inline`, the same kernel compiled again and again.
    pub copies: [Run; COPIES],
    /// With `inline` and each kernel option.
    pub options: Vec<Yardstick>,
    counted: Run,
}

/// A workload on a kernel with an option.
#[derive(Clone, Copy)]
pub struct Yardstick {
    /// The option's name.
    pub name: &'static str,
    /// The workload.
    pub run: Run,
}

/// A workload with one mechanism.
#[derive(Clone, Copy)]
pub struct Variant {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// Why it cannot be had here.
    pub unavailable: fn() -> Option<String>,
    /// The workload.
    pub run: Run,
}

/// All workloads, in the order of the tables.
#[must_use]
pub fn entries() -> Vec<Entry> {
    vec![
        entry::<MmapPerf>(),
        entry::<LatMmap>(),
        entry::<PageFault>(),
        entry::<ProtFault>(),
        entry::<ForkExit>(),
        entry::<Exec>(),
        entry::<ContextSwitch>(),
        entry::<NullSyscall>(),
        entry::<Spinlock>(),
        entry::<SpinlockContended>(),
        entry::<PageLife>(),
        entry::<KernelBuild>(),
    ]
}

fn entry<W: Workload>() -> Entry {
    struct Variants<W>(Vec<Variant>, PhantomData<fn(W)>);
    impl<W: Workload> dispatch::Visitor for Variants<W> {
        fn visit<D: Dispatch>(&mut self) {
            if const { has_kernel::<D>() } {
                let (mechanism, unavailable) = (D::META, D::unavailable as fn() -> Option<String>);
                self.0.push(Variant { mechanism, unavailable, run: run::<W, D, Plain> });
            }
        }
    }
    let mut variants = Variants::<W>(Vec::new(), PhantomData);
    dispatch::for_each(&mut variants);
    struct Yardsticks<W>(Vec<Yardstick>, PhantomData<fn(W)>);
    impl<W: Workload> options::Visitor for Yardsticks<W> {
        fn visit<C: Optional>(&mut self) {
            self.0.push(Yardstick { name: C::META.name, run: run::<W, Inline, C> });
        }
    }
    let mut yardsticks = Yardsticks::<W>(Vec::new(), PhantomData);
    options::for_each(&mut yardsticks);
    Entry {
        meta: W::META,
        by_default: W::BY_DEFAULT,
        unavailable: W::unavailable,
        variants: variants.0,
        copies: [run::<W, Inline, Copied<1>>, run::<W, Inline, Copied<2>>, run::<W, Inline, Copied<3>>],
        options: yardsticks.0,
        counted: run::<W, Counted, Plain>,
    }
}

/// Whether a mechanism has kernels in this build: all have, but for builds without the feature `catalogue`, which have those
/// that decide the argument.
const fn has_kernel<D: Dispatch>() -> bool {
    if cfg!(feature = "catalogue") {
        return true;
    }
    let name = D::META.name;
    let mut at = 0;
    while at < DECISIVE.len() {
        if suite::same(DECISIVE[at].as_bytes(), name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    suite::same(b"inline", name.as_bytes())
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

    fn bind<O: Op>(_: Platform) {}
}

/// How often `units` of a workload, times the parts of a run and one before them, call each hook: what twice as many call
/// above that, so that setting up is not in it.
///
/// # Errors
/// What the kernel comes to.
pub fn count_hooks(
    entry: &Entry,
    machine: &mut Machine,
    seed: u64,
    units: u64,
) -> Result<BTreeMap<&'static str, u64>, Trouble> {
    let mut of = |units| -> Result<BTreeMap<&'static str, u64>, Trouble> {
        CALLS.with_borrow_mut(BTreeMap::clear);
        (entry.counted)(machine, seed, units, Clock::Tsc)?;
        Ok(CALLS.with_borrow_mut(std::mem::take))
    };
    let (once, twice) = (of(units)?, of(units * 2)?);
    let above = |(op, calls): (&'static str, u64)| (op, calls.saturating_sub(once.get(op).copied().unwrap_or(0)));
    Ok(twice.into_iter().map(above).filter(|(_, calls)| *calls > 0).collect())
}
