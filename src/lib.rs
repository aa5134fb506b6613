//! pvbench
pub mod host;
pub mod stats;
