//! `once_lock`: a table in a `std::sync::OnceLock`, as in Rust programs that choose functions at start. Every call
//! first tests whether the lock is set.
//!
//! Machine code: a load and compare of the lock's state, a branch, then an indirect call.

use std::mem::transmute;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::{CallSequence, Dispatch, Mechanism};
use crate::op::catalogue::SLOTS;
use crate::op::{Args, Body, BodyKind, Op, Ret};

type Pointers = [AtomicPtr<()>; SLOTS];

static POINTERS: OnceLock<Pointers> = OnceLock::new();

fn make_unset_table() -> Pointers {
    [const { AtomicPtr::new(std::ptr::null_mut()) }; SLOTS]
}

/// A call through a table in a `OnceLock`.
pub struct OnceLockTable;

impl Dispatch for OnceLockTable {
    const META: Mechanism = Mechanism {
        name: "once_lock",
        way: CallSequence::Indirect,
        switches: true,
        known_from: "Rust 1.70 (2023), std::sync::OnceLock",
        summary: "a table in a OnceLock: a test whether it is set, then an indirect call",
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let pointer = POINTERS.get_or_init(make_unset_table)[O::SLOT].load(Ordering::Relaxed);
        // SAFETY: `bind` stored a `Body` there, and the caller vouches that it ran.
        unsafe {
            let body: Body = transmute(pointer);
            O::Ret::from_reg(body(a, b, c, d))
        }
    }

    #[inline(always)]
    fn pointer<O: Op>() -> Option<*mut usize> {
        Some(POINTERS.get_or_init(make_unset_table)[O::SLOT].as_ptr().cast())
    }

    fn bind<O: Op>(body: BodyKind) {
        POINTERS.get_or_init(make_unset_table)[O::SLOT].store(body.callee::<O>() as *mut (), Ordering::Relaxed);
    }
}
