//! `enum`: a match on an enum of implementations, as the `enum_dispatch` crate generates it. The set of targets is
//! closed, so that each arm can be inlined.
//!
//! Machine code: a load of the discriminant, a compare and a branch per call; the native instructions inline.

use std::cell::UnsafeCell;

use super::{CallSequence, Dispatch, Mechanism};
use crate::op::{Args, BodyKind, Op, Ret, xen_entry};

/// All implementations.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Implementation {
    Native,
    Xen,
}

struct Chosen(UnsafeCell<Implementation>);
// SAFETY: written only by `bind`, whose contract forbids calls on other threads meanwhile.
unsafe impl Sync for Chosen {}

static CHOSEN: Chosen = Chosen(UnsafeCell::new(Implementation::Native));

/// A match on an enum.
pub struct Enum;

impl Dispatch for Enum {
    const META: Mechanism = Mechanism {
        name: "enum",
        way: CallSequence::Branch,
        switches: true,
        known_from: "Rust's enum_dispatch crate (2019)",
        summary: "a match on an enum of implementations",
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        // The load is volatile, so that every call reads the discriminant.
        // SAFETY: no thread writes the static during a call. The bodies' contract is the caller's.
        unsafe {
            match CHOSEN.0.get().read_volatile() {
                Implementation::Native => O::inline(args),
                Implementation::Xen => {
                    let [a, b, c, d] = args.into_regs();
                    O::Ret::from_reg(xen_entry::<O>(a, b, c, d))
                }
            }
        }
    }

    fn data() -> Option<(usize, usize)> {
        Some((&raw const CHOSEN as usize, size_of::<Chosen>()))
    }

    fn bind<O: Op>(body: BodyKind) {
        let implementation = match body {
            BodyKind::Native => Implementation::Native,
            BodyKind::Xen => Implementation::Xen,
        };
        // SAFETY: no call runs meanwhile (contract of `bind`).
        unsafe { *CHOSEN.0.get() = implementation };
    }
}
