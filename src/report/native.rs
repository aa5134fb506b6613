//! The types of `native` in the report: the time of the real kernel's workloads on the kernel that is running.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::schema::{Estimate, Unavailable};

/// The time of workloads as ordinary processes of the running kernel: the denominators of percentages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Native {
    /// The running kernel.
    pub kernel: NativeKernel,
    /// The measured workloads, in the order of `pvbench linux`.
    pub workloads: Vec<Denominator>,
    /// Workloads that were not measured, with the reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Unavailable>,
}

impl Native {
    /// The time of a workload.
    #[must_use]
    pub fn denominator(&self, workload: &str) -> Option<&Denominator> {
        self.workloads.iter().find(|it| it.workload == workload)
    }
}

/// The running kernel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NativeKernel {
    /// The release, as in `uname -r`; absent if it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// What the kernel made of its `pv_ops`; absent if its configuration cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pv_ops: Option<String>,
    /// The signature of the hypervisor; absent if CPUID shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtualised: Option<String>,
    /// The mitigation of each CPU vulnerability, by the names of the files in
    /// `/sys/devices/system/cpu/vulnerabilities`.
    #[serde(default)]
    pub mitigations: BTreeMap<String, String>,
}

impl NativeKernel {
    /// `Linux 6.18.1, under the hypervisor KVMKVMKVM, 2 mitigations active; its own pv_ops: patched at boot, ..`
    #[must_use]
    pub fn describe(&self) -> String {
        let release = self.release.as_deref().unwrap_or("of unknown release");
        let under = match self.virtualised.as_deref() {
            None => "not virtualised".to_owned(),
            Some("") => "under a hypervisor without a name".to_owned(),
            Some(name) => format!("under the hypervisor {name}"),
        };
        let is_active = |state: &&String| !state.starts_with("Not affected") && !state.starts_with("Vulnerable");
        let active = self.mitigations.values().filter(is_active).count();
        let pv_ops = self.pv_ops.as_deref().unwrap_or("unknown, since its configuration cannot be read");
        format!("Linux {release}, {under}, {active} mitigations active; its own pv_ops: {pv_ops}")
    }
}

/// The time of a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Denominator {
    /// Name of the workload.
    pub workload: String,
    /// The unit that the workload repeats.
    pub unit: String,
    /// Core cycles per unit.
    pub cycles: Estimate,
    /// Nanoseconds per unit.
    pub ns: f64,
    /// Processes that were measured one after another.
    pub processes: usize,
    /// Blocks of all processes, of two windows each.
    pub blocks: usize,
    /// Units per window.
    pub units: u64,
    /// Share of the cycles that the kernel took, by the hardware counters; absent without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_share: Option<f64>,
    /// Why the time is longer than the same kernel would take on the bare CPU; absent if nothing shows that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inflated: Option<String>,
}
