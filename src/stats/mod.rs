//! Estimation: from ticks to a number with an interval and a verdict.
//!
//! Numbers go in, plain structs come out; nothing here knows of files, ops or documents.
//!
//! The order is fixed, from the inside out:
//!
//! 1. **Round** ([`effect`]). A round holds every mechanism and `inline` within a fraction of a millisecond, so drift
//!    of frequency and temperature cancels in the difference and in the log-ratio taken *inside* the round. The median
//!    over rounds then drops the rounds an interrupt fell into. That gives one number per worker.
//! 2. **Worker** ([`bootstrap::Bootstrap::workers`]). A worker is a process with a placement of its own. The median
//!    over workers is the estimate at one layout; where workers fall into groups instead of scattering about a middle,
//!    [`modes`] says so, since a middle between two modes is no fact about the machine.
//! 3. **Layout** ([`bootstrap::Bootstrap::layouts`]). The same loop at other offsets in a cache line. The median over
//!    layouts of the medians over workers is the estimate of the cell.
//! 4. **Cell** ([`floor`], [`multiplicity`], [`spread`], [`resolve`]). What comparisons of a thing with itself show is
//!    the floor; the confidence of a cell depends on how many cells are judged together; a cell is resolved if at that
//!    confidence it stands clear of the floor, and clear of its own layout range, in every mode. Which level scatters
//!    most says what more time would buy.
//!
//! Intervals come from resampling the two outer levels, workers and layouts, and never from rounds or samples. Rounds
//! of one process share its placement and agree with each other on the same wrong answer: an interval over them would
//! be narrow about a number which the next process does not reproduce.
//!
//! Medians throughout: a worker that was disturbed is off by any amount (one in eighteen, in one case by a factor of
//! two), and a mean follows it. Workloads alone, whose rounds are draws of their own, have a guarded mean ([`nested`]).

pub mod binomial;
pub mod bootstrap;
pub mod cluster_mean;
pub mod effect;
pub mod floor;
mod interval;
pub mod location;
pub mod modes;
pub mod multiplicity;
pub mod resolve;
pub mod spread;
pub mod student;

pub use interval::Interval;
