//! What is wrong with a suite.

use crate::op::SLOTS;
use crate::patch::instructions::Unfit;

/// Why a suite was refused. Nothing was bound or patched.
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
    /// Neither ops nor workloads.
    #[error("suite {suite}: there is nothing to measure; name ops with .op::<..>()")]
    Empty {
        /// The suite.
        suite: &'static str,
    },
    /// A name that cannot be typed, or that the instrument has for itself.
    #[error(
        "{kind} '{}': a name has 1 to 64 letters, digits, '_', '-', '.' or ':' and does not begin with selftest_",
        name.escape_default()
    )]
    Name {
        /// `op`, `mechanism`, `workload` or `suite`.
        kind: &'static str,
        /// The name.
        name: &'static str,
    },
    /// A name twice.
    #[error("{kind} '{name}' is {}", twice(kind, first, second))]
    Twice {
        /// `op`, `mechanism` or `workload`.
        kind: &'static str,
        /// The name.
        name: &'static str,
        /// The type that has it first.
        first: &'static str,
        /// The type that has it, too.
        second: &'static str,
    },
    /// A slot twice.
    #[error(
        "ops {first} and {second} have the same slot, {slot}; give one of them another (`from N;` begins a list of \
         functions! behind another one)"
    )]
    SlotTwice {
        /// The slot.
        slot: usize,
        /// The op that has it first.
        first: String,
        /// The op that has it, too.
        second: String,
    },
    /// A slot that no table has.
    #[error(
        "op {op}: there is no slot {slot}: there are {SLOTS}, of which those below {} are the catalogue's; split the suite",
        crate::op::FIRST_USER_SLOT
    )]
    NoSlot {
        /// The op.
        op: &'static str,
        /// Its slot.
        slot: usize,
    },
    /// Instruction bytes that cannot be patched in.
    #[error("op {op}: {unfit}")]
    Instructions {
        /// The op.
        op: &'static str,
        /// What is wrong with them.
        unfit: Unfit,
    },
    /// The baseline is missing.
    #[error("the first mechanism is {first}; it must be inline, which all others are held against")]
    NoBaseline {
        /// What is first.
        first: String,
    },
    /// A workload calls an op that the suite does not have.
    #[error("workload {workload} calls {op}, which is no op of the suite; add it with .op::<..>()")]
    UnknownOp {
        /// The workload.
        workload: &'static str,
        /// The op.
        op: &'static str,
    },
}

/// What to do about one name: a type that is listed twice is no second type.
fn twice(kind: &str, first: &str, second: &str) -> String {
    match (first == second, kind) {
        (true, "mechanism") => format!("listed twice; leave {first} out (the built-in ones are there by themselves)"),
        (true, _) => format!("listed twice; leave one {first} out"),
        (false, _) => format!("there twice, as {first} and as {second}; give one of them another name"),
    }
}
