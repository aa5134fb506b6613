//! `table_callee_save`: an unpatched pv_ops call site whose callee saves all registers but `rax` (`PVOP_CALLEE0..2`,
//! `arch/x86/include/asm/paravirt_types.h`). Linux 2.6.30 changed its hot hooks to this kind, so that the compiler
//! keeps values in registers across the call.
//!
//! Machine code: `call qword ptr [rip + pv_ops + 8*slot]`, which clobbers `rax` and the flags. The callee is the native
//! instructions and a return, or a thunk if these clobber more.

use super::callee_save::{self, CALLEE_SAVE, SAVING};
use super::{CallSequence, Dispatch, Mechanism, Slots};
use crate::op::{BodyKind, Op};

/// An indirect call through the table, of a callee that saves registers.
pub struct TableCalleeSave;

impl Dispatch for TableCalleeSave {
    const META: Mechanism = Mechanism {
        name: "table_callee_save",
        needs_assembly: Some("no compiler here makes a callee that keeps all registers but rax"),
        way: CallSequence::IndirectMemory,
        switches: true,
        states: &[],
        sites: None,
        known_from: "Linux 2.6.30 (2009), PV_CALLEE_SAVE",
        summary: "the table, to a callee that saves all registers but rax",
        year: Some(2009),
        step: Some("hot hooks keep all registers but rax"),
    };
    const TABLE: Option<&'static Slots> = Some(&CALLEE_SAVE[SAVING]);

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        // SAFETY: `callee_save::call` needs a table of bodies that save registers, which `bind` stores, and the
        // contract of this function.
        unsafe { callee_save::call::<O, SAVING>(args) }
    }

    fn data() -> Option<(usize, usize)> {
        Some((&raw const CALLEE_SAVE as usize, size_of_val(&CALLEE_SAVE)))
    }

    fn bind<O: Op>(body: BodyKind) {
        CALLEE_SAVE[SAVING].set(O::SLOT, body.saving_callee::<O>() as usize);
    }
}
