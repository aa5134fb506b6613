//! `jump_label`: `if (static_branch_unlikely(&xen))`, a branch without a test (`arch_static_branch()`,
//! `arch/x86/include/asm/jump_label.h`).
//!
//! Machine code: a 5-byte NOP and the native instructions after it. With the key on, `jmp rel32` goes to a block out of
//! line that calls the body and jumps back.

use std::arch::asm;

use super::record::record;
use super::{CallSequence, Dispatch, Mechanism};
use crate::op::{Args, Op, Reg, Ret};
use crate::patch::{SiteKind, State};

/// A static key.
pub struct JumpLabel;

impl Dispatch for JumpLabel {
    const META: Mechanism = Mechanism {
        name: "jump_label",
        way: CallSequence::Nop,
        switches: true,
        states: &[State::Off, State::On],
        sites: Some(SiteKind::JumpLabel),
        known_from: "Linux 2.6.37 (2011), static keys",
        summary: "a NOP that becomes a jump to a call out of line",
        year: Some(2011),
        step: Some("a branch without a test: a NOP or a jump"),
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        // SAFETY: the first block is a NOP or a jump to the second. The second calls a body of `O` by the C ABI, whose
        // clobbers are declared; it may push and does not claim `nostack`.
        unsafe {
            asm!("771: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00", "772:", record!("{on}"),
                op = const O::META.hash(), slot = const O::SLOT, kind = const SiteKind::JumpLabel as u8, on = label {
                let [a, b, c, d] = args.into_regs();
                let result: Reg;
                // SAFETY: the block must declare what it changes: it calls a body of `O` by the C ABI, whose clobbers
                // are declared; it may push and does not claim `nostack`.
                unsafe {
                    asm!("771: call {body}", "772:", record!(), body = sym O::native,
                        op = const O::META.hash(), slot = const O::SLOT, kind = const SiteKind::Call as u8,
                        in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result, clobber_abi("C"));
                    return O::Ret::from_reg(result);
                }
            }, options(nomem, nostack, preserves_flags));
            O::inline(args)
        }
    }
}
