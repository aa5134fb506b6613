//! Tables with a function pointer per op, which mechanisms call through.

use std::sync::atomic::{AtomicPtr, Ordering};

use crate::op::catalogue::SLOTS;
use crate::op::{BodyKind, Op};

/// A table of bodies, one word per slot. Assembly reads it as plain words: `table + 8*slot`.
///
/// A mechanism of a user's own can keep its function pointers in one, `static POINTERS: Slots = Slots::new();`, and
/// name it as its [`Dispatch::TABLE`](super::Dispatch::TABLE).
#[repr(C, align(64))]
pub struct Slots([AtomicPtr<()>; SLOTS]);

impl Slots {
    /// Makes a table with nothing bound. A call through it aborts instead of going to address 0.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "a table is a static")]
    pub const fn new() -> Self {
        Slots([const { AtomicPtr::new(unbound as *mut ()) }; SLOTS])
    }

    /// The word of a slot. `slot` is below [`SLOTS`].
    #[inline(always)]
    #[must_use]
    pub const fn word(&self, slot: usize) -> *mut usize {
        self.0[slot].as_ptr().cast()
    }

    /// Its address and size in bytes: the [`Dispatch::data`](super::Dispatch::data) of a mechanism.
    #[must_use]
    pub fn extent(&self) -> (usize, usize) {
        (std::ptr::from_ref(self) as usize, size_of::<Self>())
    }

    /// The address of the callee in a slot.
    #[inline(always)]
    #[must_use]
    pub fn load(&self, slot: usize) -> *mut () {
        self.0[slot].load(Ordering::Relaxed)
    }

    /// Stores the address of a callee in a slot.
    pub fn set(&self, slot: usize, callee: usize) {
        self.0[slot].store(callee as *mut (), Ordering::Relaxed);
    }

    /// Stores the address of a body of `O` in its slot.
    pub fn bind<O: Op>(&self, body: BodyKind) {
        self.set(O::SLOT, body.callee::<O>() as usize);
    }
}

/// The callee of a slot that is not bound yet.
extern "C" fn unbound() {
    std::process::abort();
}
