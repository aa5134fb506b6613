//! A suite: ops, mechanisms and workloads, given as types, checked, and turned into plain data.
//!
//! ```text
//! Suite::builder("uart")            types: a list of ops, of mechanisms, of workloads
//!     .op::<Read>() ..
//!     .build()?                     data: every (op, mechanism) and (workload, mechanism) pair as function pointers
//! pvbench::main(suite)              the command line
//! ```
//!
//! The [built-in suite](fn@crate::pv_ops) is made in the same way, from the same public parts.

mod builder;
mod entry;
mod error;
mod optimised;
mod trapping;

pub use builder::{Also, Builder};
pub use entry::{OpEntry, Pair};
pub use error::SuiteError;
pub use optimised::{Code, optimisation};

use crate::dispatch::{self, All, Dispatch, Mechanism, Mechanisms};
use crate::op::{Op, OpVisitor, Ops};
use crate::workload;

/// Everything that can be measured, as data. [`Suite::builder`] makes it, and [`main`](fn@crate::main) runs it.
///
/// ```
/// use pvbench::Suite;
/// use pvbench::dispatch::{Inline, Table};
/// use pvbench::op::irq::SaveFl;
///
/// let suite = Suite::builder("flags").only_mechanisms::<(Inline, Table)>().op::<SaveFl>().build()?;
/// assert_eq!(suite.name(), "flags");
/// assert_eq!(suite.ops()[0].meta.name, "save_fl");
/// assert_eq!(suite.mechanisms()[1].mechanism.name, "table");
/// assert!(suite.workloads().is_empty() && suite.choices().quick_ops.is_none());
/// # Ok::<(), pvbench::SuiteError>(())
/// ```
pub struct Suite {
    name: &'static str,
    ops: Vec<OpEntry>,
    mechanisms: Vec<Listed>,
    workloads: Vec<workload::WorkloadEntry>,
    choices: Choices,
}

/// A mechanism of a suite.
///
/// ```
/// let here: Vec<&str> = pvbench::suite::listed::<pvbench::dispatch::All>()
///     .iter()
///     .filter(|listed| (listed.unavailable)().is_none())
///     .map(|listed| listed.mechanism.name)
///     .collect();
/// assert!(here.contains(&"table"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// Its description.
    pub mechanism: Mechanism,
    /// The reason why it is unavailable on this machine; see [`Dispatch::unavailable`].
    pub unavailable: fn() -> Option<String>,
}

/// The names that shorter runs measure. A run measures everything if its choice is absent.
///
/// ```
/// use pvbench::suite::Choices;
///
/// let choices = Choices { quick_ops: Some(&["uart_read"]), ..Choices::default() };
/// assert!(choices.cold_ops.is_none(), "all ops are measured cold");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Choices {
    /// The ops of `run --quick`.
    pub quick_ops: Option<&'static [&'static str]>,
    /// The workloads of `run --quick`.
    pub quick_workloads: Option<&'static [&'static str]>,
    /// The ops that are measured cold and with changing targets by default; both take long.
    pub cold_ops: Option<&'static [&'static str]>,
    /// The mechanisms that workloads are measured with by default.
    pub workload_mechanisms: Option<&'static [&'static str]>,
}

impl Suite {
    /// Starts a suite with the built-in mechanisms and without ops and workloads.
    ///
    /// ```
    /// use pvbench::Suite;
    /// use pvbench::op::{irq, mmu};
    ///
    /// let suite = Suite::builder("two").op::<irq::SaveFl>().op::<mmu::PteVal>().build()?;
    /// assert_eq!(suite.ops().len(), 2);
    /// assert_eq!(suite.mechanisms()[0].mechanism.name, "inline");
    /// # Ok::<(), pvbench::SuiteError>(())
    /// ```
    pub fn builder(name: &'static str) -> Builder<(), All, ()> {
        Builder::new(name)
    }

    /// Its name, which is also the name of the command.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The ops, in their order.
    #[must_use]
    pub fn ops(&self) -> &[OpEntry] {
        &self.ops
    }

    /// The mechanisms, `inline` first.
    #[must_use]
    pub fn mechanisms(&self) -> &[Listed] {
        &self.mechanisms
    }

    /// Descriptions of the mechanisms, `inline` first.
    ///
    /// ```
    /// # use pvbench::{Suite, dispatch::{Inline, Table}, op::irq::SaveFl};
    /// let suite = Suite::builder("flags").only_mechanisms::<(Inline, Table)>().op::<SaveFl>().build()?;
    /// assert_eq!(suite.mechanism_metas()[1].way.describe(), "call [rip+slot]");
    /// # Ok::<(), pvbench::SuiteError>(())
    /// ```
    #[must_use]
    pub fn mechanism_metas(&self) -> Vec<Mechanism> {
        self.mechanisms.iter().map(|listed| listed.mechanism).collect()
    }

    /// The workloads, in their order.
    #[must_use]
    pub fn workloads(&self) -> &[workload::WorkloadEntry] {
        &self.workloads
    }

    /// The names that shorter runs measure.
    #[must_use]
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// Splits the suite into its ops and workloads, which the [bench of loops](crate::measure::LoopBench) takes.
    ///
    /// ```
    /// # use pvbench::{Suite, dispatch::{Inline, Table}, op::irq::SaveFl};
    /// let suite = Suite::builder("flags").only_mechanisms::<(Inline, Table)>().op::<SaveFl>().build()?;
    /// let (ops, workloads) = suite.into_parts();
    /// assert_eq!((ops.len(), workloads.len()), (1, 0));
    /// # Ok::<(), pvbench::SuiteError>(())
    /// ```
    #[must_use]
    pub fn into_parts(self) -> (Vec<OpEntry>, Vec<workload::WorkloadEntry>) {
        (self.ops, self.workloads)
    }
}

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ops: Vec<&str> = self.ops.iter().map(|op| op.meta.name).collect();
        let mechanisms: Vec<&str> = self.mechanisms.iter().map(|listed| listed.mechanism.name).collect();
        let workloads: Vec<&str> = self.workloads.iter().map(|entry| entry.meta.name).collect();
        let mut debug = f.debug_struct("Suite");
        debug.field("name", &self.name).field("ops", &ops).field("mechanisms", &mechanisms);
        debug.field("workloads", &workloads).finish()
    }
}

/// The ops of a list, each with all of these mechanisms.
///
/// ```
/// use pvbench::dispatch::{Inline, Table};
/// use pvbench::op::{irq::SaveFl, mmu::PteVal};
///
/// let ops = pvbench::suite::entries::<(SaveFl, PteVal), (Inline, Table)>();
/// assert_eq!(ops[1].pairs[1].mechanism.name, "table");
/// ```
#[must_use]
pub fn entries<O: Ops, M: Mechanisms>() -> Vec<OpEntry> {
    struct Entries<M>(Vec<OpEntry>, std::marker::PhantomData<fn(M)>);
    impl<M: Mechanisms> OpVisitor for Entries<M> {
        fn visit<O: Op>(&mut self) {
            self.0.push(OpEntry::with::<O, M>());
        }
    }
    let mut entries = Entries::<M>(Vec::new(), std::marker::PhantomData);
    O::visit(&mut entries);
    entries.0
}

/// The mechanisms of a list of types, as data; see [`Listed`].
#[must_use]
pub fn listed<M: Mechanisms>() -> Vec<Listed> {
    struct All(Vec<Listed>);
    impl dispatch::MechanismVisitor for All {
        fn visit<D: Dispatch>(&mut self) {
            self.0.push(Listed { mechanism: D::META, unavailable: D::unavailable });
        }
    }
    let mut all = All(Vec::new());
    M::visit(&mut all);
    all.0
}

/// Descriptions of the built-in mechanisms, `inline` first.
#[must_use]
pub fn mechanisms() -> Vec<Mechanism> {
    listed::<All>().into_iter().map(|listed| listed.mechanism).collect()
}
