//! Why a recording cannot be replayed.

use crate::relocate::CodeError;

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The recording has nothing to replay.
    #[error("{workload}: the recording executes no instruction; record it again")]
    Empty {
        /// The workload.
        workload: String,
    },
    /// A part of the recording exceeds its bound.
    #[error("{workload}: the recording has {found} {what}, more than the bound of {bound}; record fewer --units")]
    TooLarge {
        /// The workload.
        workload: String,
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: u64,
        /// The bound.
        bound: u64,
    },
    /// The executable memory failed.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The memory for data, stream and stack could not be mapped.
    #[error("{bytes} bytes of memory for the replay cannot be mapped: {source}; raise the limit (ulimit -v)")]
    Memory {
        /// The size.
        bytes: usize,
        /// The kernel's error.
        source: rustix::io::Errno,
    },
    /// A workload of the suite cannot be recorded.
    #[error("{workload} of this suite cannot be recorded: {reason}")]
    Untraceable {
        /// The workload.
        workload: String,
        /// The cause.
        reason: String,
    },
    /// The clock is not the time stamp counter.
    #[error("the replay is timed by the time stamp counter, which is not used here: {0}")]
    Clock(String),
    /// No block of timings was left.
    #[error("{workload}: something else used the core in every block; run it again on a quieter machine")]
    Contended {
        /// The workload.
        workload: String,
    },
    /// The run was interrupted.
    #[error("interrupted")]
    Interrupted,
}

impl ReplayError {
    /// Whether the recording is at fault (exit code 2), not the measurement (exit code 4).
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, ReplayError::Empty { .. } | ReplayError::TooLarge { .. })
    }
}
