//! pvbench
#![deny(missing_docs, unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]
#![warn(clippy::unwrap_used, clippy::expect_used)]

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("pvbench measures x86-64 machine code on Linux: build it for x86_64-unknown-linux-gnu or -musl");

pub mod dispatch;
pub mod estimate;
pub mod host;
pub mod measure;
pub mod op;
pub mod patch;
pub mod regime;
pub mod report;
pub mod stats;
pub mod suite;
