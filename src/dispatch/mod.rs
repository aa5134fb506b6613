//! Mechanisms: the ways from a call site to a body.
//!
//! A mechanism is a type that implements [`Dispatch`], once for all ops; the compiler makes one call sequence per pair.

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
pub use plt::{GOT_PLT, Plt};
pub use retpoline::{Retpoline, RetpolineLfence, thunks};
pub use site::Site;
pub use site_callee_save::SiteCalleeSave;
pub use slots::Slots;
pub use static_call::{StaticCall, StaticCallInline, trampoline_of};
pub use table::{PV_OPS, Table};
pub use table_callee_save::TableCalleeSave;
pub use table_thunk::TableThunk;

/// What machine code a mechanism stands for: what a test finds when it decodes the loop.
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
    /// A compare and a conditional branch around a call that native does not take.
    Branch,
    /// A 5-byte NOP in front of the native instructions.
    Nop,
    /// `call rel32` to a `jmp rel32` to the body.
    Trampoline,
    /// A load of the slot into `r11` and a direct call of a thunk that goes there.
    Thunk,
    /// A check of the hash before the callee, then an indirect call.
    CallerCheck,
    /// An indirect call of a preamble that checks the hash.
    CalleeCheck,
    /// `call rel32` to a stub that is `jmp [rip+word]` to the body, with nothing or an `endbr64` in front.
    Plt,
    /// `call [rip+word]`, the word in a global offset table.
    Got,
    /// The pointer is loaded, compared with known functions of which the native body is the last, and called directly
    /// where it is one of them, indirectly where not.
    CompareTree,
    /// As its author says: a mechanism of a user's own.
    Own,
}

impl CallSequence {
    /// In words.
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

/// What is said of a mechanism beside its code.
///
/// ```
/// use pvbench::dispatch::{Mechanism, CallSequence};
///
/// const TRACED: Mechanism = Mechanism {
///     name: "traced",
///     way: CallSequence::Own,
///     summary: "the body in place, after a test whether calls are traced",
///     known_from: "our driver",
///     ..Mechanism::BASE
/// };
/// assert!(!TRACED.switches && TRACED.states.is_empty());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Mechanism {
    /// Its name in commands and reports.
    pub name: &'static str,
    /// The machine code it must produce.
    pub way: CallSequence,
    /// Whether it can be switched to the Xen body at run time.
    pub switches: bool,
    /// The states its sites can be brought into at run time; empty where there is nothing to patch. Which of them an op
    /// has, [`crate::patch::rules`] say.
    pub states: &'static [State],
    /// How its sites are recorded; absent where there are none.
    pub sites: Option<SiteKind>,
    /// Why it takes bodies that are assembly ([`Op::ASSEMBLY`]), in a line; absent where it takes any.
    pub needs_assembly: Option<&'static str>,
    /// Since when and where it is used.
    pub known_from: &'static str,
    /// What it is, in a line.
    pub summary: &'static str,
    /// The year in which it became Linux's way; absent where it is no step of Linux's history.
    pub year: Option<u16>,
    /// What changed with it, in a line; absent where it is no step of Linux's history.
    pub step: Option<&'static str>,
}

impl Mechanism {
    /// What most mechanisms share; one names what differs: `Mechanism { name: .., ..Mechanism::BASE }`.
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

/// Why `D` cannot be had for `O` here; `None` where it can.
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

/// Says why a mechanism does without an op whose body is no assembly.
pub(crate) fn no_assembly(why: &str, op: &str) -> String {
    format!("the body of {op} is a Rust function: {why}; write it by native!")
}

/// Which word of a reference to a trait object is its vtable's address, the other being the object's. The language does
/// not promise it; `tests/code/patch.rs` sees to it that methods are found there.
pub(crate) const VTABLE: usize = 1;

/// A way to reach the body of an op.
///
/// Whoever implements it gets a column in every table of a [suite](crate::Suite::builder) that names it, beside the
/// built-in ones, for all ops. A mechanism that asks a flag whether tracing is on, and then calls:
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
///         summary: "the body in place, after a test whether calls are traced",
///         known_from: "our driver",
///         ..Mechanism::BASE
///     };
///     #[inline(always)]
///     unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
///         if TRACED.load(Ordering::Relaxed) {
///             // SAFETY: the caller's contract.
///             return unsafe { Direct::call::<O>(args) };
///         }
///         // SAFETY: the caller's contract.
///         unsafe { Inline::call::<O>(args) }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is no mechanism", label = "implement `Dispatch` for it")]
pub trait Dispatch: 'static {
    /// Name and description.
    const META: Mechanism;

    /// Reaches the body of `O` that is bound now and returns its result. To be inlined into the call site: what is
    /// measured is the sequence that this leaves there.
    ///
    /// # Safety
    /// As for [`Op::inline`]. For mechanisms that switch, [`Dispatch::bind`] was called for `O` in this process.
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret;

    /// Why this mechanism cannot be had here, where a CPU or a system lacks what it needs; `None` where it can.
    #[must_use]
    fn unavailable() -> Option<String> {
        None
    }

    /// The word that a call of `O` goes through, where there is one and it holds the address that is called: what a
    /// regime with changing targets writes, and what is written so that calls reach the body at its place in a layout.
    /// Nobody else may write or call through it meanwhile.
    #[must_use]
    #[inline(always)]
    fn pointer<O: Op>() -> Option<*mut usize> {
        None
    }

    /// The word that holds the address of a table of functions, and how many words of that a call of `O` may need,
    /// where it goes through one: the vtable of a trait object. It is written so that calls reach the body at its place
    /// in a layout. Nobody else may write or call through it meanwhile.
    #[must_use]
    #[inline(always)]
    fn vtable<O: Op>() -> Option<(*mut usize, usize)> {
        None
    }

    /// Where the data is that a call reads, and how many bytes: what a copy of a whole caller has a copy of, at a place
    /// that is drawn, for where a linker puts a flag or a table moves a workload by percents. `None` where there is
    /// none, where it may not be copied byte for byte, or where somebody else reads it, too, who is not copied.
    #[must_use]
    fn data() -> Option<(usize, usize)> {
        None
    }

    /// Binds `O` to a platform's body for all later calls. Not to be called while another thread is in
    /// [`Dispatch::call`] of this mechanism. Mechanisms that do not switch ignore it.
    fn bind<O: Op>(_platform: BodyKind) {}
}
