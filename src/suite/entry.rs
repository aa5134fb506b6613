//! Ops and mechanisms as plain data, made from their types.

use std::any::TypeId;
use std::marker::PhantomData;

use crate::dispatch::{self, Dispatch, Mechanism, Mechanisms};
use crate::op::{Args, Body, BodyKind, Bytes, CpuModel, Op, OpMeta, Ret};
use crate::patch::Target;
use crate::patch::body::code_before_return;
use crate::regime::{Loop, Loops, Regime};
use crate::relocate::LoopFunction;

/// An op with everything that measuring it needs; its type is erased.
#[derive(Clone)]
pub struct OpEntry {
    /// The op's type.
    pub(crate) id: TypeId,
    /// The catalogue entry.
    pub meta: OpMeta,
    /// Its slot in the pv_ops table.
    pub slot: usize,
    /// Number of arguments.
    pub arity: usize,
    /// Whether it returns a value.
    pub(crate) returns: bool,
    /// The arguments to measure with; see [`Op::arguments`].
    pub arguments: fn(&mut CpuModel) -> [u64; 4],
    /// The callee with each body.
    pub body: fn(BodyKind) -> Body,
    /// The callee with each body that saves all registers except `rax`.
    pub saving: fn(BodyKind) -> Body,
    /// Whether the native instructions change registers other than `rax` and the flags.
    pub spoils: bool,
    /// Whether the native body is assembly; see [`Op::ASSEMBLY`].
    pub(crate) assembly: bool,
    /// The bytes that patching writes, if they are not the native body itself; see [`Op::INSTRUCTIONS`].
    pub(crate) instructions: Option<&'static [u8]>,
    /// The function that [`OpEntry::code`] decodes; `None` if the loops are assembly.
    pub(crate) probe: Option<fn(u64) -> u64>,
    /// The pairs with all mechanisms, in the order of the suite; the first is `inline`.
    pub pairs: Vec<Pair>,
}

/// An (op, mechanism) pair.
#[derive(Clone)]
pub struct Pair {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// See [`Dispatch::bind`].
    pub bind: fn(BodyKind),
    /// Reason why the mechanism is unavailable on this machine; see [`Dispatch::unavailable`].
    check_machine: fn() -> Option<String>,
    /// If the mechanism needs assembly and the op's body is not assembly: what needs it, and the op's name.
    missing_assembly: Option<(&'static str, &'static str)>,
    loops: Loops,
    /// See [`Dispatch::pointer`].
    pub(crate) pointer: Option<*mut usize>,
    /// See [`Dispatch::vtable`].
    pub(crate) vtable: Option<(*mut usize, usize)>,
    /// See [`Dispatch::data`].
    pub(crate) data: fn() -> Option<(usize, usize)>,
}

impl Pair {
    /// A pair of one loop, without bindings, patchable sites or changing targets.
    #[must_use]
    pub(crate) fn plain(mechanism: Mechanism, throughput: Loop) -> Self {
        Pair {
            mechanism,
            bind: |_| {},
            check_machine: || None,
            missing_assembly: None,
            loops: Loops::plain(throughput),
            pointer: None,
            vtable: None,
            data: || None,
        }
    }

    /// Reason why the mechanism is unavailable for the op; see [`dispatch::unavailable`].
    #[must_use]
    pub(crate) fn unavailable(&self) -> Option<String> {
        (self.check_machine)().or_else(|| self.missing_assembly.map(|(why, op)| dispatch::no_assembly(why, op)))
    }

    /// The loop of a regime; `None` if the op has no such loop, as `latency` without an argument or result.
    #[must_use]
    pub fn loop_of(&self, regime: Regime) -> Option<Loop> {
        self.loops.select(regime)
    }
}

impl OpEntry {
    /// The patch target of the op with a body.
    #[must_use]
    pub fn target(&self, body: BodyKind) -> Target {
        let native = body == BodyKind::Native;
        Target {
            op: self.meta.name,
            native,
            body: (self.body)(body) as usize,
            saving: (self.saving)(body) as usize,
            // Xen's patcher treats its hooks as C functions (`xen_patch()`, with four exceptions).
            bytes: if native { self.meta.bytes } else { Bytes::Call },
            code: if native { self.native_code() } else { Vec::new() },
            spoils: self.spoils,
        }
    }

    /// The native instructions, which patching may write over a call. Empty if the body is a return alone, or a Rust
    /// function without [`Op::INSTRUCTIONS`].
    #[must_use]
    pub(crate) fn native_code(&self) -> Vec<u8> {
        match self.instructions {
            Some(bytes) => bytes.to_vec(),
            // SAFETY: `code_before_return` needs a function of this program, and the body of an op is one.
            None if self.assembly => unsafe { code_before_return((self.body)(BodyKind::Native) as usize) },
            None => Vec::new(),
        }
    }

    /// Whether the native body contains a call even inline, for example of another crate's function without
    /// `#[inline]`. Then `inline` measures that call, too.
    #[must_use]
    pub(crate) fn calls_out(&self) -> bool {
        let Some(inline) = self.pairs.first().and_then(|pair| pair.loop_of(Regime::Throughput)) else { return false };
        // SAFETY: `at` needs a compiled function of this program, and a pair's loop is one.
        let function = unsafe { LoopFunction::at(inline as *const () as usize) };
        !self.assembly
            && function.is_ok_and(|function| {
                function.loop_instructions().any(|i| i.is_call_near() || i.is_call_near_indirect())
            })
    }

    /// Makes the entry of an op with all built-in mechanisms.
    #[must_use]
    pub fn new<O: Op>() -> Self {
        Self::with::<O, dispatch::All>()
    }

    /// Makes the entry of an op with these mechanisms.
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
            body: |body| body.callee::<O>(),
            saving: |body| body.saving_callee::<O>(),
            spoils: crate::op::spoils::<O>(),
            assembly: O::ASSEMBLY,
            instructions: O::INSTRUCTIONS,
            probe: Some(super::optimised::probe::<O>),
            pairs: pairs.0,
        }
    }
}

struct Pairs<O>(Vec<Pair>, PhantomData<fn(O)>);

impl<O: Op> dispatch::MechanismVisitor for Pairs<O> {
    fn visit<D: Dispatch>(&mut self) {
        add(&mut self.0, const { &pair::<D, O>() }, D::pointer::<O>(), D::vtable::<O>());
    }
}

/// Makes all of a pair except the pointers, which a constant cannot hold. As a constant the compiler stores it as data.
/// There are thousands of pairs, and code to assemble each would take as long to compile as some of the loops.
const fn pair<D: Dispatch, O: Op>() -> Pair {
    Pair {
        mechanism: D::META,
        bind: D::bind::<O>,
        check_machine: D::unavailable,
        missing_assembly: match D::META.needs_assembly {
            Some(why) if !O::ASSEMBLY => Some((why, O::META.name)),
            _ => None,
        },
        loops: Loops::new::<D, O>(),
        pointer: None,
        vtable: None,
        data: D::data,
    }
}

#[inline(never)]
fn add(pairs: &mut Vec<Pair>, pair: &Pair, pointer: Option<*mut usize>, vtable: Option<(*mut usize, usize)>) {
    pairs.push(Pair { pointer, vtable, ..pair.clone() });
}
