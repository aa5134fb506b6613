//! Traces: every instruction that a loop executes, in order, with its bytes at that time. They give exact counts
//! without a PMU.
//!
//! A [`Tracer`] runs copies of the straight stretches of code and emulates the branches between them. It needs no
//! ptrace, which containers and Yama refuse. A test checks every trace against single steps of the CPU (`tests/trace`),
//! a second implementation of [`Trace`].
//!
//! ```text
//! instructions per op = (executed(passes: 2) - executed(passes: 1)) / 8     with the loop's own decrement and branch
//! mix                 = the same by class of instruction                    without them
//! ```

mod blocks;
mod code;
mod emulate;
mod known;
mod mix;
mod record;
mod sequence;
mod state;
mod switch;
pub(crate) mod touched;

pub use blocks::Tracer;
pub use code::Step;
pub use known::{KNOWN_INSTRUCTIONS, known_code};
pub use sequence::{OneOp, Passes};

use crate::regime::Loop;
use crate::relocate::CodeError;

/// Instructions of one trace at most. Only Xen's pinning of whole page tables (`activate_mm`, `dup_mmap`) takes more.
pub const MAX_TRACE_INSTRUCTIONS: usize = 1 << 20;

/// Passes that run untraced before each recount of a loop whose passes differ; the loop is recounted once per entry.
/// With the three passes of a count these make steps of 4, 4, 5 and 5 passes, so that work which recurs every 2 to 8
/// passes does not meet each count alike.
const UNTRACED_PASSES_PER_RECOUNT: [u64; 4] = [1, 1, 2, 2];

/// Why a trace failed.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// There is another tracer of this kind in this process.
    #[error("this process already has a tracer of this kind; drop it first")]
    Busy,
    /// Code with a known count was traced wrongly.
    #[error(
        "this machine cannot be traced: {found} of {expected} known instructions were seen, as under valgrind, an \
         emulator or a debugger; run without it, or count under callgrind (cargo bench)"
    )]
    Miscounts {
        /// Number of instructions that the code executes.
        expected: usize,
        /// Number of instructions that were seen.
        found: usize,
    },
    /// The loop executes too many instructions.
    #[error(
        "the loop executes more than {limit} instructions; run fewer passes, and check that it does not wait \
         for anything"
    )]
    TooLong {
        /// Largest number of instructions.
        limit: usize,
    },
    /// Executed bytes do not decode.
    #[error("the instruction at {at:#x} does not decode: the code has changed, or the decoder is older than the CPU")]
    Undecodable {
        /// Address of the instruction.
        at: u64,
    },
    /// The code has a transfer of control that the tracer does not emulate.
    #[error(
        "the code at {at:#x} cannot be traced: it is a far transfer, a transaction, or out of reach; count under \
         callgrind (cargo bench)"
    )]
    Unfollowed {
        /// Address of the instruction.
        at: u64,
    },
    /// The code makes a system call that returns twice, the second time in a thread or process without a tracer.
    #[error(
        "the code at {at:#x} starts another thread or process, which is not traced; count with hardware \
         counters, or under callgrind"
    )]
    Starts {
        /// Address of the instruction.
        at: u64,
    },
    /// The memory for copies failed.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The reason of another implementation of [`Trace`].
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
    /// Passes execute different numbers of instructions.
    #[error(
        "the passes of the loop differ ({first} instructions in one, then {second}): it waits, or does some work in \
         some calls only; count more passes and take the mean"
    )]
    Unsteady {
        /// Instructions of one pass.
        first: i64,
        /// Instructions of a later pass.
        second: i64,
    },
}

/// A way to trace a loop.
pub trait Trace {
    /// Traces `run(args, passes)` from its first instruction to its return.
    ///
    /// # Safety
    /// `run` can be called with these arguments on this thread, and it returns. It does not handle SIGTRAP itself.
    ///
    /// # Errors
    /// If it executes more than [`MAX_TRACE_INSTRUCTIONS`], or cannot be traced. It has run to its end all the same.
    unsafe fn trace(&mut self, run: Loop, args: &[u64; 4], passes: u64) -> Result<Vec<Step>, TraceError>;

    /// Traces one pass and two passes, after one untraced pass that does the work of the first call.
    ///
    /// # Safety
    /// As for [`Trace::trace`].
    ///
    /// # Errors
    /// Those of [`Trace::trace`], and [`TraceError::Unsteady`] if passes differ in length.
    unsafe fn passes(&mut self, run: Loop, args: &[u64; 4]) -> Result<Passes, TraceError> {
        // SAFETY: `run` can be called with these arguments on this thread; the caller guarantees it.
        unsafe { run(args, 1) };
        // SAFETY: the contract of `pair` is that of `trace`, which this function's caller meets.
        let mut passes = unsafe { self.pair(run, args) }?;
        if passes.are_alike() {
            return Ok(passes);
        }
        // The passes executed different instructions; their counts may still be equal.
        let (first, mix) = (passes.instructions(), passes.count_mix());
        for shift in UNTRACED_PASSES_PER_RECOUNT {
            // SAFETY: `run` can be called with these arguments on this thread; the caller guarantees it.
            unsafe { run(args, shift) };
            // SAFETY: the contract of `pair` is that of `trace`, which this function's caller meets.
            let again = unsafe { self.pair(run, args) }?;
            let second = again.instructions();
            if first != second || first <= 0 {
                return Err(TraceError::Unsteady { first, second });
            }
            passes.has_equal_mixes &= again.count_mix() == mix;
        }
        Ok(passes)
    }

    /// Instructions per op, with an eighth of the loop's own instructions.
    ///
    /// # Safety
    /// As for [`Trace::trace`].
    ///
    /// # Errors
    /// Those of [`Trace::passes`].
    unsafe fn per_op(&mut self, run: Loop, args: &[u64; 4]) -> Result<f64, TraceError> {
        // SAFETY: the contract of `passes` is that of `trace`, which this function's caller meets.
        unsafe { self.passes(run, args) }.map(|passes| passes.per_op())
    }

    /// Traces one pass, and then two passes.
    ///
    /// # Safety
    /// As for [`Trace::trace`].
    ///
    /// # Errors
    /// Those of [`Trace::trace`].
    unsafe fn pair(&mut self, run: Loop, args: &[u64; 4]) -> Result<Passes, TraceError> {
        // SAFETY: this function's contract is that of `trace`, so its caller meets the contract of both calls.
        unsafe { Ok(Passes { one: self.trace(run, args, 1)?, two: self.trace(run, args, 2)?, has_equal_mixes: true }) }
    }
}
