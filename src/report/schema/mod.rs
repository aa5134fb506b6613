//! The types of `report.json`, version [`SCHEMA`].
//!
//! Field names hold the units. A number that was not measured is absent, never 0 and never NaN; [`Report::absent`] or
//! the cell's own `absent` holds the reason. Fields are written in the order of declaration.

mod catalogue;
mod cell;
mod estimate;
mod run;
mod workload;

use serde::{Deserialize, Serialize};

pub use self::catalogue::{Catalogue, Listing, ListingLine, MechanismInfo, OpInfo, OptionInfo};
pub use self::cell::{Cell, Instructions, LayoutEstimate, ModeShare, Overhead};
pub use self::estimate::Estimate;
pub use self::run::{Calibration, CentralRange, Floor, PlanSummary, RegimeFloor, Run, Tool};
pub use self::workload::{UnitInstructions, WorkloadKernel, WorkloadResult};
use super::kernel_time::KernelTime;
use super::linux::Linux;
use crate::host::{Check, Machine};
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
    /// Conversion of clock ticks to core cycles; absent if no block was finished.
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
    /// What a real kernel's hooks cost in the running kernel's time; absent if that was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_time: Option<KernelTime>,
    /// Instruction counts of real kernels; absent if none were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
    /// What the whole report lacks, with the reasons. They are not repeated in the cells.
    pub absent: Vec<Unavailable>,
    /// Failures of workers during the run.
    pub failures: Vec<Failure>,
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
    pub(crate) fn is_of_baseline(&self) -> bool {
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
