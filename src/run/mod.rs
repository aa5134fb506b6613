//! A run from samples to its report: assembly of the report, and the file that keeps the samples.

pub mod assemble;
pub mod catalogue;
pub mod report;
pub mod samples;
