//! `fn_pointer`: what plain Rust makes of a static function pointer, as a HAL keeps it.
//!
//! Machine code: an indirect call, through memory or through a register, as the compiler sees fit; it knows the
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
        summary: "what plain Rust makes of a static function pointer",
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        // A relaxed load is a plain `mov`; it may not be moved out of a loop, as a plain static's could.
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

    fn bind<O: Op>(platform: BodyKind) {
        POINTERS[O::SLOT].store(platform.body::<O>() as *mut (), Ordering::Relaxed);
    }
}
