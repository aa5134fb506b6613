//! Measuring: from a plan to samples.
//!
//! The parent ([`parent::run`]) starts worker processes one after another; a worker ([`worker::serve`]) takes groups
//! (op, body, regime, layout) in an order of its own and measures each in palindromic rounds ([`sampler`]); it streams
//! one JSON line per group back. A program that has no other use for it calls the sampler directly.

pub mod calibration;
pub mod clock;
pub mod counters;
pub mod executed;
pub mod explain;
pub mod loops;
pub mod parent;
pub mod plan;
pub mod sampler;
pub mod thrash;
pub mod trace;
pub mod window;
pub mod wire;
pub mod work;
pub mod worker;

pub use plan::{Group, Plan, Preset};
pub use sampler::Sampler;
