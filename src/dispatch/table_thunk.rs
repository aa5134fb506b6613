//! `table_thunk`: a callee-save call site whose callee is a C function in a thunk (`PV_CALLEE_SAVE_REGS_THUNK`,
//! `arch/x86/include/asm/paravirt.h`): what a hypervisor gets that writes its hook in C.
//!
//! Machine code: as `table_callee_save`; the callee is eight pushes, a call of the body, eight pops and a return.

use std::arch::asm;

use super::callee_save::{native_thunk, xen_thunk};
use super::{Dispatch, Mechanism, Platform, Slots, Way};
use crate::op::{Args, Body, Op, Reg, Ret};

/// The table of thunks.
pub static PV_OPS_THUNK: Slots = Slots::new();

/// An indirect call through the table, of a thunk that saves registers around a C function.
pub struct TableThunk;

impl Dispatch for TableThunk {
    const META: Mechanism = Mechanism {
        name: "table_thunk",
        way: Way::IndirectMemory,
        switches: true,
        states: &[],
        known_from: "Linux 2.6.30 (2009), PV_CALLEE_SAVE_REGS_THUNK",
        summary: "the table, to a thunk that pushes and pops eight registers around a C function",
        year: Some(2009),
        step: Some("a C function behind a callee-save site, in a thunk"),
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: the slot holds a thunk that changes nothing but `rax` and the flags; the block does not claim
        // `nostack`.
        unsafe {
            asm!("call qword ptr [rip + {pv_ops} + {offset}]", pv_ops = sym PV_OPS_THUNK, offset = const O::SLOT * 8,
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result);
            O::Ret::from_reg(result)
        }
    }

    fn bind<O: Op>(platform: Platform) {
        let thunk: Body = match platform {
            Platform::Native => native_thunk::<O>,
            Platform::Xen => xen_thunk::<O>,
        };
        PV_OPS_THUNK.set(O::SLOT, thunk as usize);
    }
}
