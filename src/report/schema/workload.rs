//! The result of a macro benchmark.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Estimate, Limit};
use crate::report::kernel_time::Range;
use crate::stats::surroundings::Surroundings;

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
    /// Number of blocks that the numbers come from, over those workers. Each block has its own kernel placements and
    /// its own work. Kernel options have fewer blocks.
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
    /// What surrounds the hooks in the executed code, with every hook a call through the table; absent if that was not
    /// traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surroundings: Option<Surroundings>,
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
    /// Reason why kernels stayed at the addresses that the linker chose; absent if every block placed them anew.
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
    /// The bounds of a prediction in percent: if the calls hide completely, to if nothing hides them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_range_percent: Option<Range>,
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
