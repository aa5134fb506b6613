//! The built-in suite: Linux's pv_ops. It is one user of this library among others: what it is made from is public.

use crate::measure::plan::{COLD_OPS, QUICK_OPS};
use crate::op::{Op, Ops, Visitor, catalogue};
use crate::suite::{Choices, Suite, SuiteError};
use crate::workload;

/// The ops of Linux's pv_ops, the workloads of the model kernel, and all mechanisms. This is what the program `pvbench`
/// starts:
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     pvbench::main(pvbench::pv_ops())
/// }
/// ```
///
/// # Errors
/// None: the suite is tested.
#[cfg_attr(not(feature = "instantiated"), inline)]
pub fn pv_ops() -> Result<Suite, SuiteError> {
    let choices = Choices {
        quick_ops: Some(&QUICK_OPS),
        quick_workloads: Some(&["mmap_perf"]),
        cold_ops: Some(&COLD_OPS),
        workload_mechanisms: Some(&DECISIVE),
    };
    Suite::builder("pvbench").ops::<BuiltIn>().workloads::<workload::All>().choices(choices).build()
}

/// Kernels that decide the argument: what the default run measures workloads on.
const DECISIVE: [&str; 6] = ["flag", "table", "site", "retpoline", "dyn", "direct"];

/// The ops that are compiled into the built-in suite: all of the catalogue, but for builds without the feature
/// `catalogue`.
pub struct BuiltIn;

impl Ops for BuiltIn {
    fn visit(visitor: &mut impl Visitor) {
        struct Chosen<'a, V>(&'a mut V);
        impl<V: Visitor> Visitor for Chosen<'_, V> {
            fn visit<O: Op>(&mut self) {
                if const { is_built_in::<O>() } {
                    self.0.visit::<O>();
                }
            }
        }
        catalogue::for_each(&mut Chosen(visitor));
    }
}

const fn is_built_in<O: Op>() -> bool {
    if cfg!(feature = "catalogue") {
        return true;
    }
    let mut at = 0;
    while at < QUICK_OPS.len() {
        if same(QUICK_OPS[at].as_bytes(), O::META.name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

/// `a == b`, which is no constant function yet.
const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    a.len() == b.len() && at == a.len()
}
