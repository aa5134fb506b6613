//! A dependent chain.

use std::arch::asm;

use super::descriptor::Descriptor;
use crate::dispatch::Dispatch;
use crate::op::{Args, Op, Ret};

pub(super) const LATENCY: Descriptor = Descriptor {
    name: "latency",
    summary: "each call's first argument depends on the result of the one before",
    select: |loops| loops.latency,
    ..Descriptor::BASE
};

/// `x = first argument; repeat passes { 8 x: x = feed(x, call(x, ..)) }`
///
/// If the result of an op is a valid argument (`META.chains`), `feed` is the result itself. For other ops that return a
/// value, `feed` is `x ^ r ^ r`: the argument keeps its value but waits for the result. These two instructions are the
/// same in every mechanism.
///
/// # Safety
/// As for [`throughput`](fn@super::throughput). The op takes an argument and returns a value.
#[inline(never)]
pub unsafe extern "C" fn latency<D: Dispatch, O: Op>(args: *const [u64; 4], passes: u64) -> u64 {
    // SAFETY: the caller's pointer.
    let args = O::Args::from_words(unsafe { *args });
    let mut x = args.first();
    let mut left = passes;
    loop {
        // SAFETY: `Op::arguments` vouches for any number of calls.
        unsafe {
            x = link::<D, O>(args, x);
            x = link::<D, O>(args, x);
            x = link::<D, O>(args, x);
            x = link::<D, O>(args, x);
            x = link::<D, O>(args, x);
            x = link::<D, O>(args, x);
            x = link::<D, O>(args, x);
            x = link::<D, O>(args, x);
        }
        // Wrapping, because a check for overflow would be part of the measurement.
        left = left.wrapping_sub(1);
        if left == 0 {
            return x;
        }
    }
}

#[inline(always)]
unsafe fn link<D: Dispatch, O: Op>(args: O::Args, x: u64) -> u64 {
    // SAFETY: `D::call` needs valid arguments, which the caller vouches for; the first one keeps a valid value: a
    // result that chains, or itself.
    let result = unsafe { D::call::<O>(args.with_first(x).launder()) }.value();
    if O::META.chains {
        return crate::op::regs::launder(result);
    }
    let mut x = x;
    // SAFETY: register arithmetic.
    unsafe { asm!("xor {0}, {1}", "xor {0}, {1}", inout(reg) x, in(reg) result, options(nomem, nostack)) };
    x
}
