//! The types of `report.json`, version [`SCHEMA`].
//!
//! Field names hold the units. A number that was not measured is absent, never 0 and never NaN; [`Report::absent`] or
//! the cell's own `absent` holds the reason. Fields are written in the order of declaration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::linux::Linux;
use crate::host::{Check, Machine};
use crate::op::{BodyKind, Bytes, Conventions, Group, Kind, Since};
use crate::regime::Regime;
use crate::stats::Interval;
use crate::stats::measured::Measured;
pub use crate::stats::resolve::Limit;
pub use crate::stats::spread::{Spread, SpreadSource};

/// Version of the document that this build writes and reads.
pub const SCHEMA: &str = "pvbench.report/2";

/// The report of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The program that wrote the report.
    pub tool: Tool,
    /// The plan of the run, its start and its duration.
    pub run: Run,
    /// The machine that the run measured.
    pub machine: Machine,
    /// Checks of whether the machine and the build are fit for measuring.
    pub environment: Vec<Check>,
    /// Conversion of clock ticks to core cycles; absent if no round was finished.
    pub calibration: Option<Calibration>,
    /// The floor over all regimes, from A/A comparisons; absent if no comparison was finished.
    pub floor: Option<Floor>,
    /// The floor of each regime, in the order of the plan's regimes. If empty, `floor` holds for every regime.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floors: Vec<RegimeFloor>,
    /// Descriptions of the ops, mechanisms and kernel options.
    pub catalogue: Catalogue,
    /// The measured cells.
    pub cells: Vec<Cell>,
    /// The macro benchmarks.
    pub workloads: Vec<WorkloadResult>,
    /// Instruction counts of real kernels; absent if none were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
    /// What the whole report lacks, with the reasons. They are not repeated in the cells.
    pub absent: Vec<Unavailable>,
    /// Failures of workers during the run.
    pub failures: Vec<Failure>,
}

/// The program that wrote the report.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Name of the program: `pvbench`.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// `release` or `debug`. A debug build measures unoptimised code, not the mechanism.
    pub build: String,
}

/// The run that the report describes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Seed of everything random in the run.
    pub seed: u64,
    /// Summary of the plan.
    pub plan: PlanSummary,
    /// Start of the run, RFC 3339 in UTC.
    pub started: String,
    /// Duration of the run in seconds.
    pub duration_seconds: f64,
    /// Whether the whole plan was measured. A failed comparison or an interruption makes it false.
    pub complete: bool,
}

/// Summary of the plan of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PlanSummary {
    /// `quick`, `default` or `full`.
    pub preset: String,
    /// Number of ops.
    pub ops: usize,
    /// Names of the mechanisms, in the order of the tables.
    pub mechanisms: Vec<String>,
    /// The measured regimes.
    pub regimes: Vec<Regime>,
    /// The measured bodies.
    pub bodies: Vec<BodyKind>,
    /// Offsets of the loop head within 128 bytes, in bytes.
    pub layouts: Vec<u32>,
    /// Number of worker processes that measured all comparisons.
    pub workers: usize,
    /// Number of further worker processes, which measured contended or undecided comparisons again while time was left.
    pub workers_again: usize,
    /// Palindromic rounds per comparison and worker; one layout has one round more.
    pub rounds: usize,
    /// Minimum length of a window in core cycles.
    pub window_cycles: u64,
    /// The CPU that workers were pinned to; absent if pinning was not allowed.
    pub cpu: Option<usize>,
    /// The second CPU that ran workload workers at the same time, each worker on one of the two CPUs; absent if
    /// workload workers ran one after another.
    pub second_cpu: Option<usize>,
    /// Confidence of all intervals, as a share from 0 to 1.
    pub confidence: f64,
    /// Maximum probability that a single overhead is resolved by chance.
    pub error_per_cell: f64,
}

/// Conversion of clock ticks to core cycles, and the state of the core during the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The clock that windows were timed with: `tsc` or `os`.
    pub clock: String,
    /// Why the clock is not the TSC; absent if it is.
    pub clock_reason: Option<String>,
    /// Clock ticks per second.
    pub ticks_per_second: f64,
    /// Ticks per core cycle, from a chain of dependent adds: the median and the middle 90% over the rounds of the run.
    pub ticks_per_cycle: CentralRange,
    /// Core frequency in GHz, computed from `ticks_per_cycle` over the same rounds.
    pub core_ghz: CentralRange,
    /// Core throughput: independent adds per core cycle over the same rounds. It shows how much of the core the run
    /// had. Two runs are comparable if their core throughput agrees.
    pub adds_per_cycle: Option<CentralRange>,
    /// Share of contended rounds, 0 to 1: independent adds ran slower than the core can, because another hyperthread
    /// had part of it. Contended rounds are left out if enough workers had uncontended ones; `workers` of a layout
    /// counts the workers used.
    pub contended_share: f64,
    /// Number of rounds that the numbers come from.
    pub rounds: usize,
    /// Number of dropped rounds. A round is dropped if the core changed its frequency, the process was stopped or lost
    /// its CPU during it, or if another hyperthread had part of the core. Each dropped round was measured again.
    pub dropped_rounds: usize,
    /// Number of values of variants that were rejected in the other rounds, because their two windows disagreed.
    pub dropped_values: usize,
}

/// The floor of the run over all regimes, from A/A comparisons: `inline` against a copy of itself, in the same rounds
/// as everything else.
///
/// Noise grows with the time of the op. For ops of up to one cycle a difference is in core cycles; for longer ops it is
/// in core cycles per cycle of the op. A cell is compared with the floor of its own regime.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// At least 95% of the A/A differences are at most this large, in core cycles per cycle of the op (an op counts as
    /// at least one cycle).
    pub cycles: f64,
    /// The same bound as a relative difference.
    pub ratio: f64,
    /// Number of comparisons (op, body and regime, over their layouts) that the floor comes from.
    pub comparisons: usize,
    /// Median absolute A/A difference of the same loop at the same address, in core cycles.
    pub same_loop_cycles: f64,
    /// Median absolute A/A difference of a copy of the loop at another address, in core cycles.
    pub copied_loop_cycles: f64,
}

/// The floor of one regime. A flushed loop differs from its copy by cycles, a loop in throughput by ten-thousandths of
/// a cycle.
///
/// At least 95% of the A/A differences of a regime lie within its floor; with fewer than 20 comparisons all of them do.
/// With fewer than 10 comparisons the floor is the larger of their largest difference and the floor over all regimes.
/// The floor of a cell is `cycles` times the cycles that the mechanism takes there (at least one cycle), and never
/// below the A/A differences of its own comparison.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RegimeFloor {
    /// The regime.
    pub regime: Regime,
    /// The floor in core cycles per cycle of the op (an op counts as at least one cycle).
    pub cycles: f64,
    /// The same bound as a relative difference.
    pub ratio: f64,
    /// Number of comparisons (op and body, over their layouts) of this regime that the floor comes from.
    pub comparisons: usize,
    /// Median absolute A/A difference of the same loop at the same address, in core cycles.
    pub same_loop_cycles: f64,
    /// Median absolute A/A difference of a copy of the loop at another address, in core cycles.
    pub copied_loop_cycles: f64,
}

/// A value and how sure it is. All intervals of the value, at any confidence, follow from its standard error and the
/// degrees of freedom by Student's t.
///
/// The interval of a ratio or of a percentage is symmetric in the logarithm of the ratio; all others are symmetric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The value.
    pub estimate: f64,
    /// Standard error of the value, in its unit.
    pub standard_error: f64,
    /// Degrees of freedom of the standard error.
    pub degrees_of_freedom: f64,
    /// Lower end of the interval at the confidence of the run.
    pub low: f64,
    /// Upper end of the interval at the confidence of the run.
    pub high: f64,
}

impl Estimate {
    /// The estimate of a measured value. `None` where a number is not finite or the confidence out of range.
    #[must_use]
    pub fn from_measured(measured: &Measured, confidence: f64) -> Option<Self> {
        let Interval { estimate, low, high } = measured.interval(confidence)?;
        let Measured { standard_error, degrees_of_freedom, .. } = *measured;
        Some(Estimate { estimate, standard_error, degrees_of_freedom, low, high })
    }

    /// The estimate of a ratio from its measured natural logarithm.
    #[must_use]
    pub fn ratio_from_log(log_ratio: &Measured, confidence: f64) -> Option<Self> {
        let Interval { estimate, low, high } = log_ratio.interval(confidence)?.map(f64::exp);
        let standard_error = estimate * log_ratio.standard_error;
        // An interval too wide for the logarithm has an end at 0 or at infinity.
        let in_range = low > 0.0 && high.is_finite() && standard_error.is_finite();
        let degrees_of_freedom = log_ratio.degrees_of_freedom;
        in_range.then_some(Estimate { estimate, standard_error, degrees_of_freedom, low, high })
    }

    /// The estimate of a difference in percent from the measured natural logarithm of the ratio.
    #[must_use]
    pub fn percent_from_log(log_ratio: &Measured, confidence: f64) -> Option<Self> {
        let ratio = Self::ratio_from_log(log_ratio, confidence)?;
        let Interval { estimate, low, high } = log_ratio.interval(confidence)?.map(|log| log.exp_m1() * 100.0);
        Some(Estimate { estimate, low, high, standard_error: ratio.standard_error * 100.0, ..ratio })
    }

    /// The measured value.
    #[must_use]
    pub fn measured(&self) -> Measured {
        let Estimate { estimate: value, standard_error, degrees_of_freedom, .. } = *self;
        Measured { value, standard_error, degrees_of_freedom }
    }

    /// The measured natural logarithm of a ratio, the inverse of [`ratio_from_log`](Self::ratio_from_log).
    #[must_use]
    pub fn log_of_ratio(&self) -> Measured {
        let Estimate { estimate, standard_error, degrees_of_freedom, .. } = *self;
        Measured { value: estimate.ln(), standard_error: standard_error / estimate, degrees_of_freedom }
    }

    /// The measured natural logarithm of the ratio behind a percentage, the inverse of
    /// [`percent_from_log`](Self::percent_from_log).
    #[must_use]
    pub fn log_of_percent(&self) -> Measured {
        let Estimate { estimate, standard_error, degrees_of_freedom, .. } = *self;
        let value = (estimate / 100.0).ln_1p();
        Measured { value, standard_error: standard_error / (100.0 + estimate), degrees_of_freedom }
    }

    /// The estimate in another unit, `factor` times as large. The factor is positive.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        Estimate {
            estimate: self.estimate * factor,
            standard_error: self.standard_error * factor,
            low: self.low * factor,
            high: self.high * factor,
            ..*self
        }
    }

    /// The value with the interval at the confidence of the run.
    #[must_use]
    pub fn interval(&self) -> Interval {
        let Estimate { estimate, low, high, .. } = *self;
        Interval { estimate, low, high }
    }
}

/// The median of the rounds of the run with their central 90%. It shows how much the rounds differ, and is no
/// confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CentralRange {
    /// The median.
    pub median: f64,
    /// The quantile at 5%.
    pub low: f64,
    /// The quantile at 95%.
    pub high: f64,
}

/// Descriptions of the ops, mechanisms and kernel options in the report.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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

/// Description of an op.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OpInfo {
    /// Name of the op, as in Linux.
    pub name: String,
    /// The structure within `pv_ops` that the op belongs to.
    pub group: Group,
    /// The kernels that have the op.
    pub since: Since,
    /// Number of arguments.
    pub arguments: usize,
    /// Whether the op returns a value.
    pub returns: bool,
    /// Whether the native body is real or modelled.
    pub native_kind: Kind,
    /// Whether the Xen body is real or modelled.
    pub xen_kind: Kind,
    /// What patching writes in place of a call of the native body.
    pub bytes: Bytes,
    /// Machine code of the native body without the return, in hexadecimal.
    pub native_code: String,
    /// Register convention of the call sites.
    pub conventions: Conventions,
    /// Prototype in C.
    pub prototype: String,
    /// Purpose of the op.
    pub purpose: String,
    /// Where Linux defines the op.
    pub source: String,
}

/// Description of a mechanism.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MechanismInfo {
    /// Name of the mechanism.
    pub name: String,
    /// Description of the mechanism in a sentence.
    pub summary: String,
    /// Where and since when the mechanism is used.
    pub known_from: String,
    /// The states that the sites are set to; empty if nothing is patched. All states of a mechanism are measured in one
    /// loop at one address, so layout does not bias a comparison of states. Loops of different mechanisms share only
    /// the offset within 128 bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<String>,
    /// Year in which Linux adopted the mechanism; absent if Linux never used it for these hooks. Steps of one year are
    /// in the order of the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub year: Option<u16>,
    /// The change that Linux made in that year, in one line; absent if Linux never used the mechanism for these hooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Machine code of some call sites.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listings: Vec<Listing>,
}

/// The machine code that a mechanism executes for an op.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Name of the op, which the catalogue holds.
    pub op: String,
    /// State of a patchable mechanism; absent for other mechanisms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The instructions in the order of execution.
    pub lines: Vec<ListingLine>,
}

/// One instruction of a listing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ListingLine {
    /// Bytes of the instruction in hexadecimal.
    pub bytes: String,
    /// Disassembly of the instruction.
    pub text: String,
    /// The part of the code that holds the instruction: `site`, `callee`, `thunk`, ..
    pub place: String,
    /// Whether patching changed the bytes.
    pub changed: bool,
}

/// The result for one op with one body, mechanism, state and regime.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// Name of the op.
    pub op: String,
    /// The body that the call reaches.
    pub body: BodyKind,
    /// Whether the body is real or modelled.
    pub kind: Kind,
    /// Name of the mechanism.
    pub mechanism: String,
    /// State of a patchable mechanism; absent for other mechanisms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The regime.
    pub regime: Regime,
    /// Overhead above `inline` in the same op, body and regime. For `inline` itself, a second `inline` against the
    /// first. Absent if it was not measured; `absent` holds the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overhead: Option<Overhead>,
    /// Reason why there is no overhead; absent if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
    /// Time of `inline` per op in this regime, in core cycles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_cycles: Option<f64>,
    /// The overhead at each layout.
    pub layouts: Vec<LayoutEstimate>,
    /// Largest minus smallest overhead over the layouts, in core cycles; absent with fewer than two layouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout_range: Option<f64>,
    /// Scatter of the overhead within and between rounds, workers and layouts; absent if too little was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// The values that workers gather at if they disagree; empty if they agree.
    pub modes: Vec<ModeShare>,
    /// Executed instructions; absent if they were not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<Instructions>,
    /// Reason why this cell has no instruction count although others have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions_absent: Option<String>,
    /// Hardware counters per op, by name; absent if the machine has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<BTreeMap<String, f64>>,
    /// The noise of this cell in core cycles: the floor of its regime times the op's cycles, or the largest A/A
    /// difference of its own comparison if that is greater.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_cycles: Option<f64>,
    /// The floor of this cell in core cycles: nothing below it is a difference. It is the largest of the noise, the
    /// layout range and the range of the modes at one layout, plus an allowance for chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor_cycles: Option<f64>,
    /// Whether the overhead is resolved: its interval lies beyond the floor on one side of zero.
    pub resolved: bool,
    /// Why the overhead is not resolved; absent if it is resolved or was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

/// An overhead in three units.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Overhead {
    /// Core cycles per op.
    pub cycles: Estimate,
    /// Nanoseconds per op at the core frequency of the run.
    pub ns: Estimate,
    /// Time per op divided by that of `inline`.
    pub ratio: Estimate,
}

/// The overhead at one layout.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LayoutEstimate {
    /// Offset of the loop head within 128 bytes, in bytes.
    pub offset: u32,
    /// Overhead in core cycles per op.
    pub cycles: Estimate,
    /// Number of workers that the overhead comes from.
    pub workers: usize,
}

/// A value that workers gather at, with their share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ModeShare {
    /// Offset of the layout at which the mode appeared, in bytes.
    pub offset: u32,
    /// Overhead in core cycles per op.
    pub cycles: f64,
    /// Share of the workers of that layout, 0 to 1.
    pub share: f64,
}

/// Executed instructions per op.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Instructions {
    /// Instructions per op, including those of the loop.
    pub per_op: f64,
    /// Instructions per op above `inline`.
    pub extra: f64,
}

/// The result of a macro benchmark.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WorkloadResult {
    /// Name of the workload.
    pub name: String,
    /// The unit that the workload repeats: one `mmap` call, one fork, ..
    pub unit: String,
    /// What a unit does.
    pub summary: String,
    /// The benchmark or paper that the workload is modelled on.
    pub source: String,
    /// Units per timed part of a run.
    pub units: u64,
    /// Number of workers that the numbers come from.
    pub workers: usize,
    /// Number of workers that were left out, because another thread had part of their core all the time.
    #[serde(default)]
    pub contended_workers: usize,
    /// Number of rounds that the numbers come from, over those workers. Each round has its own kernel placements and
    /// its own work. Kernel options have fewer rounds.
    #[serde(default)]
    pub placements: usize,
    /// Core cycles per unit with `inline`; absent if nothing was measured.
    pub inline_cycles: Option<Estimate>,
    /// Nanoseconds per unit with `inline`.
    pub inline_ns: Option<f64>,
    /// Executed instructions per unit with `inline`; absent if they could not be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_instructions: Option<f64>,
    /// Hardware counters per unit with `inline`, by name; absent if the machine has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_counters: Option<BTreeMap<String, f64>>,
    /// Calls of hooks per unit, by op.
    pub calls: BTreeMap<String, f64>,
    /// Difference between `inline` and its repeat, in percent.
    pub repeat_percent: Option<Estimate>,
    /// Differences between `inline` and its copies at other addresses, in percent.
    pub copies_percent: Vec<Estimate>,
    /// The floor in percent: the largest of these differences, each a mean over all placements of the run. Nothing
    /// below it is a difference.
    pub floor_percent: f64,
    /// The placement range in percent: 95% of two single placements of `inline` differ by no more, run-to-run noise
    /// removed. A comparison of two builds of the same source finds that much. Absent if kernels were not placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement_percent: Option<f64>,
    /// Reason why kernels stayed at the addresses that the linker chose; absent if every round placed them anew.
    /// Differences between kernels that stayed come partly from their addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place: Option<String>,
    /// The results of the kernels, each against `inline`.
    pub kernels: Vec<WorkloadKernel>,
}

/// The result of a macro benchmark on one kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WorkloadKernel {
    /// The mechanism of the hooks; absent for a kernel option.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<String>,
    /// State of a patchable mechanism. `inline` is the state of a kernel that booted on bare metal: native instructions
    /// if they fit, NOPs if there are none, direct calls otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The kernel option; absent for a mechanism.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<String>,
    /// Time above `inline`, in percent of the mean of `inline` over its placements.
    pub overhead_percent: Option<Estimate>,
    /// Time above `inline`, in core cycles per unit.
    pub overhead_cycles: Option<Estimate>,
    /// Executed instructions per unit; absent if they could not be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<UnitInstructions>,
    /// Reason why this kernel has no instruction count although others have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions_absent: Option<String>,
    /// Hardware counters per unit, by name; absent if the machine has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<BTreeMap<String, f64>>,
    /// The floor of this kernel in percent: that of the workload plus an allowance for chance. Nothing below it is a
    /// difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor_percent: Option<f64>,
    /// Whether the overhead is resolved: its interval lies beyond the floor of the kernel.
    pub resolved: bool,
    /// Why the overhead is not resolved, `floor` or `interval`; absent if it is resolved or was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// The prediction in percent: calls of hooks times the overheads of their cells in throughput.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_percent: Option<f64>,
    /// Reason why there is no prediction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_absent: Option<String>,
    /// Reason why nothing was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
}

/// Executed instructions per unit of a workload. A repeated string instruction counts once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UnitInstructions {
    /// Instructions per unit.
    pub per_unit: f64,
    /// Instructions above `inline`, in percent.
    pub extra_percent: f64,
}

/// Description of a kernel option.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OptionInfo {
    /// Name of the option.
    pub name: String,
    /// The configuration or boot parameter that switches the option on in Linux.
    pub switch: String,
    /// What the option does in the model kernel.
    pub summary: String,
}

/// Something that the whole report lacks, with the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Unavailable {
    /// The missing thing: `counters`, `instructions`, `workloads`, ..
    pub what: String,
    /// The reason.
    pub reason: String,
}

impl Unavailable {
    /// Whether the missing thing is an inlined body, so that `inline` of an op is not a valid baseline.
    #[must_use]
    pub fn is_of_baseline(&self) -> bool {
        self.what.starts_with("body of ")
    }
}

/// Failure of a worker during the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Index of the worker, from 0.
    pub worker: usize,
    /// The comparison that the worker was measuring: `op/body/regime@offset`; absent if there was none.
    pub comparison: Option<String>,
    /// The cause, with the signal or exit code.
    pub message: String,
}
