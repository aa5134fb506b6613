//! Registers live across the call.

use std::arch::asm;

use super::descriptor::Descriptor;
use crate::dispatch::Dispatch;
use crate::op::{Args, Op, Ret};

pub(super) const PRESSURE: Descriptor = Descriptor {
    name: "pressure",
    summary: "eight values live in registers across every call",
    select: |loops| Some(loops.pressure),
    ..Descriptor::BASE
};

/// `v0..v7 live; repeat passes { 8 x: { touch(v0..v7); sink(call(launder(args))) } }`
///
/// `touch` is empty, but needs all eight values in registers and counts as a change of them. A mechanism that clobbers
/// the caller-saved registers must store and reload the values that do not fit into the callee-saved ones. A kernel
/// function with work of its own around the hook is in the same situation.
///
/// # Safety
/// As for [`throughput`](fn@super::throughput).
#[inline(never)]
pub unsafe extern "C" fn pressure<D: Dispatch, O: Op>(args: *const [u64; 4], passes: u64) -> u64 {
    // SAFETY: the caller's pointer.
    let args = O::Args::from_words(unsafe { *args });
    let (mut left, mut live) = (passes, [passes; 8]);
    loop {
        // SAFETY: `Op::arguments` vouches for any number of calls.
        unsafe {
            call_once::<D, O>(args, &mut live);
            call_once::<D, O>(args, &mut live);
            call_once::<D, O>(args, &mut live);
            call_once::<D, O>(args, &mut live);
            call_once::<D, O>(args, &mut live);
            call_once::<D, O>(args, &mut live);
            call_once::<D, O>(args, &mut live);
            call_once::<D, O>(args, &mut live);
        }
        // Wrapping, because a check for overflow would be part of the measurement.
        left = left.wrapping_sub(1);
        if left == 0 {
            return live.iter().fold(0, |sum, value| sum ^ value);
        }
    }
}

#[inline(always)]
unsafe fn call_once<D: Dispatch, O: Op>(args: O::Args, live: &mut [u64; 8]) {
    let [a, b, c, d, e, f, g, h] = live;
    // SAFETY: the block must declare what it changes: its template is a comment, and every operand stays unchanged in
    // one register.
    unsafe {
        asm!(
            "/* {0} {1} {2} {3} {4} {5} {6} {7} */",
            inout(reg) * a,
            inout(reg) * b,
            inout(reg) * c,
            inout(reg) * d,
            inout(reg) * e,
            inout(reg) * f,
            inout(reg) * g,
            inout(reg) * h,
            options(nomem, nostack, preserves_flags)
        );
    }
    // SAFETY: `D::call` has the contract of this function, which the caller meets.
    unsafe { D::call::<O>(args.launder()) }.sink();
}
