//! Checks of `pvbench doctor` on made-up machines: files of a temporary root, and answers of system calls.

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

#[test]
fn a_counter_without_guarantees_is_a_warning_on_bare_metal_and_unknown_in_a_guest() {
    let unguaranteed = || {
        Made::fit().probed(|probes| {
            probes.cpu.tsc_constant = false;
            probes.cpu.tsc_invariant = false;
        })
    };
    for id in ["tsc_constant", "tsc_invariant"] {
        unguaranteed().says(id, Status::Warning, "not guaranteed");
        unguaranteed().guest().says(id, Status::Unknown, "hypervisor");
    }
    unguaranteed().says("clock", Status::Warning, "clock of the operating system");
    unguaranteed().guest().says("clock", Status::Unknown, "clock of the operating system");
}

#[test]
fn an_observed_fault_of_the_counter_is_a_warning_in_a_guest_too() {
    let backwards = Made::fit().guest().probed(|it| it.cpu.tsc_monotonic = Some(false));
    backwards.says("clock", Status::Warning, "backwards");
    let given_up = Made::fit().guest().probed(|it| it.cpu.tsc_kept_by_kernel = Some(false));
    given_up.says("clock", Status::Warning, "kernel");
    let forbidden = Made::fit().probed(|it| {
        it.cpu.tsc_readable = false;
        it.cpu.tsc_monotonic = None;
    });
    forbidden.says("clock", Status::Warning, "cannot be read");
}

#[test]
fn the_time_stamp_counter_is_the_clock_only_if_all_conditions_hold() {
    assert_eq!(clock_choice(&good_clock()), ClockChoice::Tsc);
    let unlisted = CpuFacts { tsc_kept_by_kernel: None, ..good_clock() };
    assert_eq!(clock_choice(&unlisted), ClockChoice::Tsc);
    for (wrong, word) in [
        (CpuFacts { tsc_readable: false, ..good_clock() }, "cannot be read"),
        (CpuFacts { tsc_constant: false, ..good_clock() }, "constant rate"),
        (CpuFacts { tsc_invariant: false, ..good_clock() }, "sleep"),
        (CpuFacts { tsc_monotonic: Some(false), ..good_clock() }, "backwards"),
        (CpuFacts { tsc_monotonic: None, ..good_clock() }, "not tested"),
        (CpuFacts { tsc_kept_by_kernel: Some(false), ..good_clock() }, "kernel"),
    ] {
        match clock_choice(&wrong) {
            ClockChoice::Os { reason } => assert!(reason.contains(word), "{word:?} in {reason:?}"),
            ClockChoice::Tsc => panic!("the counter was chosen: {wrong:?}"),
        }
    }
}

/// Recorded answers of CPUID; other leaves are zero.
struct Recorded(BTreeMap<u32, [u32; 4]>);

impl Cpuid for Recorded {
    fn leaf(&self, leaf: u32) -> Registers {
        let [eax, ebx, ecx, edx] = self.0.get(&leaf).copied().unwrap_or_default();
        Registers { eax, ebx, ecx, edx }
    }
}

fn decode(leaves: &[(u32, [u32; 4])]) -> CpuFacts {
    CpuFacts::decode(&Recorded(leaves.iter().copied().collect()))
}

/// The registers of a leaf with a signature: `eax`, then twelve letters in the other registers in this order.
fn named(eax: u32, name: &[u8; 12]) -> [u32; 4] {
    let word = |at: usize| u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]);
    [eax, word(0), word(4), word(8)]
}

const INTEL: [u32; 4] = [0x16, 0x756e_6547, 0x6c65_746e, 0x4965_6e69];
const AMD: [u32; 4] = [0x10, 0x6874_7541, 0x444d_4163, 0x6974_6e65];
const TSC: u32 = 1 << 4;
const HYPERVISOR: u32 = 1 << 31;

#[test]
fn serialize_is_read_only_if_its_leaf_exists() {
    let has = |leaves: &[(u32, [u32; 4])]| has_serialize(&Recorded(leaves.iter().copied().collect()));
    let features = (7, [0, 0, 0, 1 << 14]);
    assert!(has(&[(0, INTEL), features]));
    assert!(!has(&[(0, INTEL), (7, [0, 0, 0, !(1 << 14)])]));
    assert!(!has(&[(0, [6, 0, 0, 0]), features]), "what a CPU answers above its highest leaf means nothing");
}

#[test]
fn cpuid_of_an_amd_guest_under_kvm_is_decoded() {
    let facts = decode(&[
        (0, AMD),
        (1, [0x00a1_0f11, 0, HYPERVISOR, TSC]),
        (0x4000_0000, named(0x4000_0010, b"KVMKVMKVM\0\0\0")),
        (0x4000_0010, [2_596_144, 0, 0, 0]),
        (0x8000_0000, [0x8000_0021, 0, 0, 0]),
        (0x8000_0007, [0, 0, 0, 1 << 8]),
    ]);
    assert_eq!(facts.hypervisor.as_deref(), Some("KVMKVMKVM"));
    assert!(facts.tsc_readable && facts.tsc_constant && facts.tsc_invariant);
    assert_eq!(facts.tsc_hz, Some(2_596_144_000));
    assert_eq!(facts.tsc_monotonic, None);
}

#[test]
fn the_frequency_is_absent_if_its_leaf_is_missing_zero_or_of_another_hypervisor() {
    let guest = |highest, name| {
        decode(&[(1, [0, 0, HYPERVISOR, TSC]), (0x4000_0000, named(highest, name)), (0x4000_0010, [1000, 0, 0, 0])])
    };
    assert_eq!(guest(0x4000_0010, b"VMwareVMware").tsc_hz, Some(1_000_000));
    assert_eq!(guest(0x4000_0001, b"VMwareVMware").tsc_hz, None);
    assert_eq!(guest(0x4000_0010, b"Microsoft Hv").tsc_hz, None);
    // Without the hypervisor bit the leaves of hypervisors have no meaning.
    let bare = decode(&[(0x4000_0000, named(0x4000_0010, b"VMwareVMware")), (0x4000_0010, [1000, 0, 0, 0])]);
    assert_eq!((bare.tsc_hz, bare.hypervisor), (None, None));
    // The crystal: 24 MHz times 176 / 2; the frequency is unknown if that of the crystal is 0.
    assert_eq!(decode(&[(0, INTEL), (0x15, [2, 176, 24_000_000, 0])]).tsc_hz, Some(2_112_000_000));
    assert_eq!(decode(&[(0, INTEL), (0x15, [2, 176, 0, 0])]).tsc_hz, None);
    assert_eq!(decode(&[(0, AMD), (0x15, [2, 176, 24_000_000, 0])]).tsc_hz, None);
}

#[test]
fn the_invariant_bit_counts_only_if_its_leaf_exists() {
    let extended = |highest| decode(&[(0, AMD), (0x8000_0000, [highest, 0, 0, 0]), (0x8000_0007, [0, 0, 0, 1 << 8])]);
    assert!(extended(0x8000_0007).tsc_invariant);
    assert!(!extended(0x8000_0006).tsc_invariant);
}

#[test]
fn the_model_decides_for_old_intel_cpus_but_not_for_amd_cpus() {
    let constant = |vendor, signature| {
        let facts = decode(&[(0, vendor), (1, [signature, 0, 0, TSC])]);
        assert!(!facts.tsc_invariant);
        facts.tsc_constant
    };
    // Core 2 (family 6 model 15), Pentium M (family 6 model 13), Prescott (15, 3), Willamette (15, 1).
    assert!(constant(INTEL, 0x6f6));
    assert!(!constant(INTEL, 0x6d6));
    assert!(constant(INTEL, 0xf34));
    assert!(!constant(INTEL, 0xf12));
    assert!(!constant(AMD, 0xf34));
}

#[test]
fn a_governor_that_changes_the_frequency_is_a_warning_and_a_hidden_one_is_unknown() {
    let file = format!("{CPU}/cpu1/cpufreq/scaling_governor");
    Made::fit().with(&file, "schedutil\n").says("governor", Status::Warning, "schedutil");
    let hidden = Made::fit().without(&file);
    hidden.says("governor", Status::Unknown, "does not exist");
    let guest = Made::fit().without(&file).guest().check("governor");
    assert!(guest.advice.is_some_and(|advice| advice.contains("host")));
}

#[test]
fn turbo_is_read_from_the_file_of_each_driver() {
    let intel = format!("{CPU}/intel_pstate/no_turbo");
    let boost = format!("{CPU}/cpufreq/boost");
    let own = format!("{CPU}/cpu1/cpufreq/boost");
    Made::fit().with(&intel, "1\n").says("turbo", Status::Ok, "no_turbo is 1");
    Made::fit().with(&intel, "0\n").says("turbo", Status::Warning, "no_turbo is 0");
    Made::fit().with(&boost, "1\n").says("turbo", Status::Warning, "boost is 1");
    Made::fit().with(&own, "1\n").says("turbo", Status::Warning, "cpu1/cpufreq/boost is 1");
    Made::fit().with(&boost, "maybe\n").says("turbo", Status::Unknown, "maybe");
    Made::fit().without(&boost).says("turbo", Status::Unknown, "no file");
}

#[test]
fn an_online_sibling_is_a_warning_and_its_absence_in_a_guest_is_unknown() {
    let file = format!("{CPU}/cpu1/topology/thread_siblings_list");
    let shared = Made::fit().with(&file, "1,65\n");
    shared.says("smt_sibling", Status::Warning, "CPU 65");
    assert!(shared.check("smt_sibling").advice.is_some_and(|it| it.contains("cpu65/online")));
    Made::fit().guest().with(&file, "0-1\n").says("smt_sibling", Status::Warning, "CPU 0");
    Made::fit().guest().says("smt_sibling", Status::Unknown, "hypervisor");
    Made::fit().with(&file, "what\n").says("smt_sibling", Status::Unknown, "not a list");
}

#[test]
fn a_single_allowed_cpu_is_a_warning() {
    let made = |cpus| Made::fit().probed(|probes| probes.cpus_allowed = cpus);
    made(Ok(vec![3])).says("cpu_affinity", Status::Warning, "only CPU 3");
    made(Ok(vec![])).says("cpu_affinity", Status::Unknown, "no CPU");
    made(Err(refused("sched_getaffinity"))).says("cpu_affinity", Status::Unknown, "sched_getaffinity");
}

#[test]
fn the_last_allowed_cpu_is_measured() {
    assert_eq!(measuring_cpu(&[4, 9, 2]), Some(9));
    assert_eq!(measuring_cpu(&[]), None);
}

#[test]
fn load_counts_other_processes_during_the_observation_only() {
    // Of 105 ticks in a second this process had 50 and its children had 40.
    Made::fit().says("load", Status::Ok, "0.15 of 2 CPUs, over 1.0 s");
    let took = |own_ticks, children| Made::fit().with("proc/self/stat", &own(own_ticks, children));
    took(100, 50).says("load", Status::Warning, "1.05 of 2 CPUs");
    took(100, 106).says("load", Status::Ok, "0.49 of 2 CPUs");
    took(200, 90).says("load", Status::Ok, "0.00 of 2 CPUs");
    // The parent, an ancestor of it, and their ended children: only the time of the ancestors themselves is left out.
    let ancestors = |parent: u64, grandparent: u64, children: u64| {
        let stat = |id, parent, ticks| {
            format!("{id} (sh) S {parent} 7 7 0 -1 4194304 1 0 0 0 {ticks} 0 0 {children} 20 0 1 0 50 1 1 1\n")
        };
        (stat(1, 2, parent), stat(2, 0, grandparent))
    };
    let (parent, grandparent) = ancestors(500, 900, 0);
    let before = Made::bare().with("proc/stat", BEFORE).with("proc/self/stat", &own(100, 50));
    let before = before.with("proc/1/stat", &parent).with("proc/2/stat", &grandparent);
    let (parent, grandparent) = ancestors(504, 907, 9000);
    let after = Made::fit().with("proc/1/stat", &parent).with("proc/2/stat", &grandparent);
    let after = after.probed(|probes| probes.cpu_time = CpuTime::read(&before.root(), &[0, 1]));
    after.says("load", Status::Ok, "0.04 of 2 CPUs");
    // An ancestor that began in between, or that is its own parent, changes nothing.
    Made::fit().with("proc/1/stat", &parent.replace("S 2", "S 1")).says("load", Status::Ok, "0.15 of 2 CPUs");
    // The load average has no effect.
    Made::fit().with("proc/loadavg", "9.50 9.50 9.50 1/1 1").says("load", Status::Ok, "0.15 of 2 CPUs");
    // CPUs that this process may not use do not count.
    let more = format!("{AFTER}cpu2 9000 0 0 0 0 0 0 0 0 0\n");
    Made::fit().with("proc/stat", &more).says("load", Status::Ok, "of 2 CPUs");
}

#[test]
fn load_is_unknown_if_proc_stat_is_missing_or_malformed() {
    for (stat, word) in [
        (BEFORE, "too short"),
        ("cpu 1 2 3\n", "has none"),
        ("cpu0 50 0 20 9500 5 0 2 0\n", "number of CPUs changed"),
        ("cpu0 1 0 1 1 1 0 1 0\ncpu1 1 0 1 1 1 0 1 0\n", "number of CPUs changed"),
        ("cpu0 18446744073709551615 1 1 1 1 1 1 1\n", "has none"),
    ] {
        Made::fit().with("proc/stat", stat).says("load", Status::Unknown, word);
    }
    Made::fit().without("proc/stat").says("load", Status::Unknown, "/proc/stat");
    Made::fit().with("proc/self/stat", "7 (x) S 1\n").says("load", Status::Unknown, "/proc/self/stat");
    Made::fit().without("proc/self/stat").says("load", Status::Unknown, "/proc/self/stat");
}

#[test]
fn stolen_time_is_a_warning_and_its_absence_in_a_guest_is_unknown() {
    // CPU 0 of AFTER, with stolen and guest time. The guest time is a part of user and is not added again.
    let stolen = |ticks: u64| {
        let idle = 599 - ticks;
        let stat = format!("{}cpu0 51 0 20 {idle} 5 0 2 {ticks} 900 900\n", AFTER.replace("cpu0 ", "cpu9 "));
        Made::fit().guest().with("proc/stat", &stat)
    };
    stolen(0).says("steal", Status::Unknown, "no stolen time over 1.0 s");
    stolen(1).says("steal", Status::Ok, "0.50% of the time was stolen, over 1.0 s");
    stolen(40).says("steal", Status::Warning, "20.00%");
    // Time that was stolen before the observation does not count.
    let earlier = |text: &str| text.replace("5 0 2 0 0 0", "5 0 2 500 0 0");
    let before = Made::bare().with("proc/stat", &earlier(BEFORE)).with("proc/self/stat", &own(100, 50));
    let made = Made::fit().with("proc/stat", &earlier(AFTER));
    let made = made.probed(|probes| probes.cpu_time = CpuTime::read(&before.root(), &[0, 1]));
    made.says("steal", Status::Ok, "0.00%");
    Made::fit().with("proc/stat", "intr 1\n").says("steal", Status::Unknown, "has none");
}

#[test]
fn a_guest_is_ok_and_an_emulator_is_a_warning() {
    let under = |signature: &str| Made::fit().probed(|it| it.cpu.hypervisor = Some(signature.into()));
    under("KVMKVMKVM").says("virtualised", Status::Ok, "KVMKVMKVM");
    assert!(under("KVMKVMKVM").check("virtualised").advice.is_some());
    under("TCGTCGTCGTCG").says("virtualised", Status::Warning, "translated");
    under("").says("virtualised", Status::Unknown, "does not name itself");
    Made::fit().with("sys/hypervisor/type", "xen\n").says("virtualised", Status::Ok, "under xen");
}

#[test]
fn an_unavailable_counter_has_a_reason() {
    let failing = |errno| {
        Made::fit().probed(|probes| {
            probes.cycles_counter = Err(CounterError::Open(io::Error::from_raw_os_error(errno)));
        })
    };
    failing(libc::ENOENT).says("pmu", Status::Unknown, "no PMU");
    failing(libc::EOPNOTSUPP).says("pmu", Status::Unknown, "EOPNOTSUPP");
    failing(libc::ENOSYS).says("pmu", Status::Warning, "seccomp");
    failing(libc::EMFILE).says("pmu", Status::Unknown, "perf_event_open failed");
    let paranoid = "proc/sys/kernel/perf_event_paranoid";
    failing(libc::EACCES).with(paranoid, "3\n").says("pmu", Status::Warning, "is 3, which refuses");
    failing(libc::EPERM).says("pmu", Status::Warning, "security module");
    failing(libc::EPERM).without(paranoid).says("pmu", Status::Warning, "cannot be read");
    let opened = |error| Made::fit().probed(|probes| probes.cycles_counter = Err(error));
    opened(CounterError::Silent).says("pmu", Status::Unknown, "stayed at 0");
    opened(CounterError::Unscheduled).says("pmu", Status::Warning, "never scheduled");
}

#[test]
fn a_paranoid_level_above_two_is_a_warning() {
    let level = |text| Made::fit().with("proc/sys/kernel/perf_event_paranoid", text);
    level("-1\n").says("perf_event_paranoid", Status::Ok, "-1");
    level("3\n").says("perf_event_paranoid", Status::Warning, "CAP_PERFMON");
    level("high\n").says("perf_event_paranoid", Status::Unknown, "no valid level");
}

#[test]
fn fixed_addresses_are_a_warning_whatever_fixed_them() {
    let level = |text| Made::fit().with("proc/sys/kernel/randomize_va_space", text);
    level("0\n").says("aslr", Status::Warning, "off (0)");
    level("1\n").says("aslr", Status::Ok, "heap");
    assert!(level("1\n").check("aslr").advice.is_some());
    level("7\n").says("aslr", Status::Unknown, "7");
    Made::fit().probed(|probes| probes.personality = Ok(0x0004_0000)).says(
        "aslr",
        Status::Warning,
        "personality 0x40000",
    );
}

#[test]
fn huge_pages_for_all_memory_are_a_warning() {
    let choice = |text| Made::fit().with("sys/kernel/mm/transparent_hugepage/enabled", text);
    choice("[always] madvise never\n").says("thp", Status::Warning, "always");
    choice("always madvise [never]\n").says("thp", Status::Ok, "never");
    choice("always madvise never\n").says("thp", Status::Unknown, "holds");
}

#[test]
fn mitigations_are_grouped_by_the_code_that_they_slow_down() {
    let made = Made::fit()
        .with(&format!("{CPU}/vulnerabilities/meltdown"), "Mitigation: PTI\n")
        .with(&format!("{CPU}/vulnerabilities/spec_rstack_overflow"), "Vulnerable: Safe RET, no microcode\n")
        .with(&format!("{CPU}/vulnerabilities/retbleed"), "Vulnerable\n");
    assert_eq!(
        made.check("mitigations").detail,
        "user code: STIBP always-on; calls and returns in the kernel: spectre_v2 (Retpolines), \
         spec_rstack_overflow (Safe RET, no microcode); kernel entry and exit: meltdown (PTI)"
    );
    let made = Made::fit()
        .without(&format!("{CPU}/vulnerabilities/spec_rstack_overflow"))
        .with(
            &format!("{CPU}/vulnerabilities/spectre_v2"),
            "Mitigation: Enhanced IBRS; STIBP: conditional; BHI: SW loop, KVM: SW loop\n",
        )
        .with(&format!("{CPU}/vulnerabilities/spec_store_bypass"), "Mitigation: Speculative Store Bypass disabled\n");
    assert_eq!(
        made.check("mitigations").detail,
        "user code: store bypass disabled; calls and returns in the kernel: spectre_v2 (Enhanced IBRS); \
         kernel entry and exit: spectre_v2 (BHI loop)"
    );
}

#[test]
fn switched_off_speculation_of_the_process_is_a_warning() {
    let status = |line| Made::fit().with("proc/self/status", line);
    for line in [
        "SpeculationIndirectBranch:\tconditional force disabled\n",
        "SpeculationIndirectBranch:\talways disabled\n",
        "Speculation_Store_Bypass:\tthread force mitigated\n",
        "Speculation_Store_Bypass:\tglobally mitigated\n",
    ] {
        status(line).says("mitigations", Status::Warning, "speculation switched off");
    }
    Made::fit().without(&format!("{CPU}/vulnerabilities")).says(
        "mitigations",
        Status::Unknown,
        "no files that can be read",
    );
}

#[test]
fn outdated_microcode_is_a_warning_on_bare_metal_and_unknown_in_a_guest() {
    let old = || Made::fit().with(&format!("{CPU}/vulnerabilities/old_microcode"), "Vulnerable\n");
    old().says("microcode", Status::Warning, "0xa101148");
    old().guest().says("microcode", Status::Unknown, "hypervisor");
    Made::fit()
        .with(&format!("{CPU}/vulnerabilities/mds"), "Vulnerable: Clear CPU buffers attempted, no microcode\n")
        .says("microcode", Status::Warning, "against mds");
    Made::fit().with("proc/cpuinfo", "processor : 0\n").says("microcode", Status::Unknown, "no microcode revision");
}

#[test]
fn a_failing_valgrind_is_a_warning_and_a_missing_one_is_unknown() {
    let version = |version| {
        Made::fit().probed(|probes| {
            probes.valgrind = Some(FoundTool { path: "/opt/valgrind".into(), version });
        })
    };
    version(Err(ToolError::Hung)).says("valgrind", Status::Warning, "did not end");
    version(Err(ToolError::NoVersion("hello".into()))).says("valgrind", Status::Warning, "hello");
    Made::fit().probed(|probes| probes.valgrind = None).says("valgrind", Status::Unknown, "not on the PATH");
}

#[test]
fn a_runner_of_another_series_is_a_warning_and_one_of_unknown_version_is_unknown() {
    let runner = |found| Made::fit().probed(|probes| probes.iai_callgrind_runner = found);
    runner(tool("/bin/r", "0.15.2")).says("iai_callgrind_runner", Status::Warning, "0.15.2");
    runner(tool("/bin/r", "0.160.0")).says("iai_callgrind_runner", Status::Warning, "0.160.0");
    runner(None).says("iai_callgrind_runner", Status::Unknown, "not on the PATH");
    runner(Some(FoundTool { path: "/bin/r".into(), version: Err(ToolError::NoRecord) })).says(
        "iai_callgrind_runner",
        Status::Unknown,
        "no record",
    );
}

#[test]
fn the_series_of_the_runner_is_that_of_the_benches() {
    let manifest = include_str!("../Cargo.toml");
    assert!(
        manifest.contains(&format!("iai-callgrind = \"{IAI_CALLGRIND_SERIES}\"")),
        "Cargo.toml names another iai-callgrind than {IAI_CALLGRIND_SERIES}"
    );
}

#[test]
fn a_refused_executable_mapping_is_a_warning() {
    Made::fit().probed(|probes| probes.executable_memfd = Err(refused("memfd_create"))).says(
        "memfd",
        Status::Warning,
        "memfd_create failed",
    );
}

#[test]
fn the_check_of_tracing_reads_yama_capabilities_and_seccomp() {
    let yama = "proc/sys/kernel/yama/ptrace_scope";
    let scope = |text| Made::fit().with(yama, text);
    scope("0\n").says("ptrace", Status::Ok, "0");
    scope("2\n").says("ptrace", Status::Warning, "CAP_SYS_PTRACE");
    scope("2\n").with("proc/self/status", "CapEff:\t0000000000080000\n").says("ptrace", Status::Ok, "2");
    scope("3\n").says("ptrace", Status::Warning, "until a reboot");
    scope("9\n").says("ptrace", Status::Unknown, "9");
    Made::fit().without(yama).says("ptrace", Status::Ok, "no Yama");
    Made::fit().with(".dockerenv", "").says("ptrace", Status::Ok, "in a container (/.dockerenv)");
    let status = |text| Made::fit().with("proc/self/status", text);
    status("CapEff:\t0\nSeccomp:\t2\n").says("ptrace", Status::Unknown, "seccomp");
    status("TracerPid:\t77\nCapEff:\t0\n").says("ptrace", Status::Warning, "77");
}

#[test]
fn control_characters_of_files_do_not_reach_the_terminal() {
    let made = Made::fit().with(&format!("{CPU}/cpu1/cpufreq/scaling_governor"), "a\u{1b}[31mb\n");
    let detail = made.check("governor").detail;
    assert!(!detail.chars().any(char::is_control), "{detail:?}");
}

#[test]
fn a_machine_is_read_from_the_files_of_its_root() {
    let made = Made::fit().guest().probed(|probes| probes.cpu.tsc_hz = Some(1_000));
    let machine = Machine::read_with(&made.root(), &made.probes.cpu);
    let json = serde_json::to_string_pretty(&machine).expect("JSON");
    assert_eq!(
        json,
        r#"{
  "cpu_model": "AMD EPYC 9554 64-Core Processor",
  "cpu_vendor": "AuthenticAMD",
  "cpu_family": 25,
  "cpu_model_number": 17,
  "cpu_stepping": 1,
  "microcode": "0xa101148",
  "cpus_online": 2,
  "cpus_allowed": [
    0,
    1
  ],
  "virtualised": "KVMKVMKVM",
  "kernel": "6.12.1",
  "os": "Debian GNU/Linux 12",
  "tsc_hz": 1000,
  "caches": [
    {
      "level": 1,
      "type": "Data",
      "size_bytes": 32768
    },
    {
      "level": 3,
      "type": "Unified",
      "size_bytes": 33554432
    }
  ],
  "memory_bytes": 1048576,
  "mitigations": {
    "meltdown": "Not affected",
    "spec_rstack_overflow": "Mitigation: Safe RET",
    "spectre_v2": "Mitigation: Retpolines; IBPB: conditional; STIBP: always-on; RSB filling"
  }
}"#
    );
    assert_eq!(serde_json::from_str::<Machine>(&json).expect("a machine"), machine);
}

#[test]
fn the_allowed_cpus_of_a_report_are_those_before_the_run_moved_its_parent() {
    // The parent of a run has moved off CPU 1, so the status file has CPU 0 only.
    let caches = "cache/index3/size";
    let made = Made::fit()
        .with("proc/self/status", "Cpus_allowed_list:\t0\n")
        .with(&format!("{CPU}/cpu1/{caches}"), "4096K\n")
        .probed(|probes| (probes.cpus_allowed, probes.measuring_cpu) = (Ok(vec![0, 1]), Some(1)));
    let machine = Machine::read_probed(&made.root(), &made.probes);
    assert_eq!(machine.cpus_allowed, Some(vec![0, 1]));
    assert!(machine.caches.iter().any(|cache| cache.size_bytes == 4096 * 1024), "{:?}", machine.caches);
    let check = made.check("cpu_affinity").detail;
    assert!(check.contains("2 CPUs are allowed"), "{check}");
}

#[test]
fn facts_that_cannot_be_read_are_absent_and_not_zero() {
    let made = Made::empty(fit_probes());
    let machine = Machine::read_with(&made.root(), &good_clock());
    assert_eq!(serde_json::to_string(&machine).expect("JSON"), r#"{"caches":[],"mitigations":{}}"#);
}

#[test]
fn malformed_files_make_facts_absent() {
    let made = Made::fit()
        .with("proc/meminfo", "MemTotal: 99999999999999999999 kB\n")
        .with(&format!("{CPU}/online"), "9-1\n")
        .with(&format!("{CPU}/cpu1/cache/index3/size"), "18446744073709551615K\n")
        .with("proc/cpuinfo", "model : many\nmodel name :\n");
    let machine = Machine::read_with(&made.root(), &good_clock());
    assert_eq!(machine.memory_bytes, None);
    assert_eq!(machine.cpus_online, None);
    assert_eq!(machine.cpu_model_number, None);
    assert_eq!(machine.cpu_model, None);
    assert_eq!(machine.caches.len(), 1);
}

#[test]
fn the_kernel_and_memory_of_this_machine_are_read() {
    let machine = Machine::read(&Root::default());
    assert!(machine.kernel.is_some_and(|kernel| !kernel.is_empty()));
    assert!(machine.memory_bytes.is_some_and(|bytes| bytes > 0));
}

#[test]
fn the_schema_of_a_check_has_every_status() {
    let published = fs::read_to_string("reports/schema/report-2.json").expect("the published schema");
    let schema: serde_json::Value = serde_json::from_str(&published).expect("JSON");
    let text = schema["$defs"]["Status"].to_string();
    for status in ["ok", "unknown", "warning"] {
        assert!(text.contains(&format!("\"{status}\"")), "{status} in {text}");
    }
    let machine = &schema["$defs"]["Machine"];
    let fields: BTreeSet<&str> =
        machine["properties"].as_object().expect("fields").keys().map(String::as_str).collect();
    assert_eq!(fields.len(), 15);
    assert!(machine.get("additionalProperties").is_none());
}
