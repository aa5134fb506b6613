//! What the machine is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CpuFacts, Probes, Root, cpu_list, measuring_cpu};

const CPUINFO: &str = "proc/cpuinfo";
/// Where the kernel tells what it does about each flaw of the CPU.
pub(super) const VULNERABILITIES: &str = "sys/devices/system/cpu/vulnerabilities";

/// The machine a report was made on. What could not be read is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Machine {
    /// The CPU's name, as `AMD EPYC 9554 64-Core Processor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_model: Option<String>,
    /// The CPU's vendor, as `AuthenticAMD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_vendor: Option<String>,
    /// The CPU's family, with the extended family added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_family: Option<u32>,
    /// The model within the family, with the extended model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_model_number: Option<u32>,
    /// The stepping of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_stepping: Option<u32>,
    /// The revision of the microcode as the kernel prints it, as `0xa101148`. In a guest the hypervisor chooses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub microcode: Option<String>,
    /// How many CPUs are online.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus_online: Option<u32>,
    /// The numbers of the CPUs this process may run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus_allowed: Option<Vec<u32>>,
    /// The signature of the hypervisor (CPUID leaf 0x40000000), as `KVMKVMKVM`; empty where it gives none, absent where
    /// no hypervisor shows itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtualised: Option<String>,
    /// The release of the kernel, as `uname -r`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The distribution: `PRETTY_NAME` of os-release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// Ticks of the time stamp counter per second, where CPUID tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tsc_hz: Option<u64>,
    /// The caches of the CPU measured on, innermost first; empty where the kernel does not show them.
    #[serde(default)]
    pub caches: Vec<Cache>,
    /// The memory of the machine in bytes, less what the kernel took at boot (`MemTotal`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// What the kernel does about each flaw of the CPU, by the names of the files in
    /// `/sys/devices/system/cpu/vulnerabilities`.
    #[serde(default)]
    pub mitigations: BTreeMap<String, String>,
}

/// One cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cache {
    /// 1 is nearest to the core.
    pub level: u32,
    /// `Data`, `Instruction` or `Unified`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its size in bytes.
    pub size_bytes: u64,
}

impl Machine {
    /// The machine under `root`, with the running CPU's answers to CPUID.
    pub fn read(root: &Root) -> Self {
        Self::read_with(root, &CpuFacts::read(root))
    }

    /// The machine under `root`, with what CPUID tells given.
    pub fn read_with(root: &Root, cpu: &CpuFacts) -> Self {
        Self::read_on(root, cpu, allowed_now(root), None)
    }

    /// The machine under `root` as the probes found it at the start. A run leaves one CPU to its workers: afterwards this
    /// process is allowed fewer CPUs than it was given, and not the one that is measured.
    pub fn read_probed(root: &Root, probes: &Probes) -> Self {
        let allowed = probes.cpus_allowed.as_ref().ok().cloned().or_else(|| allowed_now(root));
        Self::read_on(root, &probes.cpu, allowed, probes.measuring_cpu)
    }

    /// The machine with the CPUs that are allowed, and the caches of the CPU that is measured.
    fn read_on(root: &Root, cpu: &CpuFacts, cpus_allowed: Option<Vec<u32>>, measured: Option<u32>) -> Self {
        let cpuinfo = |key| root.field(CPUINFO, ':', key).filter(|it| !it.is_empty());
        let number = |key| cpuinfo(key).and_then(|it| it.parse().ok());
        let measured = measured.or_else(|| cpus_allowed.as_deref().and_then(measuring_cpu)).unwrap_or(0);
        Self {
            cpu_model: cpuinfo("model name"),
            cpu_vendor: cpuinfo("vendor_id"),
            cpu_family: number("cpu family"),
            cpu_model_number: number("model"),
            cpu_stepping: number("stepping"),
            microcode: cpuinfo("microcode"),
            cpus_online: cpus_online(root),
            cpus_allowed,
            virtualised: cpu.hypervisor.clone(),
            kernel: root.line("proc/sys/kernel/osrelease").ok(),
            os: os(root),
            tsc_hz: cpu.tsc_hz,
            caches: caches(root, measured),
            memory_bytes: root
                .field("proc/meminfo", ':', "MemTotal")
                .and_then(|it| it.strip_suffix("kB")?.trim().parse::<u64>().ok())
                .and_then(|kib| kib.checked_mul(1024)),
            mitigations: mitigations(root),
        }
    }
}

/// The CPUs that this process is allowed at this moment.
fn allowed_now(root: &Root) -> Option<Vec<u32>> {
    root.field("proc/self/status", ':', "Cpus_allowed_list").and_then(|list| cpu_list::parse(&list))
}

/// How many CPUs are online.
pub(super) fn cpus_online(root: &Root) -> Option<u32> {
    let list = root.line("sys/devices/system/cpu/online").ok()?;
    u32::try_from(cpu_list::parse(&list)?.len()).ok()
}

/// Every file of the vulnerabilities folder that can be read.
pub(super) fn mitigations(root: &Root) -> BTreeMap<String, String> {
    root.names(VULNERABILITIES)
        .into_iter()
        .filter_map(|name| {
            let state = root.line(&format!("{VULNERABILITIES}/{name}")).ok()?;
            Some((name, state))
        })
        .collect()
}

/// os-release(5) has it in /etc, else in /usr/lib.
fn os(root: &Root) -> Option<String> {
    ["etc/os-release", "usr/lib/os-release"]
        .into_iter()
        .find_map(|file| root.field(file, '=', "PRETTY_NAME"))
        .map(|name| name.trim_matches(['"', '\'']).to_owned())
        .filter(|name| !name.is_empty())
}

fn caches(root: &Root, cpu: u32) -> Vec<Cache> {
    let folder = format!("sys/devices/system/cpu/cpu{cpu}/cache");
    let mut caches: Vec<Cache> = root
        .names(&folder)
        .iter()
        .filter(|name| name.starts_with("index"))
        .filter_map(|index| {
            let read = |file| root.line(&format!("{folder}/{index}/{file}")).ok();
            Some(Cache {
                level: read("level")?.parse().ok()?,
                kind: read("type")?,
                size_bytes: size_bytes(&read("size")?)?,
            })
        })
        .collect();
    caches.sort_by(|a, b| (a.level, &a.kind).cmp(&(b.level, &b.kind)));
    caches
}

/// The kernel writes sizes of caches as `32K`.
fn size_bytes(text: &str) -> Option<u64> {
    let (digits, unit) = match text.strip_suffix('K') {
        Some(digits) => (digits, 1024),
        None => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}
