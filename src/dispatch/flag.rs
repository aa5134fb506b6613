//! `flag`: `if (xen) xen_op(); else native_op();`, what a kernel without pv_ops would write.
//!
//! Machine code: a compare with a byte in memory and a conditional branch per call; the native instructions in line,
//! the Xen body called out of line.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Dispatch, Mechanism, Platform, Way};
use crate::op::{Args, Op, Ret, xen_entry};

/// Whether this machine is a Xen PV guest. Atomic and relaxed: still one plain `cmp`, but one for every call; the test
/// of a plain static was seen hoisted out of the loop.
static XEN: AtomicBool = AtomicBool::new(false);

/// A conditional branch on a flag.
pub struct Flag;

impl Dispatch for Flag {
    const META: Mechanism = Mechanism {
        name: "flag",
        way: Way::Branch,
        switches: true,
        known_from: "every `if (feature)`",
        summary: "if (xen) call the Xen body, else the native instructions in place",
    };

    #[inline(always)]
    unsafe fn call<O: Op>(args: O::Args) -> O::Ret {
        // SAFETY: the caller's contract is that of either body.
        unsafe {
            if XEN.load(Ordering::Relaxed) {
                let [a, b, c, d] = args.into_regs();
                O::Ret::from_reg(xen_entry::<O>(a, b, c, d))
            } else {
                O::inline(args)
            }
        }
    }

    fn bind<O: Op>(platform: Platform) {
        XEN.store(platform == Platform::Xen, Ordering::Relaxed);
    }
}
