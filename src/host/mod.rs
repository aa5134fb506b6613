//! Facts about this machine, and whether it is fit to measure on.
//!
//! Two things are made here. [`Machine`] says what the machine is and stands beside every result. [`checks`] says what
//! about it helps or harms a measurement, and what to do about it: `pvbench doctor` prints them, the report keeps them
//! as its environment.
//!
//! Facts come from three places, each of which a test can give instead: files under a [`Root`], the CPUID instruction
//! behind [`Cpuid`], and system calls whose answers [`Probes`] holds. Nothing here fails: what cannot be read is absent
//! in [`Machine`] and `unknown` with a reason in a [`Check`].

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
pub use check::{Check, OPTIMISED, Status, checks, checks_with, optimised};
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
