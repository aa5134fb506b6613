//! The builder of a suite: it turns lists of types into a suite, and checks everything that can be wrong.

use std::any::{TypeId, type_name};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

use super::{Choices, OpEntry, Suite, SuiteError, entries, listed};
use crate::dispatch::{self, Dispatch, Mechanisms};
use crate::op::{self, Bytes, Op, Ops, SLOTS};
use crate::patch::instructions::{self, Unfit};
use crate::workload::{self, Workload, Workloads};

/// The items of one list, followed by those of another.
///
/// ```
/// use pvbench::dispatch::{self, Dispatch, Direct, Inline, Mechanisms, Table};
/// use pvbench::suite::Also;
///
/// struct Names(Vec<&'static str>);
/// impl dispatch::MechanismVisitor for Names {
///     fn visit<D: Dispatch>(&mut self) {
///         self.0.push(D::META.name);
///     }
/// }
/// let mut names = Names(Vec::new());
/// Also::<(Inline, Direct), (Table,)>::visit(&mut names);
/// assert_eq!(names.0, ["inline", "direct", "table"]);
/// ```
pub struct Also<A, B>(PhantomData<fn(A, B)>);

impl<A: Ops, B: Ops> Ops for Also<A, B> {
    fn visit(visitor: &mut impl op::OpVisitor) {
        A::visit(visitor);
        B::visit(visitor);
    }
}

impl<A: Mechanisms, B: Mechanisms> Mechanisms for Also<A, B> {
    fn visit(visitor: &mut impl dispatch::MechanismVisitor) {
        A::visit(visitor);
        B::visit(visitor);
    }
}

impl<A: Workloads, B: Workloads> Workloads for Also<A, B> {
    fn visit(visitor: &mut impl workload::WorkloadVisitor) {
        A::visit(visitor);
        B::visit(visitor);
    }
}

/// A suite before it is checked. Ops `O`, mechanisms `M` and workloads `W` are lists of types, so that exactly the
/// pairs of the suite are compiled, whatever the order of the calls.
///
/// ```
/// use pvbench::Suite;
/// use pvbench::dispatch::{Direct, FnPointer, Inline, Table};
/// use pvbench::suite::Choices;
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
/// let suite = Suite::builder("uart")
///     .only_mechanisms::<(Inline, Direct, Table)>()
///     .mechanism::<FnPointer>()
///     .ops::<(Read, Write)>()
///     .choices(Choices { quick_ops: Some(&["uart_read"]), ..Choices::default() })
///     .build()?;
/// assert_eq!((suite.ops().len(), suite.mechanisms().len()), (2, 4));
/// # Ok::<(), pvbench::SuiteError>(())
/// ```
#[must_use = "call build() to make the suite"]
pub struct Builder<O, M, W> {
    name: &'static str,
    choices: Choices,
    lists: PhantomData<fn(O, M, W)>,
}

impl<M> Builder<(), M, ()> {
    pub(super) fn new(name: &'static str) -> Self {
        Builder { name, choices: Choices::default(), lists: PhantomData }
    }
}

impl<O: Ops, M: Mechanisms, W: Workloads> Builder<O, M, W> {
    fn with<O2, M2, W2>(self) -> Builder<O2, M2, W2> {
        Builder { name: self.name, choices: self.choices, lists: PhantomData }
    }

    /// Adds an op of your own, or of the [catalogue](crate::op::catalogue).
    pub fn op<P: Op>(self) -> Builder<Also<O, (P,)>, M, W> {
        self.with()
    }

    /// Adds a list of ops: `.ops::<(Read, Write)>()`.
    pub fn ops<L: Ops>(self) -> Builder<Also<O, L>, M, W> {
        self.with()
    }

    /// Adds a mechanism for all ops and workloads.
    pub fn mechanism<D: Dispatch>(self) -> Builder<O, Also<M, (D,)>, W> {
        self.with()
    }

    /// Replaces the mechanisms by this list, with [`Inline`](crate::dispatch::Inline) first. There is less to compile,
    /// and reports have fewer columns.
    pub fn only_mechanisms<L: Mechanisms>(self) -> Builder<O, L, W> {
        self.with()
    }

    /// Adds a workload. [`Workload`] has complete examples.
    pub fn workload<K: Workload>(self) -> Builder<O, M, Also<W, (K,)>> {
        self.with()
    }

    /// Adds a list of workloads: `.workloads::<(Line, Burst)>()`.
    pub fn workloads<L: Workloads>(self) -> Builder<O, M, Also<W, L>> {
        self.with()
    }

    /// Sets the names that shorter runs measure: see [`Choices`].
    pub fn choices(self, choices: Choices) -> Self {
        Builder { choices, ..self }
    }

    /// Checks everything and makes the suite. It binds no mechanism and writes no code.
    ///
    /// A [`SuiteError`], which names the op, mechanism or workload at fault.
    ///
    /// ```
    /// use pvbench::Suite;
    /// use pvbench::op::irq::SaveFl;
    ///
    /// let error = Suite::builder("twice").op::<SaveFl>().op::<SaveFl>().build().unwrap_err();
    /// assert!(error.to_string().contains("op 'save_fl' is listed twice"));
    /// ```
    pub fn build(self) -> Result<Suite, SuiteError> {
        let Builder { name, choices, .. } = self;
        check_name("suite", name)?;
        // Slots are checked first, because the rest reads the tables.
        let named = list_ops::<O>();
        check_ops(&named)?;
        let mechanisms = listed::<M>();
        check_names("mechanism", &list_mechanisms::<M>())?;
        match mechanisms.first() {
            Some(first) if first.mechanism.name == "inline" => {}
            first => {
                let first = first.map_or("missing", |first| first.mechanism.name).to_owned();
                return Err(SuiteError::NoBaseline { first });
            }
        }
        let ops = entries::<O, M>();
        for op in &ops {
            check_instructions(op)?;
        }
        let workloads = workload::entries_of::<W, M>();
        let named_workloads: Vec<_> = workloads.iter().map(|entry| (entry.meta.name, entry.type_name)).collect();
        check_names("workload", &named_workloads)?;
        for entry in &workloads {
            let unknown = entry.ops.iter().find(|(id, _)| !ops.iter().any(|op| op.id == *id));
            if let Some((_, op)) = unknown {
                return Err(SuiteError::UnknownOp { workload: entry.meta.name, op });
            }
        }
        if ops.is_empty() && workloads.is_empty() {
            return Err(SuiteError::Empty { suite: name });
        }
        claim_slots(name, &ops)?;
        Ok(Suite { name, ops, mechanisms, workloads, choices })
    }
}

/// The parts of an op that are checked before its entry is made.
struct OpIdentity {
    name: &'static str,
    type_name: &'static str,
    slot: usize,
}

fn list_ops<O: Ops>() -> Vec<OpIdentity> {
    struct All(Vec<OpIdentity>);
    impl op::OpVisitor for All {
        fn visit<O: Op>(&mut self) {
            self.0.push(OpIdentity { name: O::META.name, type_name: type_name::<O>(), slot: O::SLOT });
        }
    }
    let mut all = All(Vec::new());
    O::visit(&mut all);
    all.0
}

fn list_mechanisms<M: Mechanisms>() -> Vec<(&'static str, &'static str)> {
    struct All(Vec<(&'static str, &'static str)>);
    impl dispatch::MechanismVisitor for All {
        fn visit<D: Dispatch>(&mut self) {
            self.0.push((D::META.name, type_name::<D>()));
        }
    }
    let mut all = All(Vec::new());
    M::visit(&mut all);
    all.0
}

fn check_ops(ops: &[OpIdentity]) -> Result<(), SuiteError> {
    check_names("op", &ops.iter().map(|op| (op.name, op.type_name)).collect::<Vec<_>>())?;
    let mut slots = BTreeMap::new();
    for op in ops {
        if op.slot >= SLOTS {
            return Err(SuiteError::NoSlot { op: op.name, slot: op.slot });
        }
        if let Some(first) = slots.insert(op.slot, op.name) {
            let (first, second) = (first.to_owned(), op.name.to_owned());
            return Err(SuiteError::SlotTwice { slot: op.slot, first, second });
        }
    }
    Ok(())
}

/// Checks names and the types that have them: each name is valid, and no name occurs twice.
fn check_names(kind: &'static str, named: &[(&'static str, &'static str)]) -> Result<(), SuiteError> {
    let mut seen = BTreeMap::new();
    for &(name, second) in named {
        check_name(kind, name)?;
        if let Some(first) = seen.insert(name, second) {
            return Err(SuiteError::Twice { kind, name, first, second });
        }
    }
    Ok(())
}

/// Checks a name. Names are typed in commands, are parts of file names and of comma-separated lists, and are shown in
/// tables.
fn check_name(kind: &'static str, name: &'static str) -> Result<(), SuiteError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    let fine = (1..=64).contains(&name.len()) && name.chars().all(fits) && !name.starts_with("selftest_");
    if fine { Ok(()) } else { Err(SuiteError::Name { kind, name }) }
}

/// Checks the instructions that would be written over a site of the op.
fn check_instructions(op: &OpEntry) -> Result<(), SuiteError> {
    if op.meta.bytes != Bytes::Instruction {
        return Ok(());
    }
    let code = op.native_code();
    let unfit = if code.is_empty() && op.instructions.is_none() && !op.assembly {
        Err(Unfit::Missing)
    } else {
        instructions::check(&code, usize::from(op.meta.site))
    };
    unfit.map_err(|unfit| SuiteError::Instructions { op: op.meta.name, unfit })
}

/// The owner of each slot in this process: all suites share the tables that mechanisms call through.
static CLAIMED: Mutex<BTreeMap<usize, (TypeId, String)>> = Mutex::new(BTreeMap::new());

/// Claims the slots of a suite's ops, all or none.
fn claim_slots(suite: &str, ops: &[OpEntry]) -> Result<(), SuiteError> {
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    for op in ops {
        if let Some((id, first)) = claimed.get(&op.slot)
            && *id != op.id
        {
            let second = format!("{} of suite {suite}", op.meta.name);
            return Err(SuiteError::SlotTwice { slot: op.slot, first: first.clone(), second });
        }
    }
    for op in ops {
        claimed.entry(op.slot).or_insert_with(|| (op.id, format!("{} of suite {suite}", op.meta.name)));
    }
    Ok(())
}
