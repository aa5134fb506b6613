//! The suite: every (op, mechanism) pair as plain data, made from the types.

use crate::dispatch::{self, Dispatch, Mechanism, Platform};
use crate::measure::plan::QUICK_OPS;
use crate::op::catalogue::{FIRST_USER_SLOT, Slot};
use crate::op::{Args, Body, Bytes, CpuModel, Meta, Op, Ret, catalogue};
use crate::patch::Target;
use crate::patch::function::code_before_return;
use crate::regime::{self, Loop, Regime};

/// An op with what is needed to measure it, its type erased.
#[derive(Clone)]
pub struct OpEntry {
    /// The catalogue entry.
    pub meta: Meta,
    /// The place in the pv_ops table.
    pub slot: usize,
    /// How many arguments.
    pub arity: usize,
    /// Whether it returns a value.
    pub returns: bool,
    /// Arguments to measure with; see [`Op::arguments`].
    pub arguments: fn(&mut CpuModel) -> [u64; 4],
    /// The callee on each platform.
    pub body: fn(Platform) -> Body,
    /// The callee that saves all but `rax` on each platform.
    pub saving: fn(Platform) -> Body,
    /// Whether the native instructions spoil more than `rax` and the flags.
    pub spoils: bool,
    /// The pairs, in the order of [`dispatch::for_each`]; the first is `inline`.
    pub pairs: Vec<Pair>,
}

/// An (op, mechanism) pair.
#[derive(Clone)]
pub struct Pair {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// See [`Dispatch::bind`].
    pub bind: fn(Platform),
    /// See [`Dispatch::unavailable`].
    pub unavailable: fn() -> Option<String>,
    throughput: Loop,
    latency: Option<Loop>,
    pressure: Loop,
    random: Option<Loop>,
    /// See [`Dispatch::pointer`].
    pub pointer: Option<*mut usize>,
}

impl Pair {
    /// A loop that stands for itself: nothing of it is bound, patched or drawn.
    #[must_use]
    pub fn plain(mechanism: Mechanism, throughput: Loop) -> Self {
        Pair {
            mechanism,
            bind: |_| {},
            unavailable: || None,
            throughput,
            latency: None,
            pressure: throughput,
            random: None,
            pointer: None,
        }
    }

    /// The loop of a regime; `None` where the op has no such loop (latency without argument or result).
    #[must_use]
    pub fn loop_of(&self, regime: Regime) -> Option<Loop> {
        match regime {
            Regime::Random2 | Regime::Random4 | Regime::Random8 => self.random,
            Regime::Throughput | Regime::Cold | Regime::Flushed => Some(self.throughput),
            Regime::Latency => self.latency,
            Regime::Pressure => Some(self.pressure),
        }
    }
}

impl OpEntry {
    /// What patching knows of it on a platform.
    #[must_use]
    pub fn target(&self, platform: Platform) -> Target {
        let native = platform == Platform::Native;
        let body = (self.body)(platform) as usize;
        Target {
            op: self.meta.name,
            native,
            body,
            saving: (self.saving)(platform) as usize,
            // Xen's hooks are C functions to its patcher (`xen_patch()` but for four of them).
            bytes: if native { self.meta.bytes } else { Bytes::Call },
            // SAFETY: a body is a function of this program.
            code: if native { unsafe { code_before_return(body) } } else { Vec::new() },
            spoils: self.spoils,
        }
    }

    /// The entry of an op, with all built-in mechanisms.
    #[must_use]
    pub fn new<O: Op>() -> Self {
        let mut pairs = Pairs::<O>(Vec::new(), std::marker::PhantomData);
        dispatch::for_each(&mut pairs);
        OpEntry {
            meta: O::META,
            slot: O::SLOT,
            arity: O::Args::ARITY,
            returns: O::Ret::HAS_VALUE,
            arguments: |cpu| O::arguments(cpu).to_words(),
            body: |platform| platform.body::<O>(),
            saving: |platform| platform.saving_body::<O>(),
            spoils: dispatch::spoils::<O>(),
            pairs: pairs.0,
        }
    }
}

/// Whether an op is measured with changing targets: a few of different shape, and a user's own.
const fn has_random<O: Op>() -> bool {
    let few = [Slot::PteVal as usize, Slot::IrqDisable as usize, Slot::SetPte as usize, Slot::AllocPte as usize];
    let mut at = 0;
    while at < few.len() {
        if few[at] == O::SLOT {
            return true;
        }
        at += 1;
    }
    O::SLOT >= FIRST_USER_SLOT
}

struct Pairs<O>(Vec<Pair>, std::marker::PhantomData<fn(O)>);

impl<O: Op> dispatch::Visitor for Pairs<O> {
    fn visit<D: Dispatch>(&mut self) {
        let chainable = O::Args::ARITY > 0 && O::Ret::HAS_VALUE;
        self.0.push(Pair {
            mechanism: D::META,
            bind: D::bind::<O>,
            unavailable: D::unavailable,
            throughput: regime::throughput::<D, O>,
            latency: chainable.then_some(regime::latency::<D, O> as Loop),
            pressure: regime::pressure::<D, O>,
            // Few ops have this loop: each is another function to compile, and the target's body hardly matters.
            random: if const { has_random::<O>() } { Some(regime::random::<D, O> as Loop) } else { None },
            pointer: D::pointer::<O>(),
        });
    }
}

/// Whether an op is compiled into the built-in suite: all are, but for builds without the feature `catalogue`.
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
pub(crate) const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    a.len() == b.len() && at == a.len()
}

/// The built-in ops with the built-in mechanisms, in slot order.
#[must_use]
pub fn builtin() -> Vec<OpEntry> {
    struct Entries(Vec<OpEntry>);
    impl catalogue::Visitor for Entries {
        fn visit<O: Op>(&mut self) {
            if const { is_built_in::<O>() } {
                self.0.push(OpEntry::new::<O>());
            }
        }
    }
    let mut entries = Entries(Vec::new());
    catalogue::for_each(&mut entries);
    entries.0
}

/// What is said of the built-in mechanisms, `inline` first.
#[must_use]
pub fn mechanisms() -> Vec<Mechanism> {
    struct Names(Vec<Mechanism>);
    impl dispatch::Visitor for Names {
        fn visit<D: Dispatch>(&mut self) {
            self.0.push(D::META);
        }
    }
    let mut names = Names(Vec::new());
    dispatch::for_each(&mut names);
    names.0
}

/// The built-in mechanisms, each with why it cannot be had here; see [`Dispatch::unavailable`].
#[must_use]
pub fn availability() -> Vec<(Mechanism, Option<String>)> {
    struct All(Vec<(Mechanism, Option<String>)>);
    impl dispatch::Visitor for All {
        fn visit<D: Dispatch>(&mut self) {
            self.0.push((D::META, D::unavailable()));
        }
    }
    let mut all = All(Vec::new());
    dispatch::for_each(&mut all);
    all.0
}
