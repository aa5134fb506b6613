//! `dyn`: a trait object, Rust's own table of function pointers.
//!
//! Machine code: a load of the object and its vtable, then an indirect call through the vtable. The object is an extra
//! first argument.

use std::cell::UnsafeCell;
use std::marker::PhantomData;

use super::{CallSequence, Dispatch, Mechanism, VTABLE};
use crate::op::catalogue::SLOTS;
use crate::op::{Args, BodyKind, Op, Reg, Ret, xen_entry};

/// A trait like a HAL's, for an op of any signature.
pub(super) trait Hook: Sync {
    /// # Safety
    /// As for [`Op::inline`].
    unsafe fn call(&self, a: Reg, b: Reg, c: Reg, d: Reg) -> Reg;
}

struct Native<O>(PhantomData<fn(O)>);
struct Xen<O>(PhantomData<fn(O)>);

impl<O: Op> Hook for Native<O> {
    #[inline(never)]
    unsafe fn call(&self, a: Reg, b: Reg, c: Reg, d: Reg) -> Reg {
        // SAFETY: `O::inline` has the contract of this function, which the caller meets.
        unsafe { O::inline(O::Args::from_regs([a, b, c, d])).into_reg() }
    }
}

impl<O: Op> Hook for Xen<O> {
    #[inline(never)]
    unsafe fn call(&self, a: Reg, b: Reg, c: Reg, d: Reg) -> Reg {
        // SAFETY: `xen_entry` has the contract of this function, which the caller meets.
        unsafe { xen_entry::<O>(a, b, c, d) }
    }
}

/// The object in a slot that is not bound yet.
struct Unbound;

impl Hook for Unbound {
    unsafe fn call(&self, _: Reg, _: Reg, _: Reg, _: Reg) -> Reg {
        std::process::abort()
    }
}

/// A slot per op with the object whose method a call runs.
pub(super) struct Objects(UnsafeCell<[&'static dyn Hook; SLOTS]>);
// SAFETY: written only by `bind`, whose contract forbids calls on other threads meanwhile.
unsafe impl Sync for Objects {}

impl Objects {
    /// Returns slots of which none is bound.
    pub(super) const fn unbound() -> Self {
        Objects(UnsafeCell::new([&Unbound; SLOTS]))
    }

    /// Returns the object in a slot.
    ///
    /// # Safety
    /// No thread writes the slots meanwhile.
    #[inline(always)]
    pub(super) unsafe fn at(&self, slot: usize) -> &'static dyn Hook {
        // SAFETY: the pointer is that of a live cell, which no thread writes (contract of this function).
        unsafe { (*self.0.get())[slot] }
    }

    /// Returns the word of a slot that holds the address of the vtable. The vtable has four words: drop, size,
    /// alignment and the method.
    #[inline(always)]
    pub(super) fn vtable(&self, slot: usize) -> (*mut usize, usize) {
        let object = self.0.get().cast::<[usize; 2]>().wrapping_add(slot);
        (object.cast::<usize>().wrapping_add(VTABLE), 4)
    }

    /// Puts the object of a body into the slot of `O`.
    ///
    /// # Safety
    /// No thread reads or writes the slots meanwhile.
    pub(super) unsafe fn bind<O: Op>(&self, body: BodyKind) {
        let object: &'static dyn Hook = match body {
            BodyKind::Native => &Native::<O>(PhantomData),
            BodyKind::Xen => &Xen::<O>(PhantomData),
        };
        // SAFETY: the pointer is that of a live cell, which no other thread uses (contract of this function).
        unsafe { (*self.0.get())[O::SLOT] = object };
    }
}

static OBJECTS: Objects = Objects::unbound();

/// A call of a trait object's method.
pub struct Dyn;

impl Dispatch for Dyn {
    const META: Mechanism = Mechanism {
        name: "dyn",
        way: CallSequence::Indirect,
        switches: true,
        known_from: "C++ virtual functions; Rust trait objects",
        summary: "a method of a trait object",
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        // SAFETY: no thread writes the slots during a call; the body's contract is the caller's.
        unsafe { O::Ret::from_reg(OBJECTS.at(O::SLOT).call(a, b, c, d)) }
    }

    #[inline(always)]
    fn vtable<O: Op>() -> Option<(*mut usize, usize)> {
        Some(OBJECTS.vtable(O::SLOT))
    }

    fn data() -> Option<(usize, usize)> {
        Some((&raw const OBJECTS as usize, size_of::<Objects>()))
    }

    fn bind<O: Op>(body: BodyKind) {
        // SAFETY: no call runs meanwhile (contract of `bind`).
        unsafe { OBJECTS.bind::<O>(body) };
    }
}
