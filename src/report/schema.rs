//! `report.json`: the shapes of the document, version [`SCHEMA`].
//!
//! Units are in the field names. A number that was not measured is absent, and [`Report::absent`] or the cell's own
//! `absent` says why; it is never 0 and never NaN. Field order is the order of declaration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::linux::Linux;
use crate::host::{Check, Machine};
use crate::op::{BodyKind, Bytes, Conventions, Group, Kind, Since};
use crate::regime::Regime;

/// The version of the document that this build writes and reads.
pub const SCHEMA: &str = "pvbench.report/1";

/// The whole document.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// What wrote it.
    pub tool: Tool,
    /// What was asked for and how it went.
    pub run: Run,
    /// Where it ran.
    pub machine: Machine,
    /// Whether that was fit to measure on.
    pub environment: Vec<Check>,
    /// How clock ticks became core cycles.
    pub calibration: Option<Calibration>,
    /// What an A/A comparison showed; absent where no group was finished.
    pub floor: Option<Floor>,
    /// The floor of each regime, in the order of the plan's regimes. Empty in a document that has `floor` alone: that
    /// floor holds for every regime.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floors: Vec<RegimeFloor>,
    /// What the ops and mechanisms of the cells are.
    pub catalogue: Catalogue,
    /// The results.
    pub cells: Vec<Cell>,
    /// Macro benchmarks.
    pub workloads: Vec<WorkloadResult>,
    /// Real kernels, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
    /// What is missing from the whole report, and why: said once, not per cell.
    pub absent: Vec<Unavailable>,
    /// What went wrong.
    pub failures: Vec<Failure>,
}

/// The program that wrote the report.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// `pvbench`
    pub name: String,
    /// Its version.
    pub version: String,
    /// `release` or `debug`: a debug build measures the compiler's laziness, not the mechanism.
    pub build: String,
}

/// The run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Where everything random comes from.
    pub seed: u64,
    /// What was planned.
    pub plan: PlanSummary,
    /// When it began, RFC 3339 in UTC.
    pub started: String,
    /// How long it took.
    pub duration_seconds: f64,
    /// Whether all that was planned was done. Failed groups and an interruption make it false.
    pub complete: bool,
}

/// The plan, as far as a reader needs it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PlanSummary {
    /// `quick`, `default` or `full`.
    pub preset: String,
    /// How many ops.
    pub ops: usize,
    /// Mechanism names in the order of the tables.
    pub mechanisms: Vec<String>,
    /// Regimes.
    pub regimes: Vec<Regime>,
    /// Bodies.
    pub bodies: Vec<BodyKind>,
    /// Offsets of the loop head within 128 bytes.
    pub layouts: Vec<u32>,
    /// Worker processes that took all groups.
    pub workers: usize,
    /// Further worker processes, which measured again what was disturbed or undecided while there was time.
    pub workers_again: usize,
    /// Palindromic rounds per group and worker, with one more at one layout.
    pub rounds: usize,
    /// The least length of a window in core cycles.
    pub window_cycles: u64,
    /// The CPU the workers were pinned to; absent where pinning was not allowed.
    pub cpu: Option<usize>,
    /// The CPU that workers of workloads had at the same time, each one of the two; absent where they came one after
    /// another.
    pub beside: Option<usize>,
    /// Confidence of all intervals, as a share.
    pub confidence: f64,
    /// With this probability at most a single cell is resolved by chance: so little that all cells, and all looks at
    /// them during the run, are right together with the confidence above.
    pub error_per_cell: f64,
}

/// How ticks became cycles.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// `tsc` or `os`.
    pub clock: String,
    /// Why not the TSC; absent where it is.
    pub clock_reason: Option<String>,
    /// Clock ticks per second.
    pub ticks_per_second: f64,
    /// Ticks per core cycle over the rounds of the run, by a chain of dependent adds: median and the middle 90%.
    pub ticks_per_cycle: Estimate,
    /// Core frequency that follows from it, in GHz, over the same rounds.
    pub core_ghz: Estimate,
    /// Independent adds per core cycle over the same rounds: how much of the core the run had. Two runs compare where
    /// these do.
    pub adds_per_cycle: Option<Estimate>,
    /// Share of the rounds, 0 to 1, in which independent adds ran slower than this core can: another hyperthread had
    /// part of it. Where enough workers had quiet rounds, these are left out; a layout's `workers` counts those used.
    pub disturbed_share: f64,
    /// Rounds that the numbers come from.
    pub rounds: usize,
    /// Rounds that were dropped because the machine changed its pace in the middle (a process was stopped or lost its
    /// CPU, or the frequency jumped), or because another hyperthread had part of the core. Others were made in their
    /// place.
    pub dropped_rounds: usize,
    /// Values of columns within the other rounds that were passed over because their two windows disagreed.
    pub dropped_values: usize,
}

/// What A/A comparisons showed in this run: `inline` against a copy of itself, in the same rounds as everything else.
///
/// Noise grows with what is timed: differences are counted in core cycles for ops of up to one cycle, and per cycle for
/// those that take longer. This is the floor over all regimes; cells are held against that of their regime.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// At least 95% of the groups' A/A comparisons lie within this many core cycles (per cycle of the op, at least
    /// one).
    pub cycles: f64,
    /// The same as a relative difference.
    pub ratio: f64,
    /// How many groups (op, regime, layout) it comes from.
    pub groups: usize,
    /// Median absolute A/A difference of the same loop at the same address.
    pub same_loop_cycles: f64,
    /// Median absolute A/A difference of a copy of the loop at another address.
    pub copied_loop_cycles: f64,
}

/// The floor of one regime: a flushed loop differs from its copy by cycles, a loop in throughput by ten-thousandths.
///
/// At least 95% of the A/A comparisons of a regime lie within its floor; with fewer than 20 groups all of them do.
/// Fewer than 10 say too little: there the floor is the greater of their greatest and of the floor over all regimes. A
/// cell's own floor is `cycles` times what the mechanism takes there, at least one cycle, and never below the A/A
/// differences of its own group.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RegimeFloor {
    /// Which regime.
    pub regime: Regime,
    /// In core cycles (per cycle of the op, at least one).
    pub cycles: f64,
    /// The same as a relative difference.
    pub ratio: f64,
    /// How many groups (op and body) of this regime were compared.
    pub groups: usize,
    /// Median absolute A/A difference of the same loop at the same address.
    pub same_loop_cycles: f64,
    /// Median absolute A/A difference of a copy of the loop at another address.
    pub copied_loop_cycles: f64,
}

/// The ends of an interval whose estimate stands elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A value with its interval. The confidence is that of the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The value.
    pub estimate: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// What the report speaks of.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The ops of the cells.
    pub ops: Vec<OpInfo>,
    /// The mechanisms of the cells and workloads, `inline` first.
    pub mechanisms: Vec<MechanismInfo>,
    /// The kernel options of the workloads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<OptionInfo>,
}

/// An op.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OpInfo {
    /// Linux's name of the hook.
    pub name: String,
    /// Its structure in pv_ops.
    pub group: Group,
    /// Which kernels have it.
    pub since: Since,
    /// Number of arguments.
    pub arguments: usize,
    /// Whether it returns a value.
    pub returns: bool,
    /// Real or modelled, of the native body.
    pub native_kind: Kind,
    /// Real or modelled, of the Xen body.
    pub xen_kind: Kind,
    /// What patching would put in place of a native call.
    pub bytes: Bytes,
    /// The native instructions' machine code without the return, in hexadecimal.
    pub native_code: String,
    /// Register convention of its call sites.
    pub conventions: Conventions,
    /// The C prototype.
    pub prototype: String,
    /// What it is for.
    pub purpose: String,
    /// Where Linux defines it.
    pub source: String,
}

/// A mechanism.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MechanismInfo {
    /// Its name.
    pub name: String,
    /// What it is.
    pub summary: String,
    /// Since when and where it is used.
    pub known_from: String,
    /// The states its sites are brought into; empty where nothing is patched. They are measured in one loop at one
    /// address, so that comparing them carries no bias of layout; all other comparisons are of loops at the same offset
    /// within 128 bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<String>,
    /// The year in which it became Linux's way; absent where it is no step of Linux's history. Steps of one year are in
    /// the order of the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub year: Option<u16>,
    /// What changed with it, in a line; absent where it is no step of Linux's history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The machine code of some of its call sites.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listings: Vec<Listing>,
}

/// The machine code that a mechanism executes for an op.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// The op, one of the catalogue.
    pub op: String,
    /// State of a patchable mechanism; absent for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The instructions in the order in which they are executed.
    pub lines: Vec<ListingLine>,
}

/// An instruction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ListingLine {
    /// Its bytes in hexadecimal.
    pub bytes: String,
    /// The same, disassembled.
    pub text: String,
    /// Where it stands: `site`, `callee`, `thunk`, ..
    pub place: String,
    /// Whether patching changed its bytes.
    pub changed: bool,
}

/// One (op, body, mechanism, state, regime).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// The op.
    pub op: String,
    /// The body it ends in.
    pub body: BodyKind,
    /// Whether that body is real or modelled.
    pub kind: Kind,
    /// The way there.
    pub mechanism: String,
    /// State of a patchable mechanism; absent for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The circumstances.
    pub regime: Regime,
    /// Above `inline` in the same op and regime. For `inline` itself: a second `inline` against the first. Absent where
    /// it was not measured; `absent` says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overhead: Option<Overhead>,
    /// Why there is no overhead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
    /// What `inline` takes per op here, in core cycles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_cycles: Option<f64>,
    /// The overhead with the loop at each offset.
    pub layouts: Vec<LayoutEstimate>,
    /// Largest minus smallest overhead over the layouts, in core cycles; absent with fewer than two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout_range: Option<f64>,
    /// What scatters the overhead, level by level; absent where too little was measured to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// Where workers disagree: the values they gather at. Empty where they agree.
    pub modes: Vec<ModeShare>,
    /// Executed instructions; absent where the whole report has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<Instructions>,
    /// Why this cell has no count, where others have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions_absent: Option<String>,
    /// Hardware counters per op by name; absent where the machine has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<BTreeMap<String, f64>>,
    /// What the overhead was held against: nothing below this many core cycles is a difference here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor_cycles: Option<f64>,
    /// The interval that decides, in core cycles around the same estimate: Student's over the workers, at the
    /// confidence 1 - `error_per_cell` of the plan. It is wider than that of `overhead`, for all cells hold together
    /// with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deciding_cycles: Option<Bounds>,
    /// Whether the overhead stands clear: the deciding interval, every mode and the overhead at every layout lie beyond
    /// the floor on one side of zero, and the overhead is greater than the layout range.
    pub resolved: bool,
    /// What keeps it from being resolved; absent where it is, or was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

/// What scatters an overhead, as standard deviations of single values in core cycles, each without what the levels
/// before it explain.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Within a round: how far its value is off by what its windows differ.
    pub within_round: f64,
    /// Between rounds of one worker at one layout; absent where no worker made two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between_rounds: Option<f64>,
    /// Between workers at the same layout.
    pub between_workers: f64,
    /// Between layouts; absent with fewer than two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between_layouts: Option<f64>,
    /// Which is the greatest part of the estimate's uncertainty, with as many rounds, workers and layouts as there
    /// were.
    pub largest: SpreadSource,
}

/// A level that scatters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SpreadSource {
    /// Windows and rounds. More time narrows it: four times as much for half the width.
    Rounds,
    /// Worker processes. More of them narrow it in the same way.
    Workers,
    /// Offsets of the loop. More time does not narrow it: the overhead depends on where the code lies.
    Layouts,
}

/// What keeps a cell, or a workload on a kernel, from being resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// The estimate itself lies within the floor: there is no difference to be seen.
    Floor,
    /// The estimate lies beyond the floor, but the deciding interval reaches into it. More time narrows the interval.
    Interval,
    /// Workers gather at several values, and one of them is not clear of the floor. More time does not help.
    Modes,
    /// Moving the loop moves the overhead by its size or more, or into the floor. More time does not help.
    Layout,
    /// The op leaves the guest: what is timed is the hypervisor's work, and says nothing of the mechanism.
    Traps,
}

/// An overhead in three units.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Overhead {
    /// Core cycles per op.
    pub cycles: Estimate,
    /// Nanoseconds per op at the core frequency of the run.
    pub ns: Estimate,
    /// Time per op divided by that of `inline`.
    pub ratio: Estimate,
}

/// The overhead with the loop at one offset.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LayoutEstimate {
    /// Offset of the loop head within 128 bytes.
    pub offset: u32,
    /// Core cycles per op.
    pub cycles: Estimate,
    /// Workers it comes from.
    pub workers: usize,
}

/// A value that workers gather at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ModeShare {
    /// Offset of the layout the mode was seen at.
    pub offset: u32,
    /// Core cycles per op.
    pub cycles: f64,
    /// Share of that layout's workers, 0 to 1.
    pub share: f64,
}

/// Executed instructions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Instructions {
    /// Per op, the loop's own share included.
    pub per_op: f64,
    /// Above `inline`.
    pub extra: f64,
}

/// A macro benchmark.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WorkloadResult {
    /// Its name.
    pub name: String,
    /// What one unit of its work is.
    pub unit: String,
    /// What it does.
    pub summary: String,
    /// What it is modelled on.
    pub source: String,
    /// Units of a timed part of a run.
    pub units: u64,
    /// Workers that the numbers come from.
    pub workers: usize,
    /// Workers that were left out: another thread had part of their core all the time.
    #[serde(default)]
    pub disturbed_workers: usize,
    /// Rounds of those workers that the numbers come from, each with kernels at other places and with work of its own;
    /// for kernel options fewer.
    #[serde(default)]
    pub placements: usize,
    /// Core cycles that a unit takes with `inline`; absent where nothing was measured.
    pub inline_cycles: Option<Estimate>,
    /// The same in nanoseconds.
    pub inline_ns: Option<f64>,
    /// Executed instructions of a unit with `inline`; absent where they could not be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_instructions: Option<f64>,
    /// Hardware counters of a unit with `inline`, by name; absent where the machine has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_counters: Option<BTreeMap<String, f64>>,
    /// Calls of hooks per unit, by op.
    pub calls: BTreeMap<String, f64>,
    /// What `inline` differs from itself by, in percent.
    pub again_percent: Option<Estimate>,
    /// What `inline` at other places in memory differs by.
    pub copies_percent: Vec<Estimate>,
    /// The floor: the largest of these differences, each the mean over all placements of the run. Nothing below it is
    /// called a difference.
    pub floor_percent: f64,
    /// The placement range: 95% of two single placements of `inline` differ by no more than this, in percent,
    /// run-to-run noise removed. A comparison of two builds that differ in nothing finds that much. Absent where
    /// kernels were not placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement_percent: Option<f64>,
    /// Kernels stand at places in memory that each round draws anew; here is why they did not, and what differs between
    /// them is in part where the linker put them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place: Option<String>,
    /// The kernels, each against `inline`.
    pub kernels: Vec<WorkloadKernel>,
}

/// A macro benchmark on one kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WorkloadKernel {
    /// The mechanism that its hooks are behind; absent for a kernel option.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<String>,
    /// State of a patchable mechanism. `inline` is what a kernel has that booted on bare metal: native instructions
    /// where they fit, NOPs where there are none, direct calls else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The kernel option; absent for a mechanism.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<String>,
    /// Time above `inline`, in percent of its mean at several places in memory.
    pub overhead_percent: Option<Estimate>,
    /// The same in core cycles per unit.
    pub overhead_cycles: Option<Estimate>,
    /// Executed instructions of a unit; absent where they could not be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<UnitInstructions>,
    /// Why this kernel has no count, where others have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions_absent: Option<String>,
    /// Hardware counters of a unit, by name; absent where the machine has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<BTreeMap<String, f64>>,
    /// The interval that decides, in percent around the same estimate, at a confidence with which all kernels of the
    /// run hold together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deciding_percent: Option<Bounds>,
    /// Whether it stands clear: the deciding interval lies beyond the workload's floor.
    pub resolved: bool,
    /// What keeps it from being resolved, `floor` or `interval`; absent where it is, or was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// What the cells say it should be: calls times overheads in throughput, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_percent: Option<f64>,
    /// Why they say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_absent: Option<String>,
    /// Why nothing was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
}

/// Executed instructions of a workload's unit. A repeated string instruction counts once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UnitInstructions {
    /// Of a unit.
    pub per_unit: f64,
    /// Above `inline`, in percent of it.
    pub extra_percent: f64,
}

/// A kernel option.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OptionInfo {
    /// Its name.
    pub name: String,
    /// What switches it on in Linux.
    pub switch: String,
    /// What it does in the model.
    pub summary: String,
}

/// Something that is missing from the whole report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Unavailable {
    /// What: `counters`, `instructions`, `workloads`, ..
    pub what: String,
    /// Why.
    pub reason: String,
}

impl Unavailable {
    /// Whether it says that `inline` of an op is no baseline.
    #[must_use]
    pub fn is_of_baseline(&self) -> bool {
        self.what.starts_with("body of ")
    }
}

/// Something that went wrong during the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Which worker, counted from 0.
    pub worker: usize,
    /// The group being measured: `op/body/regime@offset`; absent where none was.
    pub group: Option<String>,
    /// What happened, with the signal or exit code.
    pub message: String,
}
