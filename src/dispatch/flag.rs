//! `flag`: `if (xen) xen_op(); else native_op();`, the code of a kernel without pv_ops.
//!
//! Machine code: `cmp byte ptr [rip+xen], 0` and a conditional branch per call, as a C compiler makes it. The native
//! instructions are inline, and the Xen body is called out of line. The test is assembly, because a compiler that sees
//! the whole program may merge the tests of a loop.

use std::arch::asm;
use std::cell::UnsafeCell;

use super::{CallSequence, Dispatch, Mechanism};
use crate::op::{Args, BodyKind, Op, Ret, xen_entry};

struct Flagged(UnsafeCell<bool>);
// SAFETY: written only by `bind`, whose contract forbids calls on other threads meanwhile.
unsafe impl Sync for Flagged {}

/// Whether this machine is a Xen PV guest.
static XEN: Flagged = Flagged(UnsafeCell::new(false));

/// A conditional branch on a flag.
pub struct Flag;

impl Dispatch for Flag {
    const META: Mechanism = Mechanism {
        name: "flag",
        way: CallSequence::Branch,
        switches: true,
        known_from: "every `if (feature)`",
        summary: "if (xen) call the Xen body, else the native instructions inline",
        ..Mechanism::BASE
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        // SAFETY: reads the flag, which no thread writes during a call; the caller's contract is that of either body.
        unsafe {
            asm!("cmp byte ptr [rip + {xen}], 0", "jne {on_xen}", xen = sym XEN, on_xen = label {
                let [a, b, c, d] = args.into_regs();
                // SAFETY: `xen_entry` has the contract of this function, which the caller meets.
                return unsafe { O::Ret::from_reg(xen_entry::<O>(a, b, c, d)) };
            }, options(nostack, readonly));
            O::inline(args)
        }
    }

    fn data() -> Option<(usize, usize)> {
        Some((&raw const XEN as usize, size_of::<Flagged>()))
    }

    fn bind<O: Op>(body: BodyKind) {
        // SAFETY: no call runs meanwhile (contract of `bind`).
        unsafe { *XEN.0.get() = body == BodyKind::Xen };
    }
}
