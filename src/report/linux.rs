//! `linux` in the document, and `linux.json` by itself: real kernels, counted.
//!
//! Nothing in it depends on when or on what machine it was counted: two runs with the same kernel, emulator and
//! compiler write the same bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::schema::Estimate;

/// Real kernels under an instruction-counting emulator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Linux {
    /// QEMU's version.
    pub qemu: String,
    /// Its model of a CPU.
    pub cpu: String,
    /// The boot parameters of all kernels.
    pub parameters: String,
    /// SHA-256 of the guest's init process, in hexadecimal.
    pub init_sha256: String,
    /// Repetitions of each workload in a boot; the first is dropped.
    pub reps: u64,
    /// Percent of the usual number of units.
    pub scale_percent: u64,
    /// Boots of each kernel, each at another phase of the timer's tick.
    pub phases: usize,
    /// The kernels; the first is what the others are held against.
    pub kernels: Vec<LinuxKernel>,
    /// What they were made to do.
    pub workloads: Vec<LinuxWorkload>,
    /// What the cells of the report make of the calls; empty in `linux.json`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub predictions: Vec<LinuxPrediction>,
}

/// A kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LinuxKernel {
    /// Its name in this document.
    pub name: String,
    /// What it says it is.
    pub release: Option<String>,
    /// SHA-256 of the file that was named, in hexadecimal.
    pub sha256: String,
    /// `stock`, `nopatch` or `noalt`.
    pub variant: String,
    /// Its own boot parameters.
    pub append: String,
    /// Call sites of pv_ops; absent in a kernel without.
    pub sites: Option<usize>,
    /// Which layout of pv_ops was recognised; absent in a kernel without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// `rep` instructions whose rounds are counted; the rounds of the others stay in the counts of `as_one`.
    pub reps_counted: Option<usize>,
    /// Those whose rounds are not.
    pub reps_left: Option<usize>,
    /// Why hooks and rounds were not counted, where they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncounted: Option<String>,
}

/// What a kernel was made to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LinuxWorkload {
    /// Its name.
    pub name: String,
    /// What one unit of it is.
    pub unit: String,
    /// What it does.
    pub summary: String,
    /// The workload of the model kernel that does the same.
    pub model: Option<String>,
    /// Calls of hooks per unit, by op, counted exactly; empty where they were not.
    pub calls: BTreeMap<String, f64>,
    /// The counts, a kernel each, in the order of the kernels.
    pub counts: Vec<LinuxCount>,
}

/// A workload on a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LinuxCount {
    /// The kernel.
    pub kernel: String,
    /// Units in a phase, those of the dropped repetition not among them.
    pub units: u64,
    /// Instructions of all of them, phase by phase.
    pub instructions: Vec<u64>,
    /// Instructions per unit: mean, least and most over the phases.
    pub per_unit: Estimate,
    /// The same with each `rep` instruction as one, however many rounds it makes.
    pub as_one: Option<f64>,
    /// Above the first kernel, in percent: of the means, least and most over the phases. Absent for the first.
    pub percent: Option<Estimate>,
    /// The same with each `rep` instruction as one.
    pub percent_as_one: Option<f64>,
}

/// What a workload's calls of hooks cost in cycles, by the cells of the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LinuxPrediction {
    /// The workload.
    pub workload: String,
    /// The mechanism.
    pub mechanism: String,
    /// Its state.
    pub state: Option<String>,
    /// Cycles per unit above `inline`.
    pub cycles: f64,
    /// Ops of which the report has no cell, and which are therefore left out.
    pub unknown: Vec<String>,
    /// Where they come from: the ops that cost most, most first.
    pub from: Vec<LinuxShare>,
}

/// The part of an op.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LinuxShare {
    /// The op.
    pub op: String,
    /// Calls per unit.
    pub calls: f64,
    /// Cycles per unit.
    pub cycles: f64,
}
