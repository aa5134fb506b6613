//! `fn_pointer`: a call through a static function pointer in plain Rust, as in a HAL.
//!
//! Machine code: an indirect call through memory or through a register. The compiler decides which; it knows the
//! signature and chooses the registers.

use std::mem::transmute;

use super::{CallSequence, Dispatch, Mechanism, Slots};
use crate::op::{Args, Body, Op, Ret};

static POINTERS: Slots = Slots::new();

/// A call through a static function pointer in plain Rust.
pub struct FnPointer;

impl Dispatch for FnPointer {
    const META: Mechanism = Mechanism {
        name: "fn_pointer",
        way: CallSequence::Indirect,
        switches: true,
        known_from: "any HAL: a static function pointer",
        summary: "a call through a static function pointer in plain Rust",
        ..Mechanism::BASE
    };
    const TABLE: Option<&'static Slots> = Some(&POINTERS);

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        // A relaxed load is a plain `mov`. Unlike the load of a plain static, it must stay in the loop.
        let pointer = POINTERS.load(O::SLOT);
        // SAFETY: `bind` stored a `Body` there, and the caller vouches that it ran.
        unsafe {
            let body: Body = transmute(pointer);
            O::Ret::from_reg(body(a, b, c, d))
        }
    }
}
