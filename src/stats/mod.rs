//! Statistics: from ticks to an estimate with an interval, and to the rule that resolves it.
//!
//! All functions take numbers and return plain structs. This module knows no files, ops or documents.
//!
//! The levels of a cell's estimate, from the inside out:
//!
//! 1. **Block** ([`effect`]). A block times every variant and `inline` within a fraction of a millisecond. Drift of
//!    frequency and temperature therefore cancels in the difference and in the log-ratio *within* the block. The median
//!    over blocks ignores the blocks that an interrupt hit. It is the value of one worker.
//! 2. **Worker** ([`worker_median`]). A worker is a process with a placement of its own. The median over workers is the
//!    estimate at one layout. Where workers gather at several values, [`modes`] lists them: a median between two modes
//!    describes neither.
//! 3. **Layout** ([`layout_median`], [`prior`]). A layout is the same loop at another offset in a cache line. The
//!    median over layouts of the medians over workers is the estimate of the cell. Its standard error comes from the
//!    scatter of the workers, moderated by the usual scatter of the regime.
//! 4. **Cell** ([`floor`], [`resolve`], [`spread`]). The A/A comparisons give the noise. A resolved cell's interval
//!    lies beyond the noise, the range of its layouts and that of its modes. The level with the largest scatter tells
//!    whether more time helps.
//!
//! Every estimate is a triple ([`measured`]): value, standard error, degrees of freedom. Every interval comes from it,
//! at the confidence that is asked for.
//!
//! Standard errors come from workers, never from blocks. Blocks of one process share its placement, so they agree on
//! the same deviation. An interval over them would be narrow around a value that the next process does not reproduce.
//!
//! Estimates are medians, because a disturbed worker can be off by any amount, and a mean follows it. One worker in
//! eighteen was disturbed, in one case by a factor of two. Only workloads, whose blocks draw their placements
//! independently, have a mean ([`block_mean`]).

pub mod binomial;
pub mod block_mean;
pub mod effect;
pub mod floor;
mod interval;
pub mod layout_median;
pub mod location;
pub mod measured;
pub mod modes;
pub mod multiplicity;
pub mod prior;
pub mod resolve;
pub mod reuse;
pub mod spread;
pub mod student;
pub mod surroundings;
pub mod worker_median;

pub use interval::Interval;
