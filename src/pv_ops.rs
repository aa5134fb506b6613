//! The built-in suite: Linux's pv_ops. It is an ordinary user of this library, and everything that it is made from is
//! public.

use crate::dispatch;
use crate::op::{Op, OpVisitor, Ops, catalogue};
use crate::suite::{Choices, OpEntry, Suite, SuiteError, entries};
use crate::workload::{self, Workload, Workloads};

/// Builds the suite of the program `pvbench`: the ops of Linux's pv_ops, the workloads of the model kernel, and all
/// mechanisms.
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     pvbench::main(pvbench::pv_ops())
/// }
/// ```
///
/// None in practice: tests build the suite.
#[inline(never)]
pub fn pv_ops() -> Result<Suite, SuiteError> {
    let choices = Choices {
        quick_ops: Some(&QUICK_OPS),
        quick_workloads: Some(&QUICK_WORKLOADS),
        cold_ops: Some(&COLD_OPS),
        workload_mechanisms: Some(&WORKLOAD_MECHANISMS),
    };
    Suite::builder("pvbench").ops::<BuiltIn>().workloads::<BuiltInWorkloads>().choices(choices).build()
}

/// The ops of `--quick`. Each has another shape: nothing, a real instruction, a modelled one, identity, store, load, no
/// arguments to four, callee-save or not, cheap and expensive.
pub const QUICK_OPS: [&str; 12] = [
    "save_fl",
    "irq_disable",
    "irq_enable",
    "pte_val",
    "make_pte",
    "set_pte",
    "read_cr2",
    "write_cr3",
    "alloc_pte",
    "ptep_modify_prot_commit",
    "queued_spin_unlock",
    "sched_clock",
];

/// The ops that the default run measures cold: a load, a store, a call that returns a value, and one that becomes NOPs.
/// They are few because evicting caches and predictors takes longer than measuring.
pub const COLD_OPS: [&str; 4] = ["pte_val", "irq_disable", "set_pte", "alloc_pte"];

/// The workloads of `run --quick`.
const QUICK_WORKLOADS: [&str; 1] = ["mmap_perf"];

/// The mechanisms that the default run measures workloads with: those that decide the argument about
/// paravirt_ops.
pub const WORKLOAD_MECHANISMS: [&str; 6] = ["flag", "table", "site", "retpoline", "dyn", "direct"];

/// The ops that are compiled into the built-in suite: the whole catalogue, or the twelve of `--quick` without the
/// feature `catalogue`. It is also a list for a suite of your own: `.ops::<pvbench::BuiltIn>()`.
///
/// ```
/// use pvbench::op::{Op, Ops as _, OpVisitor};
///
/// struct Count(usize);
/// impl OpVisitor for Count {
///     fn visit<O: Op>(&mut self) {
///         self.0 += 1;
///     }
/// }
/// let mut count = Count(0);
/// pvbench::BuiltIn::visit(&mut count);
/// assert!(count.0 >= 12);
/// ```
pub struct BuiltIn;

impl Ops for BuiltIn {
    fn visit(visitor: &mut impl OpVisitor) {
        struct Chosen<'a, V>(&'a mut V);
        impl<V: OpVisitor> OpVisitor for Chosen<'_, V> {
            fn visit<O: Op>(&mut self) {
                if const { is_built_in::<O>() } {
                    self.0.visit::<O>();
                }
            }
        }
        catalogue::for_each(&mut Chosen(visitor));
    }
}

/// The ops of the built-in suite with the built-in mechanisms, in slot order.
#[must_use]
#[inline(never)]
pub fn op_entries() -> Vec<OpEntry> {
    entries::<BuiltIn, dispatch::All>()
}

/// The workloads of the built-in suite with the built-in mechanisms, in the order of the tables.
#[must_use]
#[inline(never)]
pub fn workload_entries() -> Vec<workload::WorkloadEntry> {
    workload::entries_of::<BuiltInWorkloads, dispatch::All>()
}

/// Unit tests call no op of the suite. Their build of this crate, a second one, lacks those of `catalogue` and
/// `workloads`: they would take most of its time.
const fn is_built_in<O: Op>() -> bool {
    cfg!(all(feature = "catalogue", not(test))) || is_among(&QUICK_OPS, O::META.name)
}

/// The workloads that are compiled into the built-in suite: all of them, or those of `--quick` without the feature
/// `workloads`. It is also a list for a suite of your own: `.workloads::<pvbench::BuiltInWorkloads>()`.
///
/// ```
/// use pvbench::workload::{Workload, WorkloadVisitor, Workloads as _};
///
/// struct Names(Vec<&'static str>);
/// impl WorkloadVisitor for Names {
///     fn visit<W: Workload>(&mut self) {
///         self.0.push(W::META.name);
///     }
/// }
/// let mut names = Names(Vec::new());
/// pvbench::BuiltInWorkloads::visit(&mut names);
/// assert!(names.0.contains(&"mmap_perf"));
/// ```
pub struct BuiltInWorkloads;

impl Workloads for BuiltInWorkloads {
    fn visit(visitor: &mut impl workload::WorkloadVisitor) {
        struct Chosen<'a, V>(&'a mut V);
        impl<V: workload::WorkloadVisitor> workload::WorkloadVisitor for Chosen<'_, V> {
            fn visit<W: Workload>(&mut self) {
                if const { is_built_in_workload::<W>() } {
                    self.0.visit::<W>();
                }
            }
        }
        workload::All::visit(&mut Chosen(visitor));
    }
}

const fn is_built_in_workload<W: Workload>() -> bool {
    cfg!(all(feature = "workloads", not(test))) || is_among(&QUICK_WORKLOADS, W::META.name)
}

const fn is_among(names: &[&str], name: &str) -> bool {
    let mut at = 0;
    while at < names.len() {
        if equal_bytes(names[at].as_bytes(), name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

/// `a == b` as a constant function; slices have none yet.
const fn equal_bytes(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    a.len() == b.len() && at == a.len()
}
