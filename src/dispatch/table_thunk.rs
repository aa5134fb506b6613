//! `table_thunk`: a callee-save call site whose callee is a C function in a thunk (`PV_CALLEE_SAVE_REGS_THUNK`,
//! `arch/x86/include/asm/paravirt.h`). A hypervisor that writes its hook in C has this call.
//!
//! Machine code: as `table_callee_save`; the callee is eight pushes, a call of the body, eight pops and a return.

use super::callee_save::{self, CALLEE_SAVE, THUNK};
use super::{CallSequence, Dispatch, Mechanism, Slots};
use crate::op::callee_save::{thunk, xen_thunk};
use crate::op::{Body, BodyKind, Op};

/// An indirect call through the table, of a thunk that saves registers around a C function.
pub struct TableThunk;

impl Dispatch for TableThunk {
    const META: Mechanism = Mechanism {
        name: "table_thunk",
        way: CallSequence::IndirectMemory,
        switches: true,
        states: &[],
        sites: None,
        known_from: "Linux 2.6.30 (2009), PV_CALLEE_SAVE_REGS_THUNK",
        summary: "the table, to a thunk that pushes and pops eight registers around a C function",
        year: Some(2009),
        step: Some("a C function behind a callee-save site, in a thunk"),
        ..Mechanism::BASE
    };
    const TABLE: Option<&'static Slots> = Some(&CALLEE_SAVE[THUNK]);

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        // SAFETY: `callee_save::call` needs a table of bodies that save registers, which `bind` stores, and the
        // contract of this function.
        unsafe { callee_save::call::<O, THUNK>(args) }
    }

    fn data() -> Option<(usize, usize)> {
        Some((&raw const CALLEE_SAVE as usize, size_of_val(&CALLEE_SAVE)))
    }

    fn bind<O: Op>(body: BodyKind) {
        let thunk: Body = match body {
            BodyKind::Native => thunk::<O>(),
            BodyKind::Xen => xen_thunk::<O>,
        };
        CALLEE_SAVE[THUNK].set(O::SLOT, thunk as usize);
    }
}
