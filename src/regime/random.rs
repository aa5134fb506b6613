//! Targets that change.

use std::cell::UnsafeCell;

use crate::dispatch::Dispatch;
use crate::op::{Args, Op, Ret};

/// How many draws there are before the order begins again: more than a predictor can remember.
pub const DRAWS: usize = 1 << 16;

/// Where the calls of [`random`](fn@random) go.
#[repr(C)]
pub struct TargetSequence {
    /// The callees to draw from.
    pub targets: [usize; 8],
    /// What was drawn, as places in `targets`.
    pub order: Box<[u8; DRAWS]>,
    /// How far the order has been gone through; wraps.
    pub at: u16,
}

struct Current(UnsafeCell<Option<TargetSequence>>);
// SAFETY: written and read by the one thread that measures.
unsafe impl Sync for Current {}

static CURRENT: Current = Current(UnsafeCell::new(None));

/// Sets the course, or changes it.
///
/// # Safety
/// Called by the one thread that runs [`random`](fn@random), and not from within it.
pub unsafe fn set_course(change: impl FnOnce(&mut Option<TargetSequence>)) {
    // SAFETY: the caller's contract.
    change(unsafe { &mut *CURRENT.0.get() });
}

/// Where mechanisms without a pointer write theirs, so that all loops do the same work.
struct Elsewhere(UnsafeCell<usize>);
// SAFETY: written by the one thread that measures, never read.
unsafe impl Sync for Elsewhere {}
static ELSEWHERE: Elsewhere = Elsewhere(UnsafeCell::new(0));

/// `repeat passes { 8 x: { slot = targets[order[at++]]; sink(call(launder(args))) } }`
///
/// Each call's target was stored to the mechanism's slot just before. `inline` stores to a word that nobody reads.
///
/// # Safety
/// As for [`throughput`](fn@super::throughput); a course is set whose targets are callees of `O` by this mechanism.
#[inline(never)]
pub unsafe extern "C" fn random<D: Dispatch, O: Op>(args: *const [u64; 4], passes: u64) -> u64 {
    // SAFETY: the caller's pointer.
    let args = O::Args::from_words(unsafe { *args });
    // SAFETY: this thread alone uses the course, and nothing called here changes it.
    let Some(sequence) = (unsafe { &mut *CURRENT.0.get() }) else { return 0 };
    let slot = D::pointer::<O>().unwrap_or(ELSEWHERE.0.get());
    let mut left = passes;
    let mut at = sequence.at;
    loop {
        // SAFETY: `Op::arguments` vouches for any number of calls; the slot takes callees of `O`.
        unsafe {
            once::<D, O>(args, sequence, slot, &mut at);
            once::<D, O>(args, sequence, slot, &mut at);
            once::<D, O>(args, sequence, slot, &mut at);
            once::<D, O>(args, sequence, slot, &mut at);
            once::<D, O>(args, sequence, slot, &mut at);
            once::<D, O>(args, sequence, slot, &mut at);
            once::<D, O>(args, sequence, slot, &mut at);
            once::<D, O>(args, sequence, slot, &mut at);
        }
        // Wrapping: a check for overflow would be measured, too.
        left = left.wrapping_sub(1);
        if left == 0 {
            sequence.at = at;
            return passes;
        }
    }
}

#[inline(always)]
unsafe fn once<D: Dispatch, O: Op>(args: O::Args, sequence: &TargetSequence, slot: *mut usize, at: &mut u16) {
    let drawn = sequence.order[usize::from(*at)] & 7;
    *at = at.wrapping_add(1);
    // SAFETY: the caller's slot and contract.
    unsafe {
        slot.write_volatile(sequence.targets[usize::from(drawn)]);
        D::call::<O>(args.launder()).sink();
    }
}
