//! Check of the build of this program.

use super::{Check, OPTIMISED};

/// Checks that code is optimised and not instrumented, from the numbers of unoptimised, instrumented and all ops.
#[must_use]
pub fn optimised(unoptimised: usize, instrumented: usize, all: usize) -> Check {
    let how = match (unoptimised, instrumented) {
        (0, 0) => return Check::ok(OPTIMISED, "the code is optimised and not instrumented"),
        (0, ops) => format!("the code of {ops} of {all} ops is instrumented for coverage (-C instrument-coverage)"),
        (ops, _) => format!("the code of {ops} of {all} ops is not optimised (opt-level 0), or built with a sanitizer"),
    };
    Check::warning(
        OPTIMISED,
        format!("{how}; a mechanism has other costs than in a release build"),
        "loops and bodies access memory that a release build does not: overheads are far too large or too small",
        "`env -u RUSTFLAGS cargo build --release`, at opt-level 1 or higher",
    )
}
