//! Errors of suites.

use crate::op::SLOTS;
use crate::patch::instructions::Unfit;

/// Why a suite was refused. No mechanism was bound, and no code was patched.
///
/// ```
/// use pvbench::{Suite, SuiteError};
///
/// let error = Suite::builder("none").build().unwrap_err();
/// assert_eq!(error, SuiteError::Empty { suite: "none" });
/// assert!(error.to_string().contains("name ops with .op::<..>()"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SuiteError {
    /// The suite has neither ops nor workloads.
    #[error("suite {suite} has nothing to measure; name ops with .op::<..>()")]
    Empty {
        /// The suite.
        suite: &'static str,
    },
    /// The name is invalid, or reserved for the instrument.
    #[error(
        "{kind} '{}' is not a valid name; use 1 to 64 letters, digits, '_', '-', '.' or ':', and no selftest_ \
         at the start",
        name.escape_default()
    )]
    Name {
        /// `op`, `mechanism`, `workload` or `suite`.
        kind: &'static str,
        /// The name.
        name: &'static str,
    },
    /// Two items have the same name.
    #[error("{kind} '{name}' is {}", describe_repeat(kind, first, second))]
    Twice {
        /// `op`, `mechanism` or `workload`.
        kind: &'static str,
        /// The name.
        name: &'static str,
        /// The first type with the name.
        first: &'static str,
        /// The second type with the name.
        second: &'static str,
    },
    /// Two ops have the same slot.
    #[error(
        "ops {first} and {second} have the same slot, {slot}; give one of them another slot (`from N;` starts a \
         functions! list at user slot N)"
    )]
    SlotTwice {
        /// The slot.
        slot: usize,
        /// The first op with the slot.
        first: String,
        /// The second op with the slot.
        second: String,
    },
    /// The slot does not exist.
    #[error(
        "op {op}: there is no slot {slot}; only slots below {SLOTS} exist, and those below {} belong to the \
         catalogue; split the suite",
        crate::op::FIRST_USER_SLOT
    )]
    NoSlot {
        /// The op.
        op: &'static str,
        /// Its slot.
        slot: usize,
    },
    /// The instruction bytes cannot be written over a site.
    #[error("op {op}: {unfit}")]
    Instructions {
        /// The op.
        op: &'static str,
        /// The reason.
        unfit: Unfit,
    },
    /// The first mechanism is not `inline`.
    #[error("the first mechanism is {first}; put inline first, because all others are compared with it")]
    NoBaseline {
        /// Name of the first mechanism.
        first: String,
    },
    /// A workload calls an op that the suite does not have.
    #[error("workload {workload} calls {op}, which the suite does not have; add it with .op::<..>()")]
    UnknownOp {
        /// The workload.
        workload: &'static str,
        /// The op.
        op: &'static str,
    },
}

/// The end of the message for a repeated name: one type listed twice, or two types with one name.
fn describe_repeat(kind: &str, first: &str, second: &str) -> String {
    match (first == second, kind) {
        (true, "mechanism") => format!("listed twice; leave {first} out (the built-in mechanisms are always included)"),
        (true, _) => format!("listed twice; leave one {first} out"),
        (false, _) => format!("defined twice, by {first} and by {second}; rename one of them"),
    }
}
