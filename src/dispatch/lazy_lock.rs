//! `lazy_lock`: a table in a `std::sync::LazyLock`, which makes it at the first access. Every access tests whether the
//! table exists.
//!
//! Machine code: a load and compare of the lock's state, a branch, then an indirect call. Unlike in `once_lock`, the
//! code that makes the table is inlined for every site, after the loop: a call of `Once::call` with its closure, and
//! the stack frame for it.

use std::mem::transmute;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::{CallSequence, Dispatch, Mechanism};
use crate::op::catalogue::SLOTS;
use crate::op::{Args, Body, BodyKind, Op, Ret};

type Pointers = [AtomicPtr<()>; SLOTS];

static POINTERS: LazyLock<Pointers> = LazyLock::new(|| [const { AtomicPtr::new(std::ptr::null_mut()) }; SLOTS]);

/// A call through a table in a `LazyLock`.
pub struct LazyLockTable;

impl Dispatch for LazyLockTable {
    const META: Mechanism = Mechanism {
        name: "lazy_lock",
        way: CallSequence::Indirect,
        switches: true,
        known_from: "Rust 1.80 (2024), std::sync::LazyLock; before it lazy_static and once_cell",
        summary: "a table in a LazyLock: a test whether it exists, then an indirect call",
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
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

    fn bind<O: Op>(body: BodyKind) {
        POINTERS[O::SLOT].store(body.callee::<O>() as *mut (), Ordering::Relaxed);
    }
}
