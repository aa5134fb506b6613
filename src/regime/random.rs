//! Calls whose target changes before every call.

use std::cell::UnsafeCell;

use super::descriptor::Descriptor;
use crate::dispatch::Dispatch;
use crate::op::catalogue::Slot;
use crate::op::{Args, FIRST_USER_SLOT, Op, Ret};

pub(super) const RANDOM2: Descriptor = Descriptor {
    name: "random2",
    summary: "the target drawn from two before every call, in no order that can be learnt",
    targets: Some(2),
    select: |loops| loops.random,
    ..Descriptor::BASE
};
pub(super) const RANDOM4: Descriptor = Descriptor {
    name: "random4",
    summary: "the target drawn from four before every call",
    targets: Some(4),
    ..RANDOM2
};
pub(super) const RANDOM8: Descriptor = Descriptor {
    name: "random8",
    summary: "the target drawn from eight before every call",
    targets: Some(8),
    ..RANDOM2
};

/// Whether an op is measured with changing targets: a few ops of different shapes, and all user ops. Each loop is
/// another function to compile, and the body of the target hardly matters.
pub(super) const fn is_measured<O: Op>() -> bool {
    let few = [Slot::PteVal as usize, Slot::IrqDisable as usize, Slot::SetPte as usize, Slot::AllocPte as usize];
    let mut at = 0;
    while at < few.len() {
        if few[at] == O::SLOT {
            return true;
        }
        at += 1;
    }
    O::SLOT >= FIRST_USER_SLOT
}

/// Number of draws before the order repeats: more than a predictor can remember. `TargetSequence::at` has as many
/// values.
pub const DRAWS: usize = 1 << 16;

/// The order of the targets of [`random`](fn@random).
#[repr(C)]
pub struct TargetSequence {
    /// The addresses of the callees to draw from.
    pub targets: [usize; 8],
    /// The draws, as indices into `targets`.
    pub order: Box<[u8; DRAWS]>,
    /// The index of the next draw; wraps.
    pub at: u16,
}

struct Current(UnsafeCell<Option<TargetSequence>>);
// SAFETY: written and read by the one thread that measures.
unsafe impl Sync for Current {}

static CURRENT: Current = Current(UnsafeCell::new(None));

/// Sets or changes the target sequence of this process.
///
/// # Safety
/// Called by the one thread that runs [`random`](fn@random), and not from within it.
pub unsafe fn set_sequence(change: impl FnOnce(&mut Option<TargetSequence>)) {
    // SAFETY: a unique reference needs that no other one is in use: only this thread uses the sequence (contract), and
    // not from within `random`.
    change(unsafe { &mut *CURRENT.0.get() });
}

/// The word that mechanisms without a pointer write the target to, so that all loops do the same work.
struct UnreadSlot(UnsafeCell<usize>);
// SAFETY: written by the one thread that measures, never read.
unsafe impl Sync for UnreadSlot {}
static UNREAD_SLOT: UnreadSlot = UnreadSlot(UnsafeCell::new(0));

/// `repeat passes { 8 x: { slot = targets[order[at++]]; sink(call(launder(args))) } }`
///
/// Each call's target is stored to the mechanism's slot just before the call. `inline` stores to a word that no code
/// reads.
///
/// # Safety
/// As for [`throughput`](fn@super::throughput). A target sequence is set, and its targets are callees of `O` for this
/// mechanism.
#[inline(never)]
pub unsafe extern "C" fn random<D: Dispatch, O: Op>(args: *const [u64; 4], passes: u64) -> u64 {
    // SAFETY: the caller's pointer.
    let args = O::Args::from_words(unsafe { *args });
    // SAFETY: a unique reference needs that no other one is in use: only this thread uses the sequence, and no callee
    // of the loop does.
    let Some(sequence) = (unsafe { &mut *CURRENT.0.get() }) else { return 0 };
    let slot = D::pointer::<O>().unwrap_or(UNREAD_SLOT.0.get());
    let mut left = passes;
    let mut at = sequence.at;
    loop {
        // SAFETY: `Op::arguments` vouches for any number of calls; the slot takes callees of `O`.
        unsafe {
            call_once::<D, O>(args, sequence, slot, &mut at);
            call_once::<D, O>(args, sequence, slot, &mut at);
            call_once::<D, O>(args, sequence, slot, &mut at);
            call_once::<D, O>(args, sequence, slot, &mut at);
            call_once::<D, O>(args, sequence, slot, &mut at);
            call_once::<D, O>(args, sequence, slot, &mut at);
            call_once::<D, O>(args, sequence, slot, &mut at);
            call_once::<D, O>(args, sequence, slot, &mut at);
        }
        // Wrapping, because a check for overflow would be part of the measurement.
        left = left.wrapping_sub(1);
        if left == 0 {
            sequence.at = at;
            return passes;
        }
    }
}

#[inline(always)]
unsafe fn call_once<D: Dispatch, O: Op>(args: O::Args, sequence: &TargetSequence, slot: *mut usize, at: &mut u16) {
    let drawn = sequence.order[usize::from(*at)] & 7;
    *at = at.wrapping_add(1);
    // SAFETY: the caller's slot and contract.
    unsafe {
        slot.write_volatile(sequence.targets[usize::from(drawn)]);
        D::call::<O>(args.launder()).sink();
    }
}
