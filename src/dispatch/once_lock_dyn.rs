//! `once_lock_dyn`: a trait object in a `std::sync::OnceLock`, as in Rust programs that choose an implementation at
//! start: `static HAL: OnceLock<&'static dyn Hal>`. Every call first tests whether the lock is set.
//!
//! Machine code: a load and compare of the lock's state, a branch, a load of the object and its vtable, then an
//! indirect call through the vtable. The objects and methods are those of `dyn`. The lock holds one object per op, so
//! that each op can be bound on its own; a call reads the same words as from a lock with a single object.

use std::sync::OnceLock;

use super::dynamic::Objects;
use super::{CallSequence, Dispatch, Mechanism};
use crate::op::{Args, BodyKind, Op, Ret};

static OBJECTS: OnceLock<Objects> = OnceLock::new();

/// A call of a method of a trait object in a `OnceLock`.
pub struct OnceLockDyn;

impl Dispatch for OnceLockDyn {
    const META: Mechanism = Mechanism {
        name: "once_lock_dyn",
        way: CallSequence::Indirect,
        switches: true,
        known_from: "Rust 1.70 (2023), OnceLock<&'static dyn Trait>",
        summary: "a trait object in a OnceLock: a test whether it is set, then a method of the object",
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        let objects = OBJECTS.get_or_init(Objects::unbound);
        // SAFETY: no thread writes the slots during a call; the body's contract is the caller's.
        unsafe { O::Ret::from_reg(objects.at(O::SLOT).call(a, b, c, d)) }
    }

    /// The lock is set from here on: a suite asks for this word before any code is copied.
    #[inline(always)]
    fn vtable<O: Op>() -> Option<(*mut usize, usize)> {
        Some(OBJECTS.get_or_init(Objects::unbound).vtable(O::SLOT))
    }

    fn bind<O: Op>(body: BodyKind) {
        // SAFETY: no call runs meanwhile (contract of `bind`).
        unsafe { OBJECTS.get_or_init(Objects::unbound).bind::<O>(body) };
    }
}
