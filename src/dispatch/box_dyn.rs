//! `box_dyn`: a boxed closure per op, Rust's usual form of a hook that is set at run time.
//!
//! Machine code: a load of the box's two words, data and vtable, then an indirect call through the vtable. In contrast
//! to `dyn`, the box owns the closure, whose data pointer is the extra first argument.

use std::cell::UnsafeCell;

use super::{CallSequence, Dispatch, Mechanism, VTABLE};
use crate::op::catalogue::SLOTS;
use crate::op::{Args, BodyKind, Op, Reg, Ret, xen_entry};

type Hook = Box<dyn Fn(Reg, Reg, Reg, Reg) -> Reg + Sync>;

struct Hooks(UnsafeCell<[Option<Hook>; SLOTS]>);
// SAFETY: written only by `bind`, whose contract forbids calls on other threads meanwhile.
unsafe impl Sync for Hooks {}

static HOOKS: Hooks = Hooks(UnsafeCell::new([const { None }; SLOTS]));

/// A call of a boxed closure.
pub struct BoxDyn;

impl Dispatch for BoxDyn {
    const META: Mechanism = Mechanism {
        name: "box_dyn",
        way: CallSequence::Indirect,
        switches: true,
        known_from: "C++11 (2011) std::function; Rust 1.0 (2015) Box<dyn Fn>",
        summary: "a boxed closure set at run time",
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        let [a, b, c, d] = args.into_regs();
        // SAFETY: no thread writes the slots during a call, and the caller vouches that `bind` filled this one. The
        // body's contract is the caller's.
        unsafe {
            let hook = (*HOOKS.0.get())[O::SLOT].as_ref().unwrap_unchecked();
            O::Ret::from_reg(hook(a, b, c, d))
        }
    }

    /// The six words of the vtable: drop, size, alignment, and the methods of `FnOnce`, `FnMut` and `Fn`.
    #[inline(always)]
    fn vtable<O: Op>() -> Option<(*mut usize, usize)> {
        let slot = HOOKS.0.get().cast::<[usize; 2]>().wrapping_add(O::SLOT);
        Some((slot.cast::<usize>().wrapping_add(VTABLE), 6))
    }

    fn bind<O: Op>(body: BodyKind) {
        let hook: Hook = match body {
            BodyKind::Native => Box::new(|a, b, c, d| {
                // SAFETY: `O::inline` has the contract of `call`, which alone calls this.
                unsafe { O::inline(O::Args::from_regs([a, b, c, d])).into_reg() }
            }),
            BodyKind::Xen => Box::new(|a, b, c, d| {
                // SAFETY: `xen_entry` has the contract of `call`, which alone calls this.
                unsafe { xen_entry::<O>(a, b, c, d) }
            }),
        };
        // SAFETY: no call runs meanwhile (contract of `bind`).
        unsafe { (*HOOKS.0.get())[O::SLOT] = Some(hook) };
    }
}
