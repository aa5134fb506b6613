//! Which instructions a loop executes, one by one: exact counts without a PMU, and what they were.
//!
//! Two ways, neither of which needs ptrace, which containers and Yama refuse. A [`Tracer`] runs copies of the straight
//! stretches of code and carries out what is between them itself; it is fast. A [`Stepper`] has the CPU stop after
//! every instruction: slow (a trap and a signal each), but nothing is copied or emulated, so it is what the first is
//! held against. Both say the same ([`Trace`]): every executed instruction, in order, with its bytes at that time.
//!
//! ```text
//! instructions per op = (executed(passes: 2) - executed(passes: 1)) / 8        the loop's own decrement and branch included
//! ```

mod blocks;
mod code;
mod emulate;
mod known;
mod sequence;
mod state;
mod stepper;
mod stepping;
mod switch;

pub use blocks::{COUNT_LIMIT, Tracer};
pub use code::Step;
pub use sequence::{OneOp, Passes};
pub use stepper::Stepper;

use std::io::Error;

use crate::patch::CodeError;
use crate::regime::Loop;

/// Most instructions of one trace. Xen's pinning of whole page tables (`activate_mm`, `dup_mmap`) takes more.
pub const LIMIT: usize = 1 << 20;

/// How often a loop whose passes differ is counted again before its count is believed, and after how many passes each
/// time. With the three passes of a count these make steps of 4, 4, 5 and 5, so that work done every 2 to 8 passes does
/// not fall alike each time.
const RECOUNTS: [u64; 4] = [1, 1, 2, 2];

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// Two at a time.
    #[error("another trace is set up in this process; end it first")]
    Busy,
    /// The kernel refused a step of the set-up.
    #[error("cannot single-step: {step} was refused ({source}); count under callgrind instead (cargo bench)")]
    Refused {
        /// Which system call.
        step: &'static str,
        /// What it said.
        source: Error,
    },
    /// Known code was not stepped as it is executed.
    #[error(
        "this platform does not single-step: {found} of {expected} known instructions were seen, as under valgrind, an \
         emulator or a debugger; run without it, or count under callgrind (cargo bench)"
    )]
    Miscounts {
        /// How many it has.
        expected: usize,
        /// How many were seen.
        found: usize,
    },
    /// The record is full.
    #[error("the loop executes more than {limit} instructions; it waits for something, or needs fewer passes")]
    TooLong {
        /// What fits.
        limit: usize,
    },
    /// The steps stopped before the loop returned.
    #[error("the steps stopped after {after:#x}, before the loop returned; nothing in it may handle SIGTRAP or wait")]
    Lost {
        /// The last address that was seen.
        after: u64,
    },
    /// An instruction in between was not seen.
    #[error(
        "{next:#x} was executed after {after:#x}, which does not lead there: a step was lost; count under callgrind"
    )]
    Gap {
        /// The last instruction before the gap.
        after: u64,
        /// The first after it.
        next: u64,
    },
    /// Executed bytes that do not decode.
    #[error(
        "what was executed at {at:#x} does not decode; the code changed since, or the decoder is older than the CPU"
    )]
    Undecodable {
        /// Where.
        at: u64,
    },
    /// A transfer of control that is not known here.
    #[error(
        "the code at {at:#x} cannot be followed: a far transfer, a transaction, or out of reach; trace by single steps"
    )]
    Unfollowed {
        /// Where.
        at: u64,
    },
    /// A system call that returns twice, the second time where there is no trace.
    #[error(
        "the code at {at:#x} starts another thread or process, whose instructions nobody follows; count with hardware \
         counters, or under callgrind"
    )]
    Starts {
        /// Where.
        at: u64,
    },
    /// No memory for copies.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// Passes differ.
    #[error(
        "the loop does not execute the same instructions twice ({first} in a pass, then {second}): it waits, or does some \
         work every so many calls; count more passes and take the mean"
    )]
    Unsteady {
        /// Instructions of a pass.
        first: i64,
        /// Of a later pass.
        second: i64,
    },
}

/// A way to see what a loop executes.
pub trait Trace {
    /// Traces `run(args, passes)`: its executed instructions from its first to its return.
    ///
    /// # Safety
    /// `run` can be called with these arguments on this thread, and it returns. It does not handle SIGTRAP itself.
    ///
    /// # Errors
    /// Where it executes more than [`LIMIT`] instructions, or cannot be followed. It has run to its end all the same.
    unsafe fn trace(&mut self, run: Loop, args: &[u64; 4], passes: u64) -> Result<Vec<Step>, TraceError>;

    /// Traces one pass and two, after one that is not traced (whatever is only done the first time is done in that
    /// one).
    ///
    /// # Safety
    /// As for [`Trace::trace`].
    ///
    /// # Errors
    /// Those of [`Trace::trace`], and [`TraceError::Unsteady`] where a pass is not as long as another.
    unsafe fn passes(&mut self, run: Loop, args: &[u64; 4]) -> Result<Passes, TraceError> {
        // SAFETY: the caller's contract.
        unsafe { run(args, 1) };
        // SAFETY: the caller's contract.
        let passes = unsafe { self.pair(run, args) }?;
        if passes.alike() {
            return Ok(passes);
        }
        // Other instructions in another pass: the count may be the same for all that.
        let first = passes.instructions();
        for shift in RECOUNTS {
            // SAFETY: the caller's contract.
            unsafe { run(args, shift) };
            // SAFETY: the caller's contract.
            let second = unsafe { self.pair(run, args) }?.instructions();
            if first != second || first <= 0 {
                return Err(TraceError::Unsteady { first, second });
            }
        }
        Ok(passes)
    }

    /// Instructions per op, with the loop's own share: an eighth of those of a pass.
    ///
    /// # Safety
    /// As for [`Trace::trace`].
    ///
    /// # Errors
    /// Those of [`Trace::passes`].
    unsafe fn per_op(&mut self, run: Loop, args: &[u64; 4]) -> Result<f64, TraceError> {
        // SAFETY: the caller's contract.
        unsafe { self.passes(run, args) }.map(|passes| passes.per_op())
    }

    /// Traces one pass and two.
    ///
    /// # Safety
    /// As for [`Trace::trace`].
    ///
    /// # Errors
    /// Those of [`Trace::trace`].
    unsafe fn pair(&mut self, run: Loop, args: &[u64; 4]) -> Result<Passes, TraceError> {
        // SAFETY: the caller's contract.
        unsafe { Ok(Passes { one: self.trace(run, args, 1)?, two: self.trace(run, args, 2)? }) }
    }
}
