//! `table_callee_save`: an unpatched pv_ops call site whose callee saves all registers but `rax` (`PVOP_CALLEE0..2`,
//! `arch/x86/include/asm/paravirt_types.h`). Linux 2.6.30 made the hot ones of its hooks so: the compiler keeps values in
//! registers across the call.
//!
//! Machine code: `call qword ptr [rip + pv_ops + 8*slot]` with `rax` and the flags given up; the callee is the native
//! instructions and a return, or a thunk where these spoil more.

use std::arch::asm;

use super::{Dispatch, Mechanism, Platform, Slots, Way};
use crate::op::{Args, Op, Reg, Ret};

/// The table of callees that save their registers.
pub static PV_OPS_CALLEE_SAVE: Slots = Slots::new();

/// An indirect call through the table, of a callee that saves registers.
pub struct TableCalleeSave;

impl Dispatch for TableCalleeSave {
    const META: Mechanism = Mechanism {
        name: "table_callee_save",
        way: Way::IndirectMemory,
        switches: true,
        states: &[],
        known_from: "Linux 2.6.30 (2009), PV_CALLEE_SAVE",
        summary: "the table, to a callee that saves all registers but rax",
        year: Some(2009),
        step: Some("hot hooks keep all registers but rax"),
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: the slot holds a body of `O` that changes nothing but `rax` and the flags; the block does not claim
        // `nostack`.
        unsafe {
            asm!("call qword ptr [rip + {pv_ops} + {offset}]", pv_ops = sym PV_OPS_CALLEE_SAVE,
                offset = const O::SLOT * 8,
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result);
            O::Ret::from_reg(result)
        }
    }

    fn bind<O: Op>(platform: Platform) {
        PV_OPS_CALLEE_SAVE.set(O::SLOT, platform.saving_body::<O>() as usize);
    }
}
