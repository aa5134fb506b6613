//! A run as a history keeps it: the numbers that are compared over time, and the facts that explain them.
//!
//! A report is some 20 MB; a kept run has its cells without their layouts, intervals and texts. Names are strings and
//! not the types of this build, so that a run of another build, with ops or regimes that this one lacks, is kept whole.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::host::{Machine, Status};
pub use crate::op::CodeIdentity as Code;
use crate::op::InstructionMix;
use crate::report::schema::{CentralRange, Limit, Unavailable};

/// One run in a history.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptRun {
    /// What was measured, where and when.
    pub header: Header,
    /// The cells, in the order of the report.
    pub cells: Vec<KeptCell>,
    /// The workloads, in the order of the report.
    pub workloads: Vec<KeptWorkload>,
}

/// What was measured, where and when. Facts that are not known are absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Name of the suite; `pv_ops` for the built-in one.
    pub suite: String,
    /// `quick`, `default` or `full`. Presets have layouts of their own, so their values are not compared.
    pub preset: String,
    /// The machine class of the machine: what splits a series. See [`super::machine_class`].
    pub machine_class: String,
    /// The machine.
    pub machine: Machine,
    /// Identity of the boot in which the run was measured, as the kernel drew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The program that measured.
    pub tool: KeptTool,
    /// The commit that was measured; absent if nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// Start of the run, RFC 3339 in UTC.
    pub started: String,
    /// Start of the run in seconds since 1970. The clock of the machine told it, and may be wrong.
    pub started_seconds: u64,
    /// Duration of the run in seconds.
    pub duration_seconds: f64,
    /// Seed of everything random in the run.
    pub seed: u64,
    /// Whether the whole plan was measured.
    pub complete: bool,
    /// Offsets of the loop head within 128 bytes, in bytes.
    pub layouts: Vec<u32>,
    /// Number of worker processes that measured all comparisons.
    pub workers: usize,
    /// The state of the core; absent if no block was finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<CoreState>,
    /// The floor of each regime, in core cycles per cycle of the op.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floors: Vec<KeptFloor>,
    /// The checks of the machine that were not `ok`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<KeptCheck>,
    /// What the whole report lacks, with the reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Unavailable>,
    /// Number of failures of workers during the run.
    #[serde(default)]
    pub failures: usize,
}

/// The program that measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptTool {
    /// Version of the program.
    pub version: String,
    /// `release` or `debug`.
    pub build: String,
    /// The compiler, such as `rustc version 1.95.0 (59807616e 2026-04-14)`; absent in older reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rustc: Option<String>,
}

/// A commit, with what orders it among others where no clone is at hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The full id in lower-case hexadecimal. Without a clone, it is what `--commit` named.
    pub id: String,
    /// Time of the commit in seconds since 1970, as the committer's clock told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
    /// The first parent; absent for the first commit, and if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_parent: Option<String>,
    /// Number of commits from the first one to this one by first parents, itself included; absent in a shallow clone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// First line of the message, clipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Whether tracked files differed from the commit when the run was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dirty: Option<bool>,
}

/// The state of the core during a run. It tells a machine that changed from a program that changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CoreState {
    /// Core frequency in GHz: the median and the middle 90% over the blocks.
    pub ghz: CentralRange,
    /// Independent adds per core cycle over the same blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adds_per_cycle: Option<CentralRange>,
    /// Clock ticks per core cycle: the median.
    pub ticks_per_cycle: f64,
    /// Share of contended blocks, 0 to 1.
    pub contended_share: f64,
}

/// The floor of a regime.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptFloor {
    /// Name of the regime.
    pub regime: String,
    /// The floor in core cycles per cycle of the op (an op counts as at least one cycle).
    pub cycles: f64,
}

/// A check of the machine that was not `ok`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCheck {
    /// Its stable name, such as `governor`.
    pub id: String,
    /// `unknown` or `warning`.
    pub status: Status,
    /// The observation, in one line, clipped.
    pub detail: String,
}

/// A value, and the error that differs from run to run. The layout range is not in it: every run has the same layouts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeptValue {
    /// The value.
    pub value: f64,
    /// Its standard error, in the same unit.
    pub standard_error: f64,
    /// Degrees of freedom of the standard error, at least 1.
    pub degrees_of_freedom: f64,
}

/// A cell of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptCell {
    /// Which cell it is.
    pub name: Arc<CellName>,
    /// Overhead above `inline` in core cycles per op; for `inline` itself, a second `inline` above the first.
    pub overhead: Option<KeptValue>,
    /// Time of `inline` per op in this op, body and regime, in core cycles: the reference that shows the machine.
    pub native_cycles: Option<f64>,
    /// The floor of the cell in core cycles.
    pub floor_cycles: Option<f64>,
    /// The values that workers gather at if they disagree; empty if they agree.
    pub modes: Vec<KeptMode>,
    /// Executed instructions per op with those of the loop: exact.
    pub instructions: Option<f64>,
    /// Executed instructions by class: exact.
    pub mix: Option<Arc<InstructionMix>>,
    /// Identity of the bytes that were timed; absent in older reports.
    pub code: Option<Code>,
    /// Whether the overhead is resolved.
    pub resolved: bool,
    /// Why the overhead is not resolved.
    pub limit: Option<Limit>,
    /// Why there is no overhead.
    pub absent: Option<Arc<str>>,
}

/// A value that workers gather at, at one layout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeptMode {
    /// Offset of the layout, in bytes.
    pub offset: u32,
    /// Overhead in core cycles per op.
    pub cycles: f64,
    /// Share of the workers of the layout, 0 to 1.
    pub share: f64,
}

/// A workload of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptWorkload {
    /// Name of the workload.
    pub name: Arc<str>,
    /// The unit that the workload repeats.
    pub unit: Arc<str>,
    /// Core cycles per unit with `inline`: the reference that shows the machine.
    pub inline_cycles: Option<KeptValue>,
    /// Executed instructions per unit with `inline`.
    pub inline_instructions: Option<f64>,
    /// The floor in percent.
    pub floor_percent: f64,
    /// The placement range in percent.
    pub placement_percent: Option<f64>,
    /// The kernels, each against `inline`.
    pub kernels: Vec<KeptKernel>,
}

/// A workload on one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptKernel {
    /// Which one it is.
    pub name: Arc<KernelName>,
    /// Time above `inline` in percent.
    pub overhead_percent: Option<KeptValue>,
    /// Executed instructions per unit: exact where the workload always does the same.
    pub instructions: Option<f64>,
    /// The floor of the kernel in percent.
    pub floor_percent: Option<f64>,
    /// Whether the overhead is resolved.
    pub resolved: bool,
    /// Why the overhead is not resolved.
    pub limit: Option<Limit>,
    /// Why there is no overhead.
    pub absent: Option<Arc<str>>,
}

/// Which cell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CellName {
    /// Name of the op.
    pub op: Arc<str>,
    /// Name of the body: `native`, `xen`.
    pub body: Arc<str>,
    /// Name of the mechanism.
    pub mechanism: Arc<str>,
    /// State of a patchable mechanism; absent for other mechanisms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Arc<str>>,
    /// Name of the regime.
    pub regime: Arc<str>,
}

/// Which kernel of which workload. Without a mechanism and an option it is `inline`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KernelName {
    /// Name of the workload.
    pub workload: Arc<str>,
    /// The mechanism of the hooks; absent for a kernel option.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<Arc<str>>,
    /// State of a patchable mechanism.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Arc<str>>,
    /// The kernel option; absent for a mechanism.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<Arc<str>>,
}

/// What a series is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A cell.
    Cell(Arc<CellName>),
    /// A workload on a kernel.
    Kernel(Arc<KernelName>),
}

/// A series: runs that can be compared value by value. Everything else that changes is an event on its axis.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Series {
    /// The machine class, after the aliases of the store.
    pub machine_class: Arc<str>,
    /// Name of the suite.
    pub suite: Arc<str>,
    /// `quick`, `default` or `full`.
    pub preset: Arc<str>,
    /// What was measured.
    pub subject: Subject,
}
