//! A run, from its plan to its report: worker processes, the jobs that they take, the assembly of the report, and the
//! file that keeps the samples.

pub(crate) mod assemble;
pub mod catalogue;
pub(crate) mod host_context;
mod lines;
pub mod plan;
mod policy;
pub mod process;
pub mod protocol;
pub mod report;
pub mod samples;
pub mod scheduler;
pub mod session;
pub mod sink;
pub mod worker;
mod workload_policy;
