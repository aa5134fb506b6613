//! Tables of callees that save all registers but `rax` (see [`crate::op::callee_save`]), and calls through them.

use std::arch::asm;

use super::slots::Slots;
use crate::op::{Args, Op, Reg, Ret};

/// The tables of callee-save hooks, at the indices [`SAVING`] and [`THUNK`].
pub static CALLEE_SAVE: [Slots; 2] = [Slots::new(), Slots::new()];
/// Index in [`CALLEE_SAVE`] of the table of callees that save registers themselves.
pub const SAVING: usize = 0;
/// Index in [`CALLEE_SAVE`] of the table of thunks around C functions.
pub const THUNK: usize = 1;

/// An indirect call through a slot of a table of [`CALLEE_SAVE`].
///
/// The call clobbers the vector registers, which a kernel does not use, because functions that the Xen bodies call may
/// use them.
///
/// # Safety
/// As for [`Op::inline`]; the slot holds a body of `O` that keeps the general registers but `rax`.
#[inline(always)]
pub unsafe fn call<O: Op, const TABLE: usize>(args: O::Args) -> O::Ret {
    let [a, b, c, d] = args.into_regs();
    let result: Reg;
    // SAFETY: the block must declare what it changes: the slot holds a body that saves all registers but `rax`
    // (contract); it may push, and the block does not claim `nostack`.
    unsafe {
        asm!("call qword ptr [rip + {tables} + {offset}]", tables = sym CALLEE_SAVE,
            offset = const TABLE * size_of::<Slots>() + O::SLOT * 8,
            in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
            out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _,
            out("xmm13") _, out("xmm14") _, out("xmm15") _, out("xmm16") _, out("xmm17") _, out("xmm18") _,
            out("xmm19") _, out("xmm20") _, out("xmm21") _, out("xmm22") _, out("xmm23") _, out("xmm24") _,
            out("xmm25") _, out("xmm26") _, out("xmm27") _, out("xmm28") _, out("xmm29") _, out("xmm30") _,
            out("xmm31") _, out("k1") _, out("k2") _, out("k3") _, out("k4") _, out("k5") _, out("k6") _, out("k7") _);
        O::Ret::from_reg(result)
    }
}
