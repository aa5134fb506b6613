//! `inline_clobber`: the native instructions in place, with the clobbers of a C call: the compiler assumes that every
//! caller-saved register is lost. This cost of pv_ops remains when a site is patched with the native instruction,
//! because registers were allocated for the call (`PVOP_CALL_CLOBBERS`, `arch/x86/include/asm/paravirt_types.h`).
//!
//! Machine code: the native instructions, no call, and the spills that the clobbers force.

use super::{CallSequence, Dispatch, Mechanism};
use crate::op::Op;

/// The native instructions in place, with the clobber list of a call.
pub struct InlineClobber;

impl Dispatch for InlineClobber {
    const META: Mechanism = Mechanism {
        name: "inline_clobber",
        way: CallSequence::Straight,
        switches: false,
        known_from: "Linux 2.6.20, a patched site with the C calling convention",
        summary: "the native instructions in place, with all caller-saved registers clobbered",
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        // SAFETY: `O::inline_clobber` has the contract of this function, which the caller meets.
        unsafe { O::inline_clobber(args) }
    }
}
