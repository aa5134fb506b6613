//! Mechanisms: the call sequences by which a site reaches a body.
//!
//! A mechanism is a type that implements [`Dispatch`] once for all ops. The compiler makes one call sequence per
//! mechanism and op.

use crate::op::{BodyKind, Op};
use crate::patch::State;
use crate::patch::site::SiteKind;

mod alternative;
mod box_dyn;
mod callee_save;
mod cfi;
mod compare_tree;
mod direct;
mod dlsym;
mod dynamic;
mod enumeration;
mod flag;
mod fn_pointer;
mod got;
mod ifunc;
mod inline;
mod inline_clobber;
mod jump_label;
mod lazy_lock;
mod list;
mod once_lock;
mod once_lock_dyn;
mod plt;
mod record;
mod retpoline;
mod shared_object;
mod site;
mod site_callee_save;
mod slots;
mod static_call;
mod table;
mod table_callee_save;
mod table_thunk;

pub use alternative::Alternative;
pub use box_dyn::BoxDyn;
pub use callee_save::{CALLEE_SAVE, SAVING, THUNK};
pub use cfi::{Endbr, FineIbt, Kcfi};
pub use compare_tree::{COMPARED, CompareTree1, CompareTree4, CompareTree16};
pub use direct::Direct;
pub use dlsym::{DLSYM, Dlsym};
pub use dynamic::Dyn;
pub use enumeration::Enum;
pub use flag::Flag;
pub use fn_pointer::FnPointer;
pub use got::{GOT, Got};
pub use ifunc::Ifunc;
pub use inline::Inline;
pub use inline_clobber::InlineClobber;
pub use jump_label::JumpLabel;
pub use lazy_lock::LazyLockTable;
pub use list::{All, MechanismVisitor, Mechanisms, for_each};
pub use once_lock::OnceLockTable;
pub use once_lock_dyn::OnceLockDyn;
pub use plt::{GOT_PLT, Plt};
pub use retpoline::thunks;
pub use retpoline::{Retpoline, RetpolineLfence};
pub use site::Site;
pub use site_callee_save::SiteCalleeSave;
pub use slots::Slots;
pub use static_call::{StaticCall, StaticCallInline};
pub use table::{PV_OPS, Table};
pub use table_callee_save::TableCalleeSave;
pub use table_thunk::TableThunk;

/// The machine code that a mechanism stands for. Tests decode the loops and check it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallSequence {
    /// No transfer of control.
    Straight,
    /// `call rel32` to the body.
    DirectCall,
    /// An indirect call through a memory operand: `call [rip+slot]`.
    IndirectMemory,
    /// An indirect call through a register or memory, whichever the compiler chose.
    Indirect,
    /// A compare and a conditional branch to a call; native does not take the branch.
    Branch,
    /// A 5-byte NOP in front of the native instructions.
    Nop,
    /// `call rel32` to a `jmp rel32` to the body.
    Trampoline,
    /// A load of the slot into `r11` and a direct call of a thunk that jumps there.
    Thunk,
    /// A check of the hash in front of the callee, then an indirect call.
    CallerCheck,
    /// An indirect call of a preamble that checks the hash.
    CalleeCheck,
    /// `call rel32` to a stub, which is `jmp [rip+word]` to the body, with or without an `endbr64` in front.
    Plt,
    /// `call [rip+word]` through a word of a global offset table.
    Got,
    /// A load of the pointer and comparisons with known functions, the native body last. A match is called directly,
    /// otherwise the call is indirect.
    CompareTree,
    /// Any code: a mechanism of a user's own.
    Own,
}

impl CallSequence {
    /// Describes the sequence in words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            CallSequence::Straight => "no transfer of control",
            CallSequence::DirectCall => "call rel32",
            CallSequence::IndirectMemory => "call [rip+slot]",
            CallSequence::Indirect => "indirect call",
            CallSequence::Branch => "compare and branch",
            CallSequence::Nop => "nop",
            CallSequence::Thunk => "load, call of a thunk",
            CallSequence::CallerCheck => "check of the callee's hash, indirect call",
            CallSequence::CalleeCheck => "hash, indirect call of a check",
            CallSequence::Trampoline => "call of a jmp rel32",
            CallSequence::Plt => "call of a jmp [rip+word]",
            CallSequence::Got => "call [rip+word]",
            CallSequence::CompareTree => "compares and a call rel32",
            CallSequence::Own => "its own",
        }
    }
}

/// The name and description of a mechanism.
///
/// ```
/// use pvbench::dispatch::{Mechanism, CallSequence};
///
/// const TRACED: Mechanism = Mechanism {
///     name: "traced",
///     way: CallSequence::Own,
///     summary: "the body inline, after a test whether calls are traced",
///     known_from: "our driver",
///     ..Mechanism::BASE
/// };
/// assert!(!TRACED.switches && TRACED.states.is_empty());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Mechanism {
    /// Its name in commands and reports.
    pub name: &'static str,
    /// The machine code that it must produce.
    pub way: CallSequence,
    /// Whether it can switch to the Xen body at run time.
    pub switches: bool,
    /// The states that its sites can have at run time; empty for a mechanism without patchable sites.
    /// [`crate::patch::rules`] decide which of them an op has.
    pub states: &'static [State],
    /// The kind of its patchable sites; `None` if it has none.
    pub sites: Option<SiteKind>,
    /// The reason why it takes only bodies in assembly ([`Op::ASSEMBLY`]), in one line; `None` if it takes any body.
    pub needs_assembly: Option<&'static str>,
    /// Its first use: program, version and year.
    pub known_from: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// The year in which Linux adopted it; `None` if it is not a step of Linux's history.
    pub year: Option<u16>,
    /// The change that it brought to Linux, in one line; `None` if it is not a step of Linux's history.
    pub step: Option<&'static str>,
}

impl Mechanism {
    /// The values that most mechanisms share. A mechanism names the others: `Mechanism { name: .., ..Mechanism::BASE
    /// }`.
    pub const BASE: Mechanism = Mechanism {
        name: "",
        way: CallSequence::Straight,
        switches: false,
        states: &[],
        sites: None,
        needs_assembly: None,
        known_from: "",
        summary: "",
        year: None,
        step: None,
    };
}

/// The reason why `D` is unavailable for `O` here; `None` if it is available.
///
/// ```
/// use pvbench::dispatch::{Table, unavailable};
/// use pvbench::op::irq::SaveFl;
///
/// assert_eq!(unavailable::<Table, SaveFl>(), None);
/// ```
#[must_use]
pub fn unavailable<D: Dispatch, O: Op>() -> Option<String> {
    D::unavailable()
        .or_else(|| D::META.needs_assembly.filter(|_| !O::ASSEMBLY).map(|why| no_assembly(why, O::META.name)))
}

/// Explains why a mechanism does not take an op whose body is not assembly.
pub(crate) fn no_assembly(why: &str, op: &str) -> String {
    format!("the body of {op} is a Rust function, but {why}; write the body with native!")
}

/// Index of the vtable's address in a reference to a trait object; the other word is the object's address. The language
/// does not promise this order; `tests/code/patch.rs` checks that methods are found there.
pub(crate) const VTABLE: usize = 1;

/// A way to reach the body of an op.
///
/// A type that implements it gets a column, next to the built-in mechanisms, in every table of a
/// [suite](crate::Suite::builder) that names it. An example is a mechanism that tests a flag and makes a call if
/// tracing is on:
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// use pvbench::dispatch::{Direct, Dispatch, Inline, Mechanism, CallSequence};
/// use pvbench::op::Op;
///
/// static TRACED: AtomicBool = AtomicBool::new(false);
///
/// struct Traced;
///
/// impl Dispatch for Traced {
///     const META: Mechanism = Mechanism {
///         name: "traced",
///         way: CallSequence::Own,
///         summary: "the body inline, after a test whether calls are traced",
///         known_from: "our driver",
///         ..Mechanism::BASE
///     };
///     #[inline(always)]
///     unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
///         if TRACED.load(Ordering::Relaxed) {
///             // SAFETY: `Direct::call` has the contract of this function, which the caller meets.
///             return unsafe { Direct::call::<O>(args) };
///         }
///         // SAFETY: `Inline::call` has the contract of this function, which the caller meets.
///         unsafe { Inline::call::<O>(args) }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not a mechanism", label = "implement `Dispatch` for it")]
pub trait Dispatch: 'static {
    /// Name and description.
    const META: Mechanism;

    /// The table that a call reads its target from, for a mechanism that has one: [`pointer`](Dispatch::pointer),
    /// [`data`](Dispatch::data) and [`bind`](Dispatch::bind) follow from it.
    const TABLE: Option<&'static Slots> = None;

    /// Calls the body that `O` is bound to and returns its result. It must be inlined into the call site, because the
    /// sequence that it leaves there is measured.
    ///
    /// # Safety
    /// As for [`Op::inline`]. If the mechanism switches, [`Dispatch::bind`] was called for `O` in this process.
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret;

    /// The reason why this mechanism is unavailable on this CPU or system; `None` if it is available.
    #[must_use]
    fn unavailable() -> Option<String> {
        None
    }

    /// The word that holds the address that a call of `O` goes to; `None` if there is none. Regimes with changing
    /// targets write it, and each layout writes it so that calls reach the body's copy. No other thread may write it or
    /// call through it meanwhile.
    #[must_use]
    #[inline(always)]
    fn pointer<O: Op>() -> Option<*mut usize> {
        Self::TABLE.map(|table| table.word(O::SLOT))
    }

    /// For a call of `O` through a vtable: the word that holds the vtable's address, and the number of words of the
    /// vtable that the call may need. Each layout writes the word so that calls reach the body's copy. No other thread
    /// may write it or call through it meanwhile.
    #[must_use]
    #[inline(always)]
    fn vtable<O: Op>() -> Option<(*mut usize, usize)> {
        None
    }

    /// The address and size in bytes of the data that a call reads. A copy of a whole caller gets a copy of this data
    /// at a random address, because the address of a flag or table changes a workload by percents. `None` if there is
    /// no such data, if it must not be copied byte for byte, or if code that is not copied reads it too.
    #[must_use]
    fn data() -> Option<(usize, usize)> {
        Self::TABLE.map(Slots::extent)
    }

    /// Binds `O` to a body for all later calls. No other thread may be in [`Dispatch::call`] of this
    /// mechanism meanwhile. Mechanisms that do not switch ignore it.
    fn bind<O: Op>(body: BodyKind) {
        if let Some(table) = Self::TABLE {
            table.bind::<O>(body);
        }
    }
}
