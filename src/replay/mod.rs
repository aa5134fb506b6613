//! Replay in time, experimental: a workload that is made from a recording of a real kernel.
//!
//! ```text
//! recording -> flow (blocks, calls)            which code is executed, in which order
//!           -> data, address (lines)           which line each load and store touches
//!           -> plan (items), place (addresses) the code, by class, with lines and pages as recorded
//!           -> image, stream, memory           machine code by mechanism; what drives it; its data
//!           -> run, measure -> result          cycles per hook in Linux's surroundings
//! ```
//!
//! A recording has no machine code: addresses, classes, lines and the order of execution only. Directions of branches,
//! targets, calls and lines of code and data are those of the recording. Which registers instructions use, and what
//! they wait for, is not recorded: it is assumed ([`Assumptions`]). Whether the result holds is checked where the truth
//! is known (docs/validation.md).

mod address;
mod arena;
mod block;
mod data;
mod error;
mod facts;
mod flow;
mod image;
#[cfg(test)]
mod interpreter;
mod item;
pub mod known;
pub mod measure;
mod memory;
mod place;
mod plan;
pub mod result;
mod run;
pub mod skeleton;
mod stream;
#[cfg(test)]
mod tests;
pub mod window;

pub use error::ReplayError;
pub use image::SiteKind;
pub use plan::Assumptions;
