//! Ops and mechanisms as plain data, made from the types.

use std::any::TypeId;
use std::marker::PhantomData;

use crate::dispatch::{self, Dispatch, Mechanism, Mechanisms};

use crate::op::BodyKind;
use crate::op::catalogue::{FIRST_USER_SLOT, Slot};
use crate::op::{Args, Body, Bytes, CpuModel, Op, OpMeta, Ret};
use crate::patch::function::code_before_return;
use crate::patch::{Function, Target};
use crate::regime::{self, Loop, Regime};

/// An op with what is needed to measure it, its type erased.
#[derive(Clone)]
pub struct OpEntry {
    /// The type.
    pub id: TypeId,
    /// The catalogue entry.
    pub meta: OpMeta,
    /// The place in the pv_ops table.
    pub slot: usize,
    /// How many arguments.
    pub arity: usize,
    /// Whether it returns a value.
    pub returns: bool,
    /// Arguments to measure with; see [`Op::arguments`].
    pub arguments: fn(&mut CpuModel) -> [u64; 4],
    /// The callee on each platform.
    pub body: fn(BodyKind) -> Body,
    /// The callee that saves all but `rax` on each platform.
    pub saving: fn(BodyKind) -> Body,
    /// Whether the native instructions spoil more than `rax` and the flags.
    pub spoils: bool,
    /// Whether the native body is assembly; see [`Op::ASSEMBLY`].
    pub assembly: bool,
    /// What patching writes, where it is not the native body itself; see [`Op::INSTRUCTIONS`].
    pub instructions: Option<&'static [u8]>,
    /// The function that [`OpEntry::code`] decodes. None where the loops are assembly.
    pub probe: Option<fn(u64) -> u64>,
    /// The pairs, in the order of the suite's mechanisms; the first is `inline`.
    pub pairs: Vec<Pair>,
}

/// An (op, mechanism) pair.
#[derive(Clone)]
pub struct Pair {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// See [`Dispatch::bind`].
    pub bind: fn(BodyKind),
    /// Why the mechanism cannot be had on this machine; see [`Dispatch::unavailable`].
    missing: fn() -> Option<String>,
    /// What of it needs assembly, and the op, where that op's body is none.
    refused: Option<(&'static str, &'static str)>,
    throughput: Loop,
    latency: Option<Loop>,
    pressure: Loop,
    random: Option<Loop>,
    /// See [`Dispatch::pointer`].
    pub pointer: Option<*mut usize>,
    /// See [`Dispatch::vtable`].
    pub vtable: Option<(*mut usize, usize)>,
}

impl Pair {
    /// A loop that stands for itself: nothing of it is bound, patched or drawn.
    #[must_use]
    pub fn plain(mechanism: Mechanism, throughput: Loop) -> Self {
        Pair {
            mechanism,
            bind: |_| {},
            missing: || None,
            refused: None,
            throughput,
            latency: None,
            pressure: throughput,
            random: None,
            pointer: None,
            vtable: None,
        }
    }

    /// Why the mechanism cannot be had for the op here; see [`dispatch::unavailable`].
    #[must_use]
    pub fn unavailable(&self) -> Option<String> {
        (self.missing)().or_else(|| self.refused.map(|(why, op)| dispatch::no_assembly(why, op)))
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
    pub fn target(&self, platform: BodyKind) -> Target {
        let native = platform == BodyKind::Native;
        let body = (self.body)(platform) as usize;
        Target {
            op: self.meta.name,
            native,
            body,
            saving: (self.saving)(platform) as usize,
            // Xen's hooks are C functions to its patcher (`xen_patch()` but for four of them).
            bytes: if native { self.meta.bytes } else { Bytes::Call },
            code: if native { self.native_code() } else { Vec::new() },
            spoils: self.spoils,
        }
    }

    /// The native instructions: what patching may write. Empty where the body is a return alone, or a Rust function
    /// without [`Op::INSTRUCTIONS`].
    #[must_use]
    pub fn native_code(&self) -> Vec<u8> {
        match self.instructions {
            Some(bytes) => bytes.to_vec(),
            // SAFETY: a body is a function of this program.
            None if self.assembly => unsafe { code_before_return((self.body)(BodyKind::Native) as usize) },
            None => Vec::new(),
        }
    }

    /// Whether the native body calls another function even inline: one of another crate that is not marked `#[inline]`,
    /// for example. What `inline` measures then is that call, too.
    #[must_use]
    pub fn calls_out(&self) -> bool {
        let Some(inline) = self.pairs.first().and_then(|pair| pair.loop_of(Regime::Throughput)) else { return false };
        // SAFETY: a compiled loop of this program.
        let function = unsafe { Function::with_loop(inline as *const () as usize) };
        !self.assembly
            && function.is_ok_and(|function| {
                function.loop_instructions().any(|i| i.is_call_near() || i.is_call_near_indirect())
            })
    }

    /// The entry of an op, with all built-in mechanisms.
    #[must_use]
    pub fn new<O: Op>() -> Self {
        Self::with::<O, dispatch::All>()
    }

    /// The entry of an op, with these mechanisms.
    #[must_use]
    pub fn with<O: Op, M: Mechanisms>() -> Self {
        let mut pairs = Pairs::<O>(Vec::new(), PhantomData);
        M::visit(&mut pairs);
        OpEntry {
            id: TypeId::of::<O>(),
            meta: O::META,
            slot: O::SLOT,
            arity: O::Args::ARITY,
            returns: O::Ret::HAS_VALUE,
            arguments: |cpu| O::arguments(cpu).to_words(),
            body: |platform| platform.body::<O>(),
            saving: |platform| platform.saving_body::<O>(),
            spoils: crate::op::spoils::<O>(),
            assembly: O::ASSEMBLY,
            instructions: O::INSTRUCTIONS,
            probe: Some(super::optimised::probe::<O>),
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

struct Pairs<O>(Vec<Pair>, PhantomData<fn(O)>);

impl<O: Op> dispatch::MechanismVisitor for Pairs<O> {
    fn visit<D: Dispatch>(&mut self) {
        add(&mut self.0, const { &pair::<D, O>() }, D::pointer::<O>(), D::vtable::<O>());
    }
}

/// All of a pair but the pointers, which no constant can hold: the compiler lays it out as data. There are thousands of
/// pairs, and code that put each together would take as long to compile as some of the loops.
const fn pair<D: Dispatch, O: Op>() -> Pair {
    let chainable = O::Args::ARITY > 0 && O::Ret::HAS_VALUE;
    Pair {
        mechanism: D::META,
        bind: D::bind::<O>,
        missing: D::unavailable,
        refused: match D::META.needs_assembly {
            Some(why) if !O::ASSEMBLY => Some((why, O::META.name)),
            _ => None,
        },
        throughput: regime::throughput::<D, O>,
        latency: if chainable { Some(regime::latency::<D, O> as Loop) } else { None },
        pressure: regime::pressure::<D, O>,
        // Few ops have this loop: each is another function to compile, and the target's body hardly matters.
        random: if has_random::<O>() { Some(regime::random::<D, O> as Loop) } else { None },
        pointer: None,
        vtable: None,
    }
}

#[inline(never)]
fn add(pairs: &mut Vec<Pair>, pair: &Pair, pointer: Option<*mut usize>, vtable: Option<(*mut usize, usize)>) {
    pairs.push(Pair { pointer, vtable, ..pair.clone() });
}
