//! Callees that save all registers but `rax`: what `PV_CALLEE_SAVE` sites may call (`struct paravirt_callee_save`,
//! `arch/x86/include/asm/paravirt_types.h`, since 2.6.30).

use std::arch::naked_asm;

use crate::op::{Body, Op, Reg, xen_entry};

/// Whether the native instructions of `O` spoil more than `rax` and the flags.
#[must_use]
pub fn spoils<O: Op>() -> bool {
    O::SCRATCH.iter().any(|register| *register != "rax")
}

/// The native body itself where it spoils nothing, as assembly does that was written for it
/// (`__PV_IS_CALLEE_SAVE`); a thunk around it otherwise.
pub fn native<O: Op>() -> Body {
    if spoils::<O>() { native_thunk::<O> } else { O::native }
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

/// The same around the Xen body, which is compiled code of this program: that also uses vector registers, which a kernel
/// does not, and wants the stack aligned. It is compiled for SSE, which leaves the upper halves alone.
///
/// # Safety
/// As for [`Op::native`].
#[unsafe(naked)]
pub unsafe extern "C" fn xen_thunk<O: Op>(_: Reg, _: Reg, _: Reg, _: Reg) -> Reg {
    naked_asm!(
        "push rcx", "push rdx", "push rsi", "push rdi", "push r8", "push r9", "push r10", "push r11",
        "sub rsp, 264",
        "movups [rsp], xmm0", "movups [rsp + 16], xmm1", "movups [rsp + 32], xmm2", "movups [rsp + 48], xmm3",
        "movups [rsp + 64], xmm4", "movups [rsp + 80], xmm5", "movups [rsp + 96], xmm6", "movups [rsp + 112], xmm7",
        "movups [rsp + 128], xmm8", "movups [rsp + 144], xmm9", "movups [rsp + 160], xmm10",
        "movups [rsp + 176], xmm11", "movups [rsp + 192], xmm12", "movups [rsp + 208], xmm13",
        "movups [rsp + 224], xmm14", "movups [rsp + 240], xmm15",
        "call {body}",
        "movups xmm0, [rsp]", "movups xmm1, [rsp + 16]", "movups xmm2, [rsp + 32]", "movups xmm3, [rsp + 48]",
        "movups xmm4, [rsp + 64]", "movups xmm5, [rsp + 80]", "movups xmm6, [rsp + 96]", "movups xmm7, [rsp + 112]",
        "movups xmm8, [rsp + 128]", "movups xmm9, [rsp + 144]", "movups xmm10, [rsp + 160]",
        "movups xmm11, [rsp + 176]", "movups xmm12, [rsp + 192]", "movups xmm13, [rsp + 208]",
        "movups xmm14, [rsp + 224]", "movups xmm15, [rsp + 240]",
        "add rsp, 264",
        "pop r11", "pop r10", "pop r9", "pop r8", "pop rdi", "pop rsi", "pop rdx", "pop rcx",
        "ret", ".balign 16, 0xcc", body = sym xen_entry::<O>)
}
