//! `inline`: the body in place, as in a kernel without `CONFIG_PARAVIRT`. It is the reference of every overhead.
//!
//! Machine code: the native instructions and nothing else.

use super::{CallSequence, Dispatch, Mechanism};
use crate::op::Op;

/// The native instructions in place.
pub struct Inline;

impl Dispatch for Inline {
    const META: Mechanism = Mechanism {
        name: "inline",
        way: CallSequence::Straight,
        switches: false,
        known_from: "a kernel without CONFIG_PARAVIRT; a monomorphised Rust generic",
        summary: "the native instructions in place: the reference of every overhead",
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        // SAFETY: `O::inline` has the contract of this function, which the caller meets.
        unsafe { O::inline(args) }
    }
}
