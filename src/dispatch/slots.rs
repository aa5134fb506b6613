//! A function pointer per op, as the tables that mechanisms call through hold them.

use std::sync::atomic::{AtomicPtr, Ordering};

use crate::op::catalogue::SLOTS;
use crate::op::{BodyKind, Op};

/// A table of bodies, one word per slot, laid out as plain words for assembly to read: `table + 8*slot`.
///
/// What a mechanism of a user's own keeps its function pointers in: `static TABLE: Slots = Slots::new();`, written by
/// [`Slots::bind`] in its [`Dispatch::bind`](super::Dispatch::bind).
#[repr(C, align(64))]
pub struct Slots([AtomicPtr<()>; SLOTS]);

impl Slots {
    /// With nothing bound: a call through it aborts instead of going to address 0.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "a table is a static")]
    pub const fn new() -> Self {
        Slots([const { AtomicPtr::new(unbound as *mut ()) }; SLOTS])
    }

    /// The word of a slot, below [`SLOTS`].
    #[inline(always)]
    #[must_use]
    pub const fn word(&self, slot: usize) -> *mut usize {
        self.0[slot].as_ptr().cast()
    }

    /// Where it is, and how many bytes: a mechanism's [`Dispatch::data`](super::Dispatch::data).
    #[must_use]
    pub fn extent(&self) -> (usize, usize) {
        (std::ptr::from_ref(self) as usize, size_of::<Self>())
    }

    /// Has a slot lead to a callee.
    pub fn set(&self, slot: usize, callee: usize) {
        self.0[slot].store(callee as *mut (), Ordering::Relaxed);
    }

    /// Stores a platform's body of `O`.
    pub fn bind<O: Op>(&self, platform: BodyKind) {
        self.set(O::SLOT, platform.body::<O>() as usize);
    }
}

/// What a slot holds before it is bound.
extern "C" fn unbound() {
    std::process::abort();
}
