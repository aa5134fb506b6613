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

pub use allowed::{another_cpu, remember_allowed_cpus};
pub use check::{Check, OPTIMISED, Status, checks, checks_with, measuring, optimised};
pub use clock::{ClockChoice, clock_choice};
pub use counter::{CounterError, pmu_unavailable};
pub use cpu_time::{CpuTime, Others};
pub use cpuid::{CpuFacts, Cpuid, NativeCpuid, Registers, has_serialize};
pub use machine::{Cache, Machine};
pub use own_time::OwnTime;
pub use pin::{PinError, pin};
pub use probes::{ProbeError, Probes, measuring_cpu};
pub use root::{ReadError, Root};
pub use tool::{FoundTool, IAI_CALLGRIND_SERIES, ToolError};
