//! The types of `recorded` in the report: how often a real kernel calls its hooks, and how warm their sites are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stats::Interval;
use crate::stats::surroundings::Surroundings;

/// Calls of hooks that were recorded in a real kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// The kernel: release and version.
    pub kernel: String,
    /// Boot parameters that were added.
    pub parameters: String,
    /// The workloads, in the order of `pvbench linux`.
    pub workloads: Vec<RecordedWorkload>,
}

impl Recorded {
    /// The workload of this name.
    #[must_use]
    pub fn workload(&self, name: &str) -> Option<&RecordedWorkload> {
        self.workloads.iter().find(|workload| workload.workload == name)
    }
}

/// A recorded workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RecordedWorkload {
    /// Its name.
    pub workload: String,
    /// The unit that the workload repeats.
    pub unit: String,
    /// The workload of the model kernel that does the same; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Executed instructions per unit; a `rep` counts once.
    pub instructions: f64,
    /// Instructions that the kernel executes more per unit if its sites are never patched, percent: counted by `pvbench
    /// linux ab`, as mean, minimum and maximum over its boots. Absent if they were not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub never_patched_percent: Option<Interval>,
    /// What surrounds the hooks; absent if there are fewer than two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surroundings: Option<Surroundings>,
    /// Calls of hooks per unit, by op.
    pub calls: BTreeMap<String, RecordedCalls>,
}

impl RecordedWorkload {
    /// Calls of all hooks per unit.
    #[must_use]
    pub fn hooks(&self) -> f64 {
        self.calls.values().map(|calls| calls.hot + calls.cold).sum()
    }
}

/// Calls of an op per unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RecordedCalls {
    /// Calls from sites whose line of code was used at most 512 other lines before: the first-level cache has it.
    pub hot: f64,
    /// All other calls.
    pub cold: f64,
}
