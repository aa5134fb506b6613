//! `inline_clobber`: the native instructions in place, but the compiler must assume a C call: every caller-saved
//! register is lost. What remains of pv_ops' cost when a site is patched with the native instruction, for the register
//! allocation was done when the call was still there (`PVOP_CALL_CLOBBERS`, `arch/x86/include/asm/paravirt_types.h`).
//!
//! Machine code: the native instructions, no call, and whatever spills the clobbers force.

use super::{CallSequence, Dispatch, Mechanism};
use crate::op::Op;

/// The native instructions in place, with the clobber list of a call.
pub struct InlineClobber;

impl Dispatch for InlineClobber {
    const META: Mechanism = Mechanism {
        name: "inline_clobber",
        way: CallSequence::Straight,
        switches: false,
        known_from: "Linux 2.6.20, what a patched C-convention site amounts to",
        summary: "the native instructions in place, all caller-saved registers given up",
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        // SAFETY: the caller's contract is that of the body.
        unsafe { O::inline_clobber(args) }
    }
}
