//! `site`: Linux's pv_ops call site with the C clobber list, rewritten at run time (`apply_paravirt()`,
//! `arch/x86/kernel/alternative.c`).
//!
//! Machine code: unpatched `call qword ptr [rip + pv_ops + 8*slot]`, as in `table`, with NOPs up to the length of the
//! native instructions; patched, by Linux's rules, those instructions, NOPs, or `call rel32`. In every state the
//! registers of a C call are clobbered, because the compiler does not know of patching.

use std::arch::asm;

use super::record::{fill, record};
use super::{CallSequence, Dispatch, Mechanism, PV_OPS, Slots, Table};
use crate::op::{Args, Op, Reg, Ret};
use crate::patch::{SiteKind, State};

/// A patched call site.
pub struct Site;

impl Dispatch for Site {
    const META: Mechanism = Mechanism {
        name: "site",
        way: CallSequence::IndirectMemory,
        switches: true,
        states: &[State::Unpatched, State::Direct, State::Inline, State::Nop],
        sites: Some(SiteKind::Pv),
        known_from: "Linux 2.6.20 (2007), apply_paravirt()",
        summary: "a pv_ops call site that is rewritten at run time; C calling convention",
        year: Some(2007),
        step: Some("sites rewritten at boot: a direct call, the instructions themselves, or NOPs"),
        ..Mechanism::BASE
    };
    const TABLE: Option<&'static Slots> = Table::TABLE;

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: in every state the site executes a body of `O`: as a call by the C ABI, whose clobbers are declared,
        // or as its instructions, which clobber less. The block does not claim `nostack`, because both may push.
        unsafe {
            asm!("771: call qword ptr [rip + {pv_ops} + {offset}]", fill!(), "772:", record!(),
                pv_ops = sym PV_OPS, offset = const O::SLOT * 8, length = const O::META.site, used = const 6,
                op = const O::META.hash(), slot = const O::SLOT, kind = const SiteKind::Pv as u8,
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result, clobber_abi("C"));
            O::Ret::from_reg(result)
        }
    }
}
