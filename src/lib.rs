//! What does it cost to reach a low-level machine operation through an indirection instead of inline?
//!
//! Linux's paravirt_ops raised the question in 2009 ("1% on native"). Retpolines, static calls, LSM hooks, HALs and
//! plug-in tables raise it again. pvbench has the machine operations of Linux's `pv_ops` and the mechanisms that reach
//! them. It measures every pair and states how far each number can be trusted. A table of your own is measured alike:
//!
//! ```
//! use pvbench::prelude::*;
//!
//! functions! {
//!     /// Reads a register.
//!     pub struct Read: "uart_read" = fn(register: u64 = 5) -> u64 { 0x60 | register };
//! }
//!
//! let suite = Suite::builder("uart").op::<Read>().build()?;
//! assert!(suite.mechanisms().iter().any(|listed| listed.mechanism.name == "table"));
//! # Ok::<(), pvbench::SuiteError>(())
//! ```
//!
//! A bench target that calls [`main`](fn@main) with such a suite measures it: `cargo bench` writes the report and its
//! page, `cargo bench -- gate` enforces budgets. `docs/own-ops.md` leads from the table to a gate in CI, and
//! [`prelude`] lists the names that an author needs.
//!
//! # What is measured
//!
//! * An **op** ([`op::Op`]) is a machine operation with two bodies: native, and that of a Xen PV guest. A privileged
//!   instruction is *modelled* on a CPU model ([`op::CpuModel`]); an instruction that is legal in ring 3 is *real*.
//! * A **mechanism** ([`dispatch::Dispatch`]) is a way from a call site to a body, written once for all ops.
//! * A **regime** ([`regime::Regime`]) is the loop around the call sites: independent calls, a dependent chain,
//!   registers live across the call, changing targets, code that is not cached.
//! * A **state** ([`patch::State`]) is the content of a call site that is rewritten at run time.
//! * A **cell** is one of each. Its **overhead** is its cost above `inline`, in core cycles per op.
//! * A **workload** ([`workload::Workload`]) is a macro benchmark, generic over the mechanism.
//!
//! # Where to look
//!
//! | module | contents |
//! |---|---|
//! | [`suite`], [`pv_ops`](fn@pv_ops) | turns types into data; the built-in suite |
//! | [`op`], [`dispatch`], [`regime`] | ops, mechanisms, and the loops that measure them |
//! | [`workload`], [`kernel`] | macro benchmarks, and the model kernel that they run on |
//! | [`patch`], [`relocate`] | rewrites call sites as Linux does; copies machine code to chosen addresses |
//! | [`measure`], [`run`] | turns jobs into samples; plans, worker processes |
//! | [`stats`], [`estimate`] | turn samples into cells |
//! | [`report`], `gate` | the document and everything that is made from it; budgets |
//! | `history`, `site` | runs kept over commits and machines; their published pages |
//! | [`selftest`], [`host`], [`clock`] | loops of known cost; facts of the machine, and its clocks |
//!
//! Features, all of them default: `cli` adds [`main`](fn@main) and all that it runs, `html` the page and plots, `linux`
//! real kernels, `catalogue` and `workloads` all ops and workloads of the built-in suite.
//!
//! pvbench follows semantic versioning: before 1.0 a minor version may change the public interface, and a patch version
//! only adds to it. Public are the items of this page and all types in their signatures.
#![deny(missing_docs, unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]
#![warn(clippy::unwrap_used, clippy::expect_used)]
// Parts of the crate serve features that are off.
#![cfg_attr(
    not(all(feature = "catalogue", feature = "linux", feature = "workloads")),
    allow(dead_code, unused_imports)
)]

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("pvbench measures x86-64 machine code on Linux: build it for x86_64-unknown-linux-gnu or -musl");

// Other targets leave all modules out, so that the message above is the only error.
#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "audit"))]
pub mod audit;
#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "cli"))]
pub mod cli;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod clock;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod dispatch;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod estimate;
#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "cli"))]
pub mod gate;
#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "cli"))]
pub mod history;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod host;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod kernel;
#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "linux"))]
pub mod linux;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod measure;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod op;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod patch;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod prelude;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod pv_ops;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod regime;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod relocate;
#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "linux"))]
pub mod replay;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod report;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod run;
#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "cli"))]
pub mod select;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod selftest;
#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "cli"))]
pub mod site;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod stats;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod suite;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod workload;

#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "cli"))]
pub use cli::main;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use dispatch::Dispatch;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use op::{Function, Op};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use pv_ops::{BuiltIn, BuiltInWorkloads, pv_ops};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use suite::{Suite, SuiteError};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use workload::Workload;

/// The examples of `docs/own-ops.md`.
#[cfg(doctest)]
#[doc = include_str!("../docs/own-ops.md")]
struct OwnOps;
