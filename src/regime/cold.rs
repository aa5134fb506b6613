//! Code that is not cached: the loop of [`throughput`](fn@super::throughput) as an unrolled chain.

use super::descriptor::Descriptor;
use crate::stats::effect::LOOSE;

/// Evicted from the predictors.
pub(super) const COLD: Descriptor = Descriptor {
    name: "cold",
    summary: "4,096 sites, each called once after the branch predictors were overrun",
    is_cold: true,
    tolerance: LOOSE,
    ..Descriptor::BASE
};

/// Evicted from the predictors, and flushed from the caches.
pub(super) const FLUSHED: Descriptor = Descriptor {
    name: "flushed",
    summary: "as cold, with the code also flushed from the caches",
    flushes_code: true,
    ..COLD
};
