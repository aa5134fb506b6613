//! `alternative`: default code that is replaced if the CPU has a feature (`ALTERNATIVE`,
//! `arch/x86/include/asm/alternative.h`). Linux has patched pv_ops in this way since 6.8 (`ALT_NOT_XEN`).
//!
//! Machine code: `call rel32` to the default body and NOPs up to the length of the replacement. With the feature, the
//! native instructions replace it. The feature here is "not a Xen PV guest" (`X86_FEATURE_XENPV`, inverted).

use std::arch::asm;

use super::record::{fill, record};
use super::{CallSequence, Dispatch, Mechanism};
use crate::op::{Args, Op, Reg, Ret};
use crate::patch::{SiteKind, State};

/// A call that is replaced if a CPU feature is present.
pub struct Alternative;

impl Dispatch for Alternative {
    const META: Mechanism = Mechanism {
        name: "alternative",
        way: CallSequence::DirectCall,
        switches: true,
        states: &[State::Direct, State::Inline, State::Nop],
        sites: Some(SiteKind::Alternative),
        known_from: "Linux 2.6.12 (2005), alternative(); for pv_ops since 6.8 (2024)",
        summary: "a direct call that is replaced by instructions if the CPU has a feature",
        year: Some(2024),
        step: Some("pv_ops sites become alternatives"),
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let result: Reg;
        // SAFETY: a call of a body by the C ABI, whose clobbers are declared, or its instructions, which clobber less.
        unsafe {
            asm!("771: call {body}", fill!(), "772:", record!(), body = sym O::native,
                length = const O::META.site, used = const 5, op = const O::META.hash(), slot = const O::SLOT,
                kind = const SiteKind::Alternative as u8,
                in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, lateout("rax") result, clobber_abi("C"));
            O::Ret::from_reg(result)
        }
    }
}
