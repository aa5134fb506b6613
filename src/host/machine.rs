//! Facts about the machine: CPU, kernel, caches, memory, mitigations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CpuFacts, Probes, Root, cpu_list, measuring_cpu};

const CPUINFO: &str = "proc/cpuinfo";
/// Folder with the mitigation of each CPU vulnerability.
pub(super) const VULNERABILITIES: &str = "sys/devices/system/cpu/vulnerabilities";

/// The machine of a report. Facts that could not be read are absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Machine {
    /// The name of the CPU, such as `AMD EPYC 9554 64-Core Processor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_model: Option<String>,
    /// The vendor of the CPU, such as `AuthenticAMD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_vendor: Option<String>,
    /// The family of the CPU, with the extended family added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_family: Option<u32>,
    /// The model within the family, with the extended model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_model_number: Option<u32>,
    /// The stepping of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_stepping: Option<u32>,
    /// The microcode revision as the kernel prints it, such as `0xa101148`. In a guest the hypervisor chooses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub microcode: Option<String>,
    /// Threads that share the core of the measured CPU, itself included. In a guest the hypervisor tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads_per_core: Option<u32>,
    /// Identity of this boot, which the kernel draws anew at every start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// Number of CPUs online.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus_online: Option<u32>,
    /// The numbers of the CPUs that this process may run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus_allowed: Option<Vec<u32>>,
    /// The signature of the hypervisor (CPUID leaf 0x40000000), such as `KVMKVMKVM`. It may be empty, and is absent if
    /// CPUID shows no hypervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtualised: Option<String>,
    /// The release of the kernel, as in `uname -r`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The distribution: `PRETTY_NAME` of os-release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// Ticks of the time stamp counter per second, if CPUID has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tsc_hz: Option<u64>,
    /// The caches of the measured CPU, innermost first; empty if the kernel does not show them.
    #[serde(default)]
    pub caches: Vec<Cache>,
    /// The memory of the machine in bytes, without the part that the kernel reserved at boot (`MemTotal`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The mitigation of each CPU vulnerability, by the names of the files in
    /// `/sys/devices/system/cpu/vulnerabilities`.
    #[serde(default)]
    pub mitigations: BTreeMap<String, String>,
}

/// A cache of the CPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cache {
    /// The level; 1 is nearest to the core.
    pub level: u32,
    /// `Data`, `Instruction` or `Unified`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The size in bytes.
    pub size_bytes: u64,
}

impl Machine {
    /// Reads the machine under `root`, with CPUID of the running CPU.
    pub fn read(root: &Root) -> Self {
        Self::read_with(root, &CpuFacts::read(root))
    }

    /// Reads the machine under `root`, with given facts from CPUID.
    pub fn read_with(root: &Root, cpu: &CpuFacts) -> Self {
        Self::read_on(root, cpu, read_allowed_cpus(root), None)
    }

    /// Reads the machine under `root`, with allowed CPUs and measured CPU as probed at the start of the run. During a
    /// run the parent process may not use the CPU of its workers, so the present affinity would be wrong.
    pub fn read_probed(root: &Root, probes: &Probes) -> Self {
        let allowed = probes.cpus_allowed.as_ref().ok().cloned().or_else(|| read_allowed_cpus(root));
        Self::read_on(root, &probes.cpu, allowed, probes.measuring_cpu)
    }

    /// Reads the machine, with given allowed CPUs and the CPU whose caches are listed.
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
            threads_per_core: count_threads_per_core(root, measured),
            boot_id: root.line("proc/sys/kernel/random/boot_id").ok(),
            cpus_online: count_cpus_online(root),
            cpus_allowed,
            virtualised: cpu.hypervisor.clone(),
            kernel: root.line("proc/sys/kernel/osrelease").ok(),
            os: read_os_name(root),
            tsc_hz: cpu.tsc_hz,
            caches: read_caches(root, measured),
            memory_bytes: root
                .field("proc/meminfo", ':', "MemTotal")
                .and_then(|it| it.strip_suffix("kB")?.trim().parse::<u64>().ok())
                .and_then(|kib| kib.checked_mul(1024)),
            mitigations: read_mitigations(root),
        }
    }
}

/// Reads the CPUs that this process may use at this moment.
fn read_allowed_cpus(root: &Root) -> Option<Vec<u32>> {
    root.field("proc/self/status", ':', "Cpus_allowed_list").and_then(|list| cpu_list::parse(&list))
}

/// Counts the threads that share the core of a CPU.
fn count_threads_per_core(root: &Root, cpu: u32) -> Option<u32> {
    let list = root.line(&format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")).ok()?;
    u32::try_from(cpu_list::parse(&list)?.len()).ok().filter(|count| *count > 0)
}

/// Counts the CPUs online.
pub(super) fn count_cpus_online(root: &Root) -> Option<u32> {
    let list = root.line("sys/devices/system/cpu/online").ok()?;
    u32::try_from(cpu_list::parse(&list)?.len()).ok()
}

/// Reads all files of the vulnerabilities folder that can be read.
pub(super) fn read_mitigations(root: &Root) -> BTreeMap<String, String> {
    root.names(VULNERABILITIES)
        .into_iter()
        .filter_map(|name| {
            let state = root.line(&format!("{VULNERABILITIES}/{name}")).ok()?;
            Some((name, state))
        })
        .collect()
}

/// Reads the name of the distribution; os-release(5) is in /etc, else in /usr/lib.
fn read_os_name(root: &Root) -> Option<String> {
    ["etc/os-release", "usr/lib/os-release"]
        .into_iter()
        .find_map(|file| root.field(file, '=', "PRETTY_NAME"))
        .map(|name| name.trim_matches(['"', '\'']).to_owned())
        .filter(|name| !name.is_empty())
}

fn read_caches(root: &Root, cpu: u32) -> Vec<Cache> {
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
                size_bytes: parse_size_bytes(&read("size")?)?,
            })
        })
        .collect();
    caches.sort_by(|a, b| (a.level, &a.kind).cmp(&(b.level, &b.kind)));
    caches
}

/// Parses the size of a cache, which the kernel writes as `32K`.
fn parse_size_bytes(text: &str) -> Option<u64> {
    let (digits, unit) = match text.strip_suffix('K') {
        Some(digits) => (digits, 1024),
        None => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}
