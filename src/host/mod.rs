//! Facts about this machine, and whether it is fit to measure on.
//!
//! [`Machine`] describes the machine and is part of every report. [`checks`] lists the conditions that help or harm a
//! measurement, with advice: `pvbench doctor` prints them, and a report has them as its environment.
//!
//! Facts come from three sources, and a test can replace each: files under a [`Root`], the CPUID instruction behind
//! [`Cpuid`], and system calls, whose answers [`Probes`] holds. No function here fails for want of a fact: a fact that
//! cannot be read is absent in [`Machine`], and `unknown` with a reason in a [`Check`].

mod allowed;
mod check;
pub mod child;
mod clock;
mod compiler;
mod counter;
mod cpu_list;
mod cpu_time;
mod cpuid;
mod machine;
mod own_time;
mod pin;
mod probes;
mod root;
mod tool;

pub use allowed::another_cpu;
pub(crate) use allowed::remember_allowed_cpus;
pub(crate) use check::OPTIMISED;
pub(crate) use check::measuring;
pub use check::{Check, Status, checks, checks_with, optimised};
pub use clock::{ClockChoice, clock_choice};
pub(crate) use compiler::compiler;
pub use counter::{CounterError, pmu_unavailable};
pub use cpu_time::CpuTime;
pub(crate) use cpu_time::Others;
pub(crate) use cpuid::NativeCpuid;
pub use cpuid::{CpuFacts, Cpuid, Registers, has_serialize};
pub use machine::{Cache, Machine};
pub(crate) use own_time::OwnTime;
pub use pin::{PinError, pin};
pub use probes::{ProbeError, Probes, measuring_cpu};
pub use root::{ReadError, Root};
pub use tool::{FoundTool, IAI_CALLGRIND_SERIES, ToolError};
