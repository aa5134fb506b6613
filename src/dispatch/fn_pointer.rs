//! `fn_pointer`: a call through a static function pointer in plain Rust, as in a HAL.
//!
//! Machine code: an indirect call through memory or through a register. The compiler decides which; it knows the
//! signature and chooses the registers.

use std::mem::transmute;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::{CallSequence, Dispatch, Mechanism};
use crate::op::catalogue::SLOTS;
use crate::op::{Args, Body, BodyKind, Op, Ret};

static POINTERS: [AtomicPtr<()>; SLOTS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; SLOTS];

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

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        // A relaxed load is a plain `mov`. Unlike the load of a plain static, it must stay in the loop.
        let pointer = POINTERS[O::SLOT].load(Ordering::Relaxed);
        // SAFETY: `bind` stored a `Body` there, and the caller vouches that it ran.
        unsafe {
            let body: Body = transmute(pointer);
            O::Ret::from_reg(body(a, b, c, d))
        }
    }

    #[inline(always)]
    fn pointer<O: Op>() -> Option<*mut usize> {
        Some(POINTERS[O::SLOT].as_ptr().cast())
    }

    fn data() -> Option<(usize, usize)> {
        Some((&raw const POINTERS as usize, size_of_val(&POINTERS)))
    }

    fn bind<O: Op>(body: BodyKind) {
        POINTERS[O::SLOT].store(body.callee::<O>() as *mut (), Ordering::Relaxed);
    }
}
