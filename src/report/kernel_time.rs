//! The types of `kernel_time` in the report: what a real kernel's hooks cost, in percent of the time that the running
//! kernel takes.
//!
//! ```text
//! percent = hooks per unit (recorded) x cycles per hook (cells) / cycles per unit (native)
//! ```

use serde::{Deserialize, Serialize};

use super::native::Native;
use super::recorded::Recorded;

/// The cost of a real kernel's hooks, with the factors that it is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KernelTime {
    /// How often the hooks are called.
    pub recorded: Recorded,
    /// How long the workloads take on the running kernel.
    pub native: Native,
    /// The cost of each workload's hooks with each mechanism, in the order of the workloads.
    pub prices: Vec<Price>,
}

impl KernelTime {
    /// The price of a workload with a mechanism.
    #[must_use]
    pub fn price(&self, workload: &str, mechanism: &str, state: Option<&str>) -> Option<&Price> {
        self.prices
            .iter()
            .find(|it| it.workload == workload && it.mechanism == mechanism && it.state.as_deref() == state)
    }
}

/// The cost of a workload's hooks with a mechanism, above `inline`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Name of the workload.
    pub workload: String,
    /// Name of the mechanism.
    pub mechanism: String,
    /// State of a patchable mechanism.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Calls of hooks per unit.
    pub hooks: f64,
    /// Share of them that are cold.
    pub cold_share: f64,
    /// Share of them whose op has no cell: they have the median price of the other ops.
    pub unmeasured_share: f64,
    /// Share of them that are cold, but have the price of hot calls, because no cold cell was measured.
    pub cold_as_hot_share: f64,
    /// Core cycles per unit.
    pub cycles: Range,
    /// Core cycles per hook.
    pub cycles_per_hook: Range,
    /// Core cycles per unit if the hooks hide as much as those of the model kernel do with this mechanism, in the
    /// median over its workloads; absent if no workload was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likely_cycles: Option<f64>,
    /// The same in percent of the time of a unit on the running kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likely_percent: Option<f64>,
    /// Percent of the time of a unit on the running kernel; absent if that was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Range>,
}

/// A number that is known to lie between two bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// If the calls hide completely behind the work around them.
    pub low: f64,
    /// If nothing hides them.
    pub high: f64,
}

impl Range {
    /// A number within the range, `share` of the way from its low to its high bound.
    #[must_use]
    pub fn at(self, share: f64) -> f64 {
        self.low + share * (self.high - self.low)
    }

    /// The range in another unit, with bounds `factor` times as large. The factor is positive.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Range {
        Range { low: self.low * factor, high: self.high * factor }
    }
}
