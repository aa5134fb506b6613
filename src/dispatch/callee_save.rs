//! Callees that save all registers but `rax`: what `PV_CALLEE_SAVE` sites may call (`struct paravirt_callee_save`,
//! `arch/x86/include/asm/paravirt_types.h`, since 2.6.30).

use std::arch::{asm, naked_asm};

use super::slots::Slots;
use crate::op::{Args, Body, Op, Reg, Ret, xen_entry};

/// Whether the native instructions of `O` spoil more than `rax` and the flags.
#[must_use]
pub fn spoils<O: Op>() -> bool {
    O::SCRATCH.iter().any(|register| *register != "rax")
}

/// The native body itself where it spoils nothing, as assembly does that was written for it
/// (`__PV_IS_CALLEE_SAVE`); a thunk around it otherwise.
pub fn native<O: Op>() -> Body {
    if spoils::<O>() { thunk::<O>() } else { O::native }
}

/// A thunk around the native body, whatever that spoils.
pub fn thunk<O: Op>() -> Body {
    if O::ASSEMBLY { native_thunk::<O> } else { compiled_thunk::<O> }
}

/// `PV_CALLEE_SAVE_REGS_THUNK` (`arch/x86/include/asm/paravirt.h`): every caller-saved register but `rax` is pushed
/// around the body.
///
/// # Safety
/// As for [`Op::native`].
#[unsafe(naked)]
pub unsafe extern "C" fn native_thunk<O: Op>(_: Reg, _: Reg, _: Reg, _: Reg) -> Reg {
    naked_asm!(
        "push rcx", "push rdx", "push rsi", "push rdi", "push r8", "push r9", "push r10", "push r11",
        "call {body}",
        "pop r11", "pop r10", "pop r9", "pop r8", "pop rdi", "pop rsi", "pop rdx", "pop rcx",
        "ret", ".balign 16, 0xcc", body = sym O::native)
}

/// The same around the Xen body, which is compiled code of this program and wants the stack aligned to 16.
///
/// # Safety
/// As for [`Op::native`].
#[unsafe(naked)]
pub unsafe extern "C" fn xen_thunk<O: Op>(_: Reg, _: Reg, _: Reg, _: Reg) -> Reg {
    naked_asm!(
        "push rcx", "push rdx", "push rsi", "push rdi", "push r8", "push r9", "push r10", "push r11",
        "sub rsp, 8", "call {body}", "add rsp, 8",
        "pop r11", "pop r10", "pop r9", "pop r8", "pop rdi", "pop rsi", "pop rdx", "pop rcx",
        "ret", ".balign 16, 0xcc", body = sym xen_entry::<O>)
}

/// The same around a native body that is compiled.
///
/// # Safety
/// As for [`Op::native`].
#[unsafe(naked)]
pub unsafe extern "C" fn compiled_thunk<O: Op>(_: Reg, _: Reg, _: Reg, _: Reg) -> Reg {
    naked_asm!(
        "push rcx", "push rdx", "push rsi", "push rdi", "push r8", "push r9", "push r10", "push r11",
        "sub rsp, 8", "call {body}", "add rsp, 8",
        "pop r11", "pop r10", "pop r9", "pop r8", "pop rdi", "pop rsi", "pop rdx", "pop rcx",
        "ret", ".balign 16, 0xcc", body = sym O::native)
}

/// The tables of callee-save hooks: [`SAVING`] has callees that save by themselves, [`THUNK`] C functions in thunks.
pub static CALLEE_SAVE: [Slots; 2] = [Slots::new(), Slots::new()];
/// See [`CALLEE_SAVE`].
pub const SAVING: usize = 0;
/// See [`CALLEE_SAVE`].
pub const THUNK: usize = 1;

/// An indirect call through a slot of a table of [`CALLEE_SAVE`].
///
/// Vector registers are given up, which a kernel does not have: what the Xen bodies call may use them.
///
/// # Safety
/// As for [`Op::inline`]; the slot holds a body of `O` that keeps the general registers but `rax`.
#[inline(always)]
pub unsafe fn call<O: Op, const TABLE: usize>(args: O::Args) -> O::Ret {
    let [a, b, c, d] = args.into_regs();
    let result: Reg;
    // SAFETY: the caller's contract; the block does not claim `nostack`.
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
