//! `static_call` and `static_call_inline`: calls with their target in the code (`include/linux/static_call.h`,
//! `arch/x86/kernel/static_call.c`).
//!
//! Machine code: `call rel32` to a trampoline, one per op, that is `jmp rel32` to the body. With inline static calls
//! (`CONFIG_HAVE_STATIC_CALL_INLINE`) every site is rewritten to call the body itself. A site becomes a NOP if the body
//! does nothing, and `xor eax, eax` if it returns zero.

use std::arch::{asm, naked_asm};

use super::record::record;
use super::{CallSequence, Dispatch, Mechanism};
use crate::op::{Args, Op, Reg, Ret};
use crate::patch::{SiteKind, State};

/// `__SCT__name`: the trampoline.
///
/// # Safety
/// As for [`Op::native`].
#[unsafe(naked)]
unsafe extern "C" fn trampoline<O: Op>(_: Reg, _: Reg, _: Reg, _: Reg) -> Reg {
    // `jmp rel32` as bytes, because the assembler would choose a short jump. Linux recognises a trampoline by the `ud1`
    // after it (`ARCH_DEFINE_STATIC_CALL_TRAMP`).
    naked_asm!("771: .byte 0xe9", ".long {body} - . - 4", "772:", ".byte 0x0f, 0xb9, 0xcc", record!(),
        ".balign 16, 0xcc", body = sym O::native, op = const O::META.hash(), slot = const O::SLOT,
        kind = const SiteKind::Trampoline as u8)
}

/// A static call through its trampoline.
pub struct StaticCall;

impl Dispatch for StaticCall {
    const META: Mechanism = Mechanism {
        name: "static_call",
        way: CallSequence::Trampoline,
        switches: true,
        states: &[],
        sites: None,
        known_from: "Linux 5.10 (2020), static calls out of line",
        summary: "a direct call of a trampoline that jumps to the body",
        year: Some(2020),
        step: Some("the target in the code of a trampoline"),
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: the trampoline jumps to a body of `O`, which follows the C ABI, whose clobbers are declared.
        unsafe {
            asm!("call {trampoline}", trampoline = sym trampoline::<O>,
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result, clobber_abi("C"));
            O::Ret::from_reg(result)
        }
    }
}

/// A static call that is rewritten at every site.
pub struct StaticCallInline;

impl Dispatch for StaticCallInline {
    const META: Mechanism = Mechanism {
        name: "static_call_inline",
        way: CallSequence::Trampoline,
        switches: true,
        states: &[State::Direct, State::Inline, State::Nop],
        sites: Some(SiteKind::StaticCall),
        known_from: "Linux 5.10 (2020), CONFIG_HAVE_STATIC_CALL_INLINE",
        summary: "a call whose site is rewritten to call the body itself",
        year: Some(2020),
        step: Some("the target in the code of every site"),
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: through the trampoline or directly, the call reaches a body of `O`, which follows the C ABI, whose
        // clobbers are declared. Other code at the site does the same as the native body.
        unsafe {
            asm!("771: call {trampoline}", "772:", record!(), trampoline = sym trampoline::<O>,
                op = const O::META.hash(), slot = const O::SLOT, kind = const SiteKind::StaticCall as u8,
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result, clobber_abi("C"));
            O::Ret::from_reg(result)
        }
    }
}
