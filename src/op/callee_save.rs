//! Callees that save all registers but `rax`, for `PV_CALLEE_SAVE` sites (`struct paravirt_callee_save`,
//! `arch/x86/include/asm/paravirt_types.h`, since 2.6.30).

use std::arch::naked_asm;

use super::{Body, Op, Reg, xen_entry};

/// Whether the native instructions of `O` spoil more than `rax` and the flags.
#[must_use]
pub fn spoils<O: Op>() -> bool {
    O::SCRATCH.iter().any(|register| *register != "rax")
}

/// The native body itself if it spoils nothing, as assembly written for such sites does (`__PV_IS_CALLEE_SAVE`);
/// otherwise a thunk around it.
pub fn native<O: Op>() -> Body {
    if spoils::<O>() { thunk::<O>() } else { O::native }
}

/// A thunk around the native body, whichever registers the body spoils.
pub fn thunk<O: Op>() -> Body {
    if O::ASSEMBLY { native_thunk::<O> } else { compiled_thunk::<O> }
}

/// `PV_CALLEE_SAVE_REGS_THUNK` (`arch/x86/include/asm/paravirt.h`): every caller-saved register but `rax` is pushed
/// around the body.
///
/// # Safety
/// As for [`Op::native`].
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn native_thunk<O: Op>(_: Reg, _: Reg, _: Reg, _: Reg) -> Reg {
    naked_asm!(
        "push rcx", "push rdx", "push rsi", "push rdi", "push r8", "push r9", "push r10", "push r11",
        "call {body}",
        "pop r11", "pop r10", "pop r9", "pop r8", "pop rdi", "pop rsi", "pop rdx", "pop rcx",
        "ret", ".balign 16, 0xcc", body = sym O::native)
}

/// The same around the Xen body, which is compiled code of this program and needs the stack aligned to 16 bytes.
///
/// # Safety
/// As for [`Op::native`].
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn xen_thunk<O: Op>(_: Reg, _: Reg, _: Reg, _: Reg) -> Reg {
    naked_asm!(
        "push rcx", "push rdx", "push rsi", "push rdi", "push r8", "push r9", "push r10", "push r11",
        "sub rsp, 8", "call {body}", "add rsp, 8",
        "pop r11", "pop r10", "pop r9", "pop r8", "pop rdi", "pop rsi", "pop rdx", "pop rcx",
        "ret", ".balign 16, 0xcc", body = sym xen_entry::<O>)
}

/// The same around a compiled native body.
///
/// # Safety
/// As for [`Op::native`].
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn compiled_thunk<O: Op>(_: Reg, _: Reg, _: Reg, _: Reg) -> Reg {
    naked_asm!(
        "push rcx", "push rdx", "push rsi", "push rdi", "push r8", "push r9", "push r10", "push r11",
        "sub rsp, 8", "call {body}", "add rsp, 8",
        "pop r11", "pop r10", "pop r9", "pop r8", "pop rdi", "pop rsi", "pop rdx", "pop rcx",
        "ret", ".balign 16, 0xcc", body = sym O::native)
}
