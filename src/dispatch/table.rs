//! `table`: Linux's own call site before patching, an indirect call through a slot of the pv_ops table
//! (`PARAVIRT_CALL`, `arch/x86/include/asm/paravirt_types.h`).
//!
//! Machine code: exactly `call qword ptr [rip + pv_ops + 8*slot]` (`ff 15 disp32`), with the C clobber list.

use std::arch::asm;

use super::slots::Slots;
use super::{CallSequence, Dispatch, Mechanism};
use crate::op::{Args, Op, Reg, Ret};

/// `struct paravirt_patch_template pv_ops`
pub static PV_OPS: Slots = Slots::new();

/// An indirect call through the pv_ops table.
pub struct Table;

impl Dispatch for Table {
    const META: Mechanism = Mechanism {
        name: "table",
        way: CallSequence::IndirectMemory,
        switches: true,
        states: &[],
        sites: None,
        known_from: "Linux 2.6.20 (2007), an unpatched pv_ops site",
        summary: "an indirect call through the pv_ops table: call *pv_ops+off(%rip)",
        year: Some(2007),
        step: Some("pv_ops: every hook an indirect call through a table"),
        ..Mechanism::BASE
    };
    const TABLE: Option<&'static Slots> = Some(&PV_OPS);

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: the slot holds a body of `O`, which follows the C ABI. Its clobbers are declared, and the block does
        // not claim `nostack`.
        unsafe {
            asm!("call qword ptr [rip + {pv_ops} + {offset}]", pv_ops = sym PV_OPS, offset = const O::SLOT * 8,
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result, clobber_abi("C"));
            O::Ret::from_reg(result)
        }
    }
}
