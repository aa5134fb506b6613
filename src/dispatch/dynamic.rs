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
trait Hook: Sync {
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

struct Objects(UnsafeCell<[&'static dyn Hook; SLOTS]>);
// SAFETY: written only by `bind`, whose contract forbids calls on other threads meanwhile.
unsafe impl Sync for Objects {}

static OBJECTS: Objects = Objects(UnsafeCell::new([&Unbound; SLOTS]));

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
        unsafe {
            let object = (*OBJECTS.0.get())[O::SLOT];
            O::Ret::from_reg(object.call(a, b, c, d))
        }
    }

    /// The four words of the vtable: drop, size, alignment and the method.
    #[inline(always)]
    fn vtable<O: Op>() -> Option<(*mut usize, usize)> {
        let slot = OBJECTS.0.get().cast::<[usize; 2]>().wrapping_add(O::SLOT);
        Some((slot.cast::<usize>().wrapping_add(VTABLE), 4))
    }

    fn data() -> Option<(usize, usize)> {
        Some((&raw const OBJECTS as usize, size_of::<Objects>()))
    }

    fn bind<O: Op>(body: BodyKind) {
        let object: &'static dyn Hook = match body {
            BodyKind::Native => &Native::<O>(PhantomData),
            BodyKind::Xen => &Xen::<O>(PhantomData),
        };
        // SAFETY: no call runs meanwhile (contract of `bind`).
        unsafe { (*OBJECTS.0.get())[O::SLOT] = object };
    }
}
