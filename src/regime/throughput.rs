//! Independent calls.

use super::descriptor::Descriptor;
use crate::dispatch::Dispatch;
use crate::op::{Args, Op, Ret};

pub(super) const THROUGHPUT: Descriptor =
    Descriptor { name: "throughput", summary: "independent calls, eight sites per pass", ..Descriptor::BASE };

/// `repeat passes { 8 x: sink(call(launder(args))) }`
///
/// # Safety
/// `args` points to arguments that [`Op::arguments`] made for this thread's CPU model; `passes` is at least 1.
#[inline(never)]
pub unsafe extern "C" fn throughput<D: Dispatch, O: Op>(args: *const [u64; 4], passes: u64) -> u64 {
    // SAFETY: the caller's pointer.
    let args = O::Args::from_words(unsafe { *args });
    let mut left = passes;
    loop {
        // SAFETY: `Op::arguments` vouches for any number of calls.
        unsafe {
            call_once::<D, O>(args);
            call_once::<D, O>(args);
            call_once::<D, O>(args);
            call_once::<D, O>(args);
            call_once::<D, O>(args);
            call_once::<D, O>(args);
            call_once::<D, O>(args);
            call_once::<D, O>(args);
        }
        // Wrapping, because a check for overflow would be part of the measurement.
        left = left.wrapping_sub(1);
        if left == 0 {
            return passes;
        }
    }
}

#[inline(always)]
unsafe fn call_once<D: Dispatch, O: Op>(args: O::Args) {
    // SAFETY: `D::call` has the contract of this function, which the caller meets.
    unsafe { D::call::<O>(args.launder()) }.sink();
}
