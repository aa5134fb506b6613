//! Checks of `pvbench doctor` on made-up machines: files of a temporary root, and answers of system calls.

mod clock;
mod cpus;
mod facts;
mod software;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use pvbench::host::{
    Check, ClockChoice, CounterError, CpuFacts, CpuTime, Cpuid, FoundTool, IAI_CALLGRIND_SERIES, Machine, ProbeError,
    Probes, Registers, Root, Status, ToolError, checks, checks_with, clock_choice, has_serialize, measuring_cpu,
    pmu_unavailable,
};
use tempfile::TempDir;

const IDS: [&str; 20] = [
    "tsc_constant",
    "tsc_invariant",
    "clock",
    "governor",
    "turbo",
    "smt_sibling",
    "cpu_affinity",
    "load",
    "steal",
    "virtualised",
    "pmu",
    "perf_event_paranoid",
    "aslr",
    "thp",
    "mitigations",
    "microcode",
    "valgrind",
    "iai_callgrind_runner",
    "memfd",
    "ptrace",
];

const CPU: &str = "sys/devices/system/cpu";

/// `/proc/stat` of two CPUs, one second apart; the second CPU is busy for that second.
const BEFORE: &str = "cpu  100 0 50 1000 5 0 2 0 0 0\ncpu0 50 0 20 500 5 0 2 0 0 0\ncpu1 50 0 30 500 0 0 0 0 0 0\n";
const AFTER: &str = "cpu  195 0 60 1095 5 0 2 0 0 0\ncpu0 51 0 20 599 5 0 2 0 0 0\ncpu1 144 0 40 496 0 0 0 0 0 0\n";

/// Makes `/proc/self/stat` of a process with an odd name, from its own ticks and those of its children.
fn own(ticks: u64, child_ticks: u64) -> String {
    format!("7 (a) b) S 1 7 7 0 -1 4194304 1 0 0 0 {ticks} 0 0 {child_ticks} 20 0 1 0 100 1 1 1\n")
}

/// The CPU time of the machine of [`Made::fit`] before the observed second.
fn cpu_time() -> Result<CpuTime, String> {
    let before = Made::bare().with("proc/stat", BEFORE).with("proc/self/stat", &own(100, 50));
    CpuTime::read(&before.root(), &[0, 1])
}

/// A made-up machine: a tree of files and the answers of system calls.
struct Made {
    folder: TempDir,
    probes: Probes,
}

impl Made {
    /// A machine without files, with answers that do not matter.
    fn bare() -> Self {
        Self::empty(Probes { cpu_time: Err(String::new()), ..blind_probes() })
    }

    fn empty(probes: Probes) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, probes }
    }

    /// Bare metal without any warning. CPU 1 is measured.
    fn fit() -> Self {
        let mut made = Self::empty(fit_probes());
        for (file, text) in [
            ("proc/stat", AFTER),
            ("proc/self/stat", &own(150, 90)),
            ("proc/sys/kernel/perf_event_paranoid", "2\n"),
            ("proc/sys/kernel/randomize_va_space", "2\n"),
            ("proc/sys/kernel/osrelease", "6.12.1\n"),
            ("proc/sys/kernel/yama/ptrace_scope", "1\n"),
            (
                "proc/self/status",
                "Name:\tx\nTracerPid:\t0\nCapEff:\t0000000000000000\nSeccomp:\t0\n\
                 Speculation_Store_Bypass:\tthread vulnerable\nSpeculationIndirectBranch:\tconditional enabled\n\
                 Cpus_allowed_list:\t0-1\n",
            ),
            (
                "proc/cpuinfo",
                "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\n\
                 model name\t: AMD EPYC 9554 64-Core Processor\nstepping\t: 1\nmicrocode\t: 0xa101148\n\n\
                 processor\t: 1\nvendor_id\t: Other\n",
            ),
            ("proc/meminfo", "MemTotal:       1024 kB\nMemFree: 1 kB\n"),
            ("etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"),
            ("sys/devices/system/cpu/online", "0-1\n"),
            ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n"),
            ("sys/devices/system/cpu/cpufreq/boost", "0\n"),
            ("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1\n"),
            ("sys/devices/system/cpu/cpu1/cache/index3/level", "1\n"),
            ("sys/devices/system/cpu/cpu1/cache/index3/type", "Data\n"),
            ("sys/devices/system/cpu/cpu1/cache/index3/size", "32K\n"),
            ("sys/devices/system/cpu/cpu1/cache/index0/level", "3\n"),
            ("sys/devices/system/cpu/cpu1/cache/index0/type", "Unified\n"),
            ("sys/devices/system/cpu/cpu1/cache/index0/size", "32768K\n"),
            ("sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n"),
            (
                "sys/devices/system/cpu/vulnerabilities/spectre_v2",
                "Mitigation: Retpolines; IBPB: conditional; STIBP: always-on; RSB filling\n",
            ),
            ("sys/devices/system/cpu/vulnerabilities/spec_rstack_overflow", "Mitigation: Safe RET\n"),
            ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
        ] {
            made = made.with(file, text);
        }
        made
    }

    fn with(self, file: &str, text: &str) -> Self {
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, text).expect("a file");
        self
    }

    fn without(self, path: &str) -> Self {
        let path = self.folder.path().join(path);
        if path.is_dir() {
            fs::remove_dir_all(path).expect("a folder to remove");
        } else {
            fs::remove_file(path).expect("a file to remove");
        }
        self
    }

    fn probed(mut self, change: impl FnOnce(&mut Probes)) -> Self {
        change(&mut self.probes);
        self
    }

    fn guest(self) -> Self {
        self.probed(|probes| probes.cpu.hypervisor = Some("KVMKVMKVM".into()))
    }

    fn root(&self) -> Root {
        Root::new(self.folder.path())
    }

    fn check(&self, id: &str) -> Check {
        checks_with(&self.root(), &self.probes).into_iter().find(|check| check.id == id).expect("a check of that id")
    }

    /// Asserts that the check `id` has a status, mentions `word`, and has advice unless it is ok.
    #[track_caller]
    fn says(&self, id: &str, status: Status, word: &str) {
        let check = self.check(id);
        assert_eq!(check.status, status, "{check:?}");
        assert!(check.detail.contains(word), "{word:?} in {check:?}");
        assert!(status == Status::Ok || check.advice.is_some(), "{check:?}");
        assert_warning_is_complete(&check);
    }
}

/// Asserts that a warning has its effect on the numbers, and a command that mends it.
#[track_caller]
fn assert_warning_is_complete(check: &Check) {
    if check.status == Status::Warning {
        assert!(check.effect.as_ref().is_some_and(|effect| !effect.is_empty()), "{check:?}");
        assert!(check.advice.as_ref().is_some_and(|advice| advice.matches('`').count() >= 2), "{check:?}");
    }
}

fn good_clock() -> CpuFacts {
    CpuFacts {
        hypervisor: None,
        tsc_readable: true,
        tsc_constant: true,
        tsc_invariant: true,
        tsc_monotonic: Some(true),
        tsc_hz: None,
        tsc_kept_by_kernel: Some(true),
    }
}

fn tool(path: &str, version: &str) -> Option<FoundTool> {
    Some(FoundTool { path: PathBuf::from(path), version: Ok(version.to_owned()) })
}

fn fit_probes() -> Probes {
    Probes {
        cpu: good_clock(),
        cpus_allowed: Ok(vec![0, 1]),
        measuring_cpu: Some(1),
        cycles_counter: Ok(()),
        personality: Ok(0),
        executable_memfd: Ok(()),
        valgrind: tool("/usr/bin/valgrind", "3.19.0"),
        iai_callgrind_runner: tool("/usr/bin/iai-callgrind-runner", "0.16.1"),
        cpu_time: cpu_time(),
    }
}

fn refused(call: &'static str) -> ProbeError {
    ProbeError { call, source: io::Error::from_raw_os_error(libc::EPERM) }
}

/// A machine on which no fact can be read.
fn blind() -> Made {
    Made::empty(blind_probes())
}

fn blind_probes() -> Probes {
    Probes {
        cpu: CpuFacts {
            hypervisor: Some(String::new()),
            tsc_readable: true,
            tsc_constant: false,
            tsc_invariant: false,
            tsc_monotonic: None,
            tsc_hz: None,
            tsc_kept_by_kernel: None,
        },
        cpus_allowed: Err(refused("sched_getaffinity")),
        measuring_cpu: None,
        cycles_counter: Err(CounterError::Open(io::Error::from_raw_os_error(libc::ENOENT))),
        personality: Err(refused("personality")),
        executable_memfd: Ok(()),
        valgrind: None,
        iai_callgrind_runner: None,
        cpu_time: Err("/proc/stat does not exist".to_owned()),
    }
}

#[test]
fn every_check_of_a_fit_machine_is_ok() {
    let made = Made::fit();
    let found = checks_with(&made.root(), &made.probes);
    let ids: Vec<&str> = found.iter().map(|check| check.id.as_str()).collect();
    assert_eq!(ids, IDS);
    for check in found {
        assert_eq!(check.status, Status::Ok, "{check:?}");
        assert_eq!(check.advice, None, "{check:?}");
    }
}

#[test]
fn every_check_without_facts_is_unknown() {
    let made = blind();
    for check in checks_with(&made.root(), &made.probes) {
        // The check memfd can always try a mapping.
        if check.id != "memfd" {
            assert_eq!(check.status, Status::Unknown, "{check:?}");
            assert!(check.advice.is_some(), "{check:?}");
        }
    }
}

#[test]
fn every_check_of_this_machine_has_an_id_and_a_detail_of_one_line() {
    let found = checks(&Root::default());
    let ids: Vec<&str> = found.iter().map(|check| check.id.as_str()).collect();
    assert_eq!(ids, IDS);
    for check in &found {
        assert!(!check.detail.is_empty(), "{check:?}");
        assert!(!check.detail.contains('\n'), "{check:?}");
        assert!(check.status == Status::Ok || check.advice.is_some(), "{check:?}");
        assert_warning_is_complete(check);
    }
    let pmu = found.iter().find(|check| check.id == "pmu").expect("pmu");
    assert_eq!(pmu_unavailable().is_none(), pmu.status == Status::Ok);
}

#[test]
fn a_check_is_serialised_with_a_lower_case_status_and_without_empty_advice() {
    let check = Made::fit().check("governor");
    let text = serde_json::to_string(&check).expect("JSON");
    assert_eq!(text, r#"{"id":"governor","status":"ok","detail":"CPU 1 has governor performance"}"#);
    assert_eq!(serde_json::from_str::<Check>(&text).expect("a check"), check);
}
