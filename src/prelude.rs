//! What an author of ops, mechanisms, workloads and suites needs: `use pvbench::prelude::*;`.
//!
//! | you write | with |
//! |---|---|
//! | ops in Rust | [`functions!`], [`Function`], [`FIRST_USER_SLOT`] |
//! | ops in assembly | [`native!`], [`Op`], [`OpMeta`], [`Bytes`], [`Conventions`] |
//! | a mechanism | [`Dispatch`], [`Mechanism`], [`CallSequence`], [`Slots`], [`Inline`], [`Args`], [`Ret`], [`Body`] |
//! | a workload | [`Workload`], [`WorkloadMeta`], [`NoKernel`], [`Config`], [`Random`], [`Failure`] |
//! | a suite | [`Suite`], [`Choices`] |
//!
//! [`BodyKind`] is the body that a mechanism is bound to, [`CpuModel`] what privileged instructions work on.

pub use crate::dispatch::{CallSequence, Dispatch, Inline, Mechanism, Slots};
pub use crate::functions;
pub use crate::kernel::Config;
pub use crate::native;
pub use crate::op::{Args, Body, BodyKind, Bytes, Conventions, CpuModel, FIRST_USER_SLOT, Function, Op, OpMeta, Ret};
pub use crate::suite::{Choices, Suite};
pub use crate::workload::{Failure, NoKernel, Random, Workload, WorkloadMeta};
