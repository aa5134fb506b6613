//! What does it cost to reach a low-level machine operation through an indirection instead of inline?
//!
//! Linux's paravirt_ops raised the question in 2009 ("1% on native"); retpolines, static calls, LSM hooks, HALs and
//! plug-in tables raise it again. pvbench holds the machine operations of Linux's `pv_ops` and the ways to reach them,
//! measures every pair, and says how far each number can be trusted.
//!
//! # What is measured
//!
//! * An **op** ([`op::Op`]) is a machine operation: `save_fl`, `pte_val`, `set_pte`, `write_cr3`, .. Its native body is
//!   written once, as assembly; a Xen PV guest's body stands beside it. A privileged instruction is *modelled* by loads
//!   and stores on a CPU model ([`op::CpuModel`]); what is legal in ring 3 is *real*.
//! * A **mechanism** ([`dispatch::Dispatch`]) is a way from a call site to a body: inline, direct call, flag, enum,
//!   trait object, the `pv_ops` table, .. It is written once for all ops.
//! * A **regime** ([`regime::Regime`]) is the loop around the call sites: independent calls, a dependent chain, registers
//!   live across the call, targets that change, code that is not cached.
//! * A **state** ([`patch::State`]) is what a call site holds that is rewritten at run time: `unpatched`, `direct`,
//!   `inline`, `nop`; `off` and `on` for a jump label. The states of a mechanism share one loop at one address.
//! * A **cell** is one of each. Its **overhead** is what it takes above `inline`, in core cycles per op.
//!
//! # How
//!
//! ```text
//! plan -> 10 worker processes, one after another, pinned
//!           each: groups (op, body, regime, layout) in an order of its own
//!                   each: rounds C Q I m1 .. mk mk .. m1 I Q C       C: dependent adds, Q: independent adds,
//!                                                                I: inline, m: mechanisms, shuffled
//!      -> per round: differences against I in cycles by C        (measure::sampler)
//!      -> median over rounds, over workers, over layouts;
//!         intervals by bootstrap over workers and layouts        (stats, estimate)
//!      -> report.json -> terminal, page, plots                   (report)
//! ```
//!
//! Every loop is copied at run time to each offset within 128 bytes that the plan names ([`patch::Function`]), so that
//! placement is a measured variable and not an accident. `inline` runs against itself and against a copy of itself in
//! the same rounds: that is the floor, and nothing below it is called a difference.
//!
//! # Where to look
//!
//! [`suite`] puts ops and mechanisms together as data; [`patch`] copies and rewrites code; [`measure`] turns a plan into
//! samples and counts instructions ([`measure::trace`]); [`estimate`] turns samples into cells with [`stats`]; [`report`]
//! is the document and what is made of it; [`selftest`] measures what is known; [`linux`] counts real kernels; [`host`]
//! knows the machine; [`cli`] is the program.
#![deny(missing_docs, unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]
#![warn(clippy::unwrap_used, clippy::expect_used)]

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("pvbench measures x86-64 machine code on Linux: build it for x86_64-unknown-linux-gnu or -musl");

// Left out elsewhere, so that the message above is the only one.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod cli;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod dispatch;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod estimate;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod host;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod kernel;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod linux;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod measure;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod op;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod patch;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod regime;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod report;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod selftest;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod stats;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod suite;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod workload;
