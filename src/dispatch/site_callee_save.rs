//! `site_callee_save`: a callee-save pv_ops call site, rewritten at run time (`PVOP_CALLEE0..2` with `apply_paravirt()`):
//! what Linux has made of its hot hooks since 2.6.30.
//!
//! Machine code: unpatched as `table_callee_save`, with NOPs up to the length of the native instructions; patched, those
//! instructions, NOPs, or `call rel32`. In every state only `rax` and the flags are given up.

use std::arch::asm;

use super::record::{fill, record};
use super::{Dispatch, Mechanism, PV_OPS_CALLEE_SAVE, Platform, TableCalleeSave, Way};
use crate::op::{Args, Op, Reg, Ret};
use crate::patch::{Kind, State};

/// A patched call site that keeps its registers.
pub struct SiteCalleeSave;

impl Dispatch for SiteCalleeSave {
    const META: Mechanism = Mechanism {
        name: "site_callee_save",
        way: Way::IndirectMemory,
        switches: true,
        states: &[State::Unpatched, State::Direct, State::Inline, State::Nop],
        known_from: "Linux 2.6.30 (2009), PVOP_CALLEE and apply_paravirt()",
        summary: "a pv_ops call site that is rewritten at run time and gives up rax alone",
        year: Some(2009),
        step: Some("callee-save sites rewritten at boot"),
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: in every state the site ends in a body of `O` that changes nothing but `rax` and the flags: patching
        // refuses instructions that do. The block does not claim `nostack`, for it may push.
        unsafe {
            asm!("771: call qword ptr [rip + {pv_ops} + {offset}]", fill!(), "772:", record!(),
                pv_ops = sym PV_OPS_CALLEE_SAVE, offset = const O::SLOT * 8, length = const O::META.site,
                used = const 6, slot = const O::SLOT, kind = const Kind::PvCalleeSave as u8,
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result);
            O::Ret::from_reg(result)
        }
    }

    /// The slot that unpatched sites go through; `table_callee_save`'s, too.
    fn bind<O: Op>(platform: Platform) {
        TableCalleeSave::bind::<O>(platform);
    }
}
