//! `site_callee_save`: a callee-save pv_ops call site, rewritten at run time (`PVOP_CALLEE0..2` with
//! `apply_paravirt()`). Linux's hot hooks have been of this kind since 2.6.30.
//!
//! Machine code: unpatched as `table_callee_save`, with NOPs up to the length of the native instructions; patched,
//! those instructions, NOPs, or `call rel32`. In every state only `rax` and the flags are clobbered.

use std::arch::asm;

use super::callee_save::{CALLEE_SAVE, SAVING};
use super::record::{fill, record};
use super::slots::Slots;
use super::{CallSequence, Dispatch, Mechanism, TableCalleeSave};
use crate::op::{Args, BodyKind, Op, Reg, Ret};
use crate::patch::{SiteKind, State};

/// A patched call site that keeps its registers.
pub struct SiteCalleeSave;

impl Dispatch for SiteCalleeSave {
    const META: Mechanism = Mechanism {
        name: "site_callee_save",
        needs_assembly: Some("no compiler here makes a callee that keeps all registers but rax"),
        way: CallSequence::IndirectMemory,
        switches: true,
        states: &[State::Unpatched, State::Direct, State::Inline, State::Nop],
        sites: Some(SiteKind::PvCalleeSave),
        known_from: "Linux 2.6.30 (2009), PVOP_CALLEE and apply_paravirt()",
        summary: "a pv_ops call site that is rewritten at run time and clobbers only rax",
        year: Some(2009),
        step: Some("callee-save sites rewritten at boot"),
    };
    const TABLE: Option<&'static Slots> = TableCalleeSave::TABLE;

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: in every state the site executes a body of `O` that changes only `rax` and the flags; patching
        // refuses other instructions. The block does not claim `nostack`, because it may push.
        unsafe {
            asm!("771: call qword ptr [rip + {pv_ops} + {offset}]", fill!(), "772:", record!(),
                pv_ops = sym CALLEE_SAVE, offset = const SAVING * size_of::<Slots>() + O::SLOT * 8,
                length = const O::META.site, used = const 6, op = const O::META.hash(), slot = const O::SLOT,
                kind = const SiteKind::PvCalleeSave as u8,
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result,
                // As in `callee_save::call`.
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _, out("xmm16") _, out("xmm17") _,
                out("xmm18") _, out("xmm19") _, out("xmm20") _, out("xmm21") _, out("xmm22") _, out("xmm23") _,
                out("xmm24") _, out("xmm25") _, out("xmm26") _, out("xmm27") _, out("xmm28") _, out("xmm29") _,
                out("xmm30") _, out("xmm31") _, out("k1") _, out("k2") _, out("k3") _, out("k4") _, out("k5") _,
                out("k6") _, out("k7") _);
            O::Ret::from_reg(result)
        }
    }

    fn data() -> Option<(usize, usize)> {
        TableCalleeSave::data()
    }

    /// Writes the slot that unpatched sites call through; `table_callee_save` shares it.
    fn bind<O: Op>(body: BodyKind) {
        TableCalleeSave::bind::<O>(body);
    }
}
