//! How this program was built.

use super::{Check, OPTIMISED};

/// What the compiler made of the code of so many ops.
#[must_use]
pub fn optimised(unoptimised: usize, instrumented: usize, all: usize) -> Check {
    let how = match (unoptimised, instrumented) {
        (0, 0) => return Check::ok(OPTIMISED, "optimised code, without instrumentation"),
        (0, ops) => format!("the code of {ops} of {all} ops counts what runs (-C instrument-coverage)"),
        (ops, _) => format!("the code of {ops} of {all} ops is not optimised (opt-level 0), or a sanitizer's"),
    };
    Check::warning(
        OPTIMISED,
        format!("{how}: what a mechanism costs there is not what it costs in a release build"),
        "build with --release or cargo bench, opt-level 1 at least, and without RUSTFLAGS for coverage or sanitizers",
    )
}
