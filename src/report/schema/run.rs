//! The run: its program, its plan, the state of the core, and the floors.

use serde::{Deserialize, Serialize};

use crate::op::BodyKind;
use crate::regime::Regime;

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
    /// Name of the suite that was measured; absent in older reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// The compiler that made the program, as it names itself: `rustc version 1.95.0 (..)`; absent in older reports, and
    /// if the program does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rustc: Option<String>,
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
    /// Palindromic blocks per comparison and worker; one layout has one block more.
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
    /// Ticks per core cycle, from a chain of dependent adds: the median and the middle 90% over the blocks of the run.
    pub ticks_per_cycle: CentralRange,
    /// Core frequency in GHz, computed from `ticks_per_cycle` over the same blocks.
    pub core_ghz: CentralRange,
    /// Core throughput: independent adds per core cycle over the same blocks. It shows how much of the core the run
    /// had. Two runs are comparable if their core throughput agrees.
    pub adds_per_cycle: Option<CentralRange>,
    /// Share of contended blocks, 0 to 1: independent adds ran slower than the core can, because another hyperthread
    /// had part of it. Contended blocks are left out if enough workers had uncontended ones; `workers` of a layout
    /// counts the workers used.
    pub contended_share: f64,
    /// Number of blocks that the numbers come from.
    pub rounds: usize,
    /// Number of dropped blocks. A block is dropped if the core changed its frequency, the process was stopped or lost
    /// its CPU during it, or if another hyperthread had part of the core. Each dropped block was measured again.
    pub dropped_rounds: usize,
    /// Number of values of variants that were rejected in the other blocks, because their two windows disagreed.
    pub dropped_values: usize,
}

/// The median of the blocks of the run with their central 90%. It shows how much the blocks differ, and is no
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

/// The floor of the run over all regimes, from A/A comparisons: `inline` against a copy of itself, in the same blocks
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
