//! The types of `linux` in the report and of the file `linux.json`: instruction counts of real kernels.
//!
//! The counts depend neither on the time nor on the machine: two runs with the same kernel, emulator and compiler write
//! the same bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stats::Interval;

/// Instruction counts of real kernels under an emulator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Linux {
    /// Version of QEMU.
    pub qemu: String,
    /// CPU model that QEMU emulates.
    pub cpu: String,
    /// Boot parameters of all kernels.
    pub parameters: String,
    /// SHA-256 of the guest's init process, in hexadecimal.
    pub init_sha256: String,
    /// Repetitions of each workload per boot. The first repetition is dropped.
    pub reps: u64,
    /// Number of units in percent of the default.
    pub scale_percent: u64,
    /// Boots of each kernel, each at another phase of the timer's tick.
    pub phases: usize,
    /// The kernels. The others are compared with the first.
    pub kernels: Vec<LinuxKernel>,
    /// The workloads that the kernels executed.
    pub workloads: Vec<LinuxWorkload>,
    /// Predicted costs of the counted calls, from the cells of the report; empty in `linux.json`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub predictions: Vec<LinuxPrediction>,
}

/// A counted kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LinuxKernel {
    /// Name of the kernel in this document.
    pub name: String,
    /// Release string of the kernel.
    pub release: Option<String>,
    /// SHA-256 of the kernel file, in hexadecimal.
    pub sha256: String,
    /// `stock`, `nopatch` or `noalt`.
    pub variant: String,
    /// Boot parameters of this kernel alone.
    pub append: String,
    /// Number of call sites of `pv_ops`; absent if the kernel has no `pv_ops`.
    pub sites: Option<usize>,
    /// The recognised layout of `pv_ops`; absent if the kernel has no `pv_ops`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// Number of `rep` instructions whose iterations are counted. The iterations of the others stay in the counts of
    /// `as_one`.
    pub reps_counted: Option<usize>,
    /// Number of `rep` instructions whose iterations are not counted.
    pub reps_left: Option<usize>,
    /// Reason why hooks and iterations were not counted; absent if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncounted: Option<String>,
}

/// A workload that the kernels executed, with its counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LinuxWorkload {
    /// Name of the workload.
    pub name: String,
    /// The unit that the workload repeats.
    pub unit: String,
    /// What a unit does.
    pub summary: String,
    /// The workload of the model kernel that does the same.
    pub model: Option<String>,
    /// Calls of hooks per unit, by op, counted exactly; empty if they were not counted.
    pub calls: BTreeMap<String, f64>,
    /// One count per kernel, in the order of the kernels.
    pub counts: Vec<LinuxCount>,
}

/// The instruction count of a workload on a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LinuxCount {
    /// Name of the kernel.
    pub kernel: String,
    /// Units per phase, without those of the dropped repetition.
    pub units: u64,
    /// Instructions of all units, one number per phase.
    pub instructions: Vec<u64>,
    /// Instructions per unit: mean, minimum and maximum over the phases.
    pub per_unit: Interval,
    /// Instructions per unit, with each `rep` instruction counted once, whatever its number of iterations.
    pub as_one: Option<f64>,
    /// Instructions above the first kernel, in percent: of the means, minimum and maximum over the phases. Absent for
    /// the first kernel.
    pub percent: Option<Interval>,
    /// Instructions above the first kernel, in percent, with each `rep` instruction counted once.
    pub percent_as_one: Option<f64>,
}

/// Predicted cost of a workload's calls of hooks, from the cells of the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LinuxPrediction {
    /// Name of the workload.
    pub workload: String,
    /// Name of the mechanism.
    pub mechanism: String,
    /// State of a patchable mechanism.
    pub state: Option<String>,
    /// Core cycles per unit above `inline`.
    pub cycles: f64,
    /// Ops without a cell in the report. The prediction leaves them out.
    pub unknown: Vec<String>,
    /// The ops that cost most, in falling order of cycles.
    pub from: Vec<LinuxShare>,
}

/// The part of one op in a prediction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LinuxShare {
    /// Name of the op.
    pub op: String,
    /// Calls per unit.
    pub calls: f64,
    /// Core cycles per unit.
    pub cycles: f64,
}
