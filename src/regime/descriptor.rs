//! The description of a regime, which each one has in its own file.

use super::{Loop, Loops};
use crate::stats::effect::CLOSE;

/// A regime as data. Code outside this folder consults it by the methods of [`Regime`](super::Regime).
pub(super) struct Descriptor {
    /// Its name in commands and reports.
    pub(crate) name: &'static str,
    /// Its description, in one line.
    pub(crate) summary: &'static str,
    /// The number of targets that a call's target is drawn from; `None` if the target does not change.
    pub(crate) targets: Option<usize>,
    /// Whether every site is executed once, after it was evicted.
    pub(crate) is_cold: bool,
    /// Whether the code is also flushed from the caches.
    pub(crate) flushes_code: bool,
    /// The factor within which the two windows of a loop in a block must agree.
    pub(crate) tolerance: f64,
    /// Its loop among those of a pair; `None` if the op has no such loop.
    pub(crate) select: fn(&Loops) -> Option<Loop>,
}

impl Descriptor {
    /// The values that most regimes share: one target, cached code, the loop of independent calls.
    pub(crate) const BASE: Descriptor = Descriptor {
        name: "",
        summary: "",
        targets: None,
        is_cold: false,
        flushes_code: false,
        tolerance: CLOSE,
        select: |loops| Some(loops.throughput),
    };
}
