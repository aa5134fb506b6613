//! A bound on the work that debug information may cause.
//!
//! A few bytes can refer to the same table a million times. So every step and every kept byte is counted, and both have
//! a limit that follows from the size of the sections. Real debug information needs a tenth of it.

use std::cell::Cell;

/// Steps per byte of debug information: attributes, rows, ranges. Compilers make at most two per byte.
const STEPS_PER_BYTE: u64 = 24;
/// Steps that the smallest debug information may take.
const MIN_STEPS: u64 = 1 << 20;
/// Largest size of the tables that are kept, in bytes. Half of it is enough for a program of 500 MB.
const MAX_KEPT_BYTES: u64 = 512 << 20;

/// The steps and bytes that reading may still take.
#[derive(Debug)]
pub(super) struct Work {
    steps: Cell<u64>,
    bytes: Cell<u64>,
}

impl Work {
    /// For sections of this size.
    pub(super) fn new(section_bytes: u64) -> Self {
        let steps = section_bytes.saturating_mul(STEPS_PER_BYTE).saturating_add(MIN_STEPS);
        Work { steps: Cell::new(steps), bytes: Cell::new(MAX_KEPT_BYTES) }
    }

    /// Takes steps; `None` if too few are left.
    pub(super) fn step(&self, steps: usize) -> Option<()> {
        take(&self.steps, steps)
    }

    /// Takes bytes that are kept; `None` if too few are left.
    pub(super) fn keep(&self, bytes: usize) -> Option<()> {
        take(&self.bytes, bytes)
    }

    /// Adds the steps for more sections: those of a split file.
    pub(super) fn extend(&self, section_bytes: u64) {
        self.steps.set(self.steps.get().saturating_add(section_bytes.saturating_mul(STEPS_PER_BYTE)));
    }
}

fn take(left: &Cell<u64>, amount: usize) -> Option<()> {
    let rest = left.get().checked_sub(u64::try_from(amount).ok()?);
    // Nothing is left behind for a smaller amount: the tables would have gaps in one part and not in the next.
    left.set(rest.unwrap_or(0));
    rest.map(|_| ())
}
