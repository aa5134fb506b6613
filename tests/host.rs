//! What `pvbench doctor` says of machines good, bad and unknown, given as made-up trees and answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use pvbench::host::{
    Check, ClockChoice, CounterError, CpuFacts, Cpuid, FoundTool, IAI_CALLGRIND_SERIES, Machine, ProbeError, Probes,
    Registers, Root, Status, ToolError, checks, checks_with, clock_choice, has_serialize, measuring_cpu,
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

/// A made-up machine: a tree of files and the answers of system calls.
struct Made {
    folder: TempDir,
    probes: Probes,
}

impl Made {
    fn empty(probes: Probes) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, probes }
    }

    /// Bare metal on which nothing is wrong. CPU 1 is measured.
    fn fit() -> Self {
        let mut made = Self::empty(fit_probes());
        for (file, text) in [
            ("proc/loadavg", "0.10 0.20 0.30 1/100 42\n"),
            ("proc/stat", "cpu  100 0 50 1000 5 0 2 0 0 0\ncpu0 1 1 1 1 1 1 1 1\n"),
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

    /// The check `id` has this status, speaks of `word`, and has advice unless it is known.
    #[track_caller]
    fn says(&self, id: &str, status: Status, word: &str) {
        let check = self.check(id);
        assert_eq!(check.status, status, "{check:?}");
        assert!(check.detail.contains(word), "{word:?} in {check:?}");
        assert!(status == Status::Known || check.advice.is_some(), "{check:?}");
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
    }
}

fn refused(call: &'static str) -> ProbeError {
    ProbeError { call, source: io::Error::from_raw_os_error(libc::EPERM) }
}

/// A machine that tells nothing at all.
fn blind() -> Made {
    Made::empty(Probes {
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
    })
}

#[test]
fn a_fit_machine_is_known_in_every_check() {
    let made = Made::fit();
    let found = checks_with(&made.root(), &made.probes);
    let ids: Vec<&str> = found.iter().map(|check| check.id.as_str()).collect();
    assert_eq!(ids, IDS);
    for check in found {
        assert_eq!(check.status, Status::Known, "{check:?}");
        assert_eq!(check.advice, None, "{check:?}");
    }
}

#[test]
fn a_machine_that_tells_nothing_is_unknown_in_every_check_that_could_not_look() {
    let made = blind();
    for check in checks_with(&made.root(), &made.probes) {
        // A mapping can always be tried.
        if check.id != "memfd" {
            assert_eq!(check.status, Status::Unknown, "{check:?}");
            assert!(check.advice.is_some(), "{check:?}");
        }
    }
}

#[test]
fn every_check_of_this_machine_has_an_id_and_a_detail_in_one_line() {
    let found = checks(&Root::default());
    let ids: Vec<&str> = found.iter().map(|check| check.id.as_str()).collect();
    assert_eq!(ids, IDS);
    for check in &found {
        assert!(!check.detail.is_empty(), "{check:?}");
        assert!(!check.detail.contains('\n'), "{check:?}");
        assert!(check.status == Status::Known || check.advice.is_some(), "{check:?}");
    }
    let pmu = found.iter().find(|check| check.id == "pmu").expect("pmu");
    assert_eq!(pmu_unavailable().is_none(), pmu.status == Status::Known);
}

#[test]
fn a_check_is_written_with_its_status_in_lower_case_and_no_empty_advice() {
    let check = Made::fit().check("governor");
    let text = serde_json::to_string(&check).expect("JSON");
    assert_eq!(text, r#"{"id":"governor","status":"known","detail":"CPU 1 has governor performance"}"#);
    assert_eq!(serde_json::from_str::<Check>(&text).expect("a check"), check);
}

#[test]
fn a_counter_without_promises_is_bad_on_bare_metal_and_unknown_in_a_guest() {
    let unpromised = || {
        Made::fit().probed(|probes| {
            probes.cpu.tsc_constant = false;
            probes.cpu.tsc_invariant = false;
        })
    };
    for id in ["tsc_constant", "tsc_invariant"] {
        unpromised().says(id, Status::Bad, "not promised");
        unpromised().guest().says(id, Status::Unknown, "hypervisor");
    }
    unpromised().says("clock", Status::Bad, "clock of the operating system");
    unpromised().guest().says("clock", Status::Unknown, "clock of the operating system");
}

#[test]
fn a_counter_seen_to_misbehave_is_bad_in_a_guest_too() {
    let backwards = Made::fit().guest().probed(|it| it.cpu.tsc_monotonic = Some(false));
    backwards.says("clock", Status::Bad, "backwards");
    let given_up = Made::fit().guest().probed(|it| it.cpu.tsc_kept_by_kernel = Some(false));
    given_up.says("clock", Status::Bad, "kernel");
    let forbidden = Made::fit().probed(|it| {
        it.cpu.tsc_readable = false;
        it.cpu.tsc_monotonic = None;
    });
    forbidden.says("clock", Status::Bad, "cannot be read");
}

#[test]
fn the_time_stamp_counter_is_the_clock_only_where_all_its_facts_hold() {
    assert_eq!(clock_choice(&good_clock()), ClockChoice::Tsc);
    let unlisted = CpuFacts { tsc_kept_by_kernel: None, ..good_clock() };
    assert_eq!(clock_choice(&unlisted), ClockChoice::Tsc);
    for (wrong, word) in [
        (CpuFacts { tsc_readable: false, ..good_clock() }, "cannot be read"),
        (CpuFacts { tsc_constant: false, ..good_clock() }, "constant rate"),
        (CpuFacts { tsc_invariant: false, ..good_clock() }, "sleep"),
        (CpuFacts { tsc_monotonic: Some(false), ..good_clock() }, "backwards"),
        (CpuFacts { tsc_monotonic: None, ..good_clock() }, "not tried"),
        (CpuFacts { tsc_kept_by_kernel: Some(false), ..good_clock() }, "kernel"),
    ] {
        match clock_choice(&wrong) {
            ClockChoice::Os { reason } => assert!(reason.contains(word), "{word:?} in {reason:?}"),
            ClockChoice::Tsc => panic!("the counter was chosen: {wrong:?}"),
        }
    }
}

/// CPUID answers written down; zeros elsewhere.
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

/// A leaf that names: `eax`, then twelve letters in the registers in that order.
fn named(eax: u32, name: &[u8; 12]) -> [u32; 4] {
    let word = |at: usize| u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]);
    [eax, word(0), word(4), word(8)]
}

const INTEL: [u32; 4] = [0x16, 0x756e_6547, 0x6c65_746e, 0x4965_6e69];
const AMD: [u32; 4] = [0x10, 0x6874_7541, 0x444d_4163, 0x6974_6e65];
const TSC: u32 = 1 << 4;
const HYPERVISOR: u32 = 1 << 31;

#[test]
fn serialize_is_looked_for_only_where_the_leaf_exists() {
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
fn the_frequency_is_absent_where_a_leaf_is_missing_zero_or_means_something_else() {
    let guest = |highest, name| {
        decode(&[(1, [0, 0, HYPERVISOR, TSC]), (0x4000_0000, named(highest, name)), (0x4000_0010, [1000, 0, 0, 0])])
    };
    assert_eq!(guest(0x4000_0010, b"VMwareVMware").tsc_hz, Some(1_000_000));
    assert_eq!(guest(0x4000_0001, b"VMwareVMware").tsc_hz, None);
    assert_eq!(guest(0x4000_0010, b"Microsoft Hv").tsc_hz, None);
    // No hypervisor bit: the leaves of hypervisors mean nothing.
    let bare = decode(&[(0x4000_0000, named(0x4000_0010, b"VMwareVMware")), (0x4000_0010, [1000, 0, 0, 0])]);
    assert_eq!((bare.tsc_hz, bare.hypervisor), (None, None));
    // The crystal: 24 MHz times 176 over 2; not told where its frequency is 0.
    assert_eq!(decode(&[(0, INTEL), (0x15, [2, 176, 24_000_000, 0])]).tsc_hz, Some(2_112_000_000));
    assert_eq!(decode(&[(0, INTEL), (0x15, [2, 176, 0, 0])]).tsc_hz, None);
    assert_eq!(decode(&[(0, AMD), (0x15, [2, 176, 24_000_000, 0])]).tsc_hz, None);
}

#[test]
fn the_invariant_bit_counts_only_where_its_leaf_exists() {
    let extended = |highest| decode(&[(0, AMD), (0x8000_0000, [highest, 0, 0, 0]), (0x8000_0007, [0, 0, 0, 1 << 8])]);
    assert!(extended(0x8000_0007).tsc_invariant);
    assert!(!extended(0x8000_0006).tsc_invariant);
}

#[test]
fn old_intel_cpus_are_constant_by_model_and_amd_ones_are_not() {
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
fn a_governor_that_moves_the_frequency_is_bad_and_a_hidden_one_unknown() {
    let file = format!("{CPU}/cpu1/cpufreq/scaling_governor");
    Made::fit().with(&file, "schedutil\n").says("governor", Status::Bad, "schedutil");
    let hidden = Made::fit().without(&file);
    hidden.says("governor", Status::Unknown, "not there");
    let guest = Made::fit().without(&file).guest().check("governor");
    assert!(guest.advice.is_some_and(|advice| advice.contains("host")));
}

#[test]
fn turbo_is_read_from_whichever_switch_the_driver_has() {
    let intel = format!("{CPU}/intel_pstate/no_turbo");
    let boost = format!("{CPU}/cpufreq/boost");
    let own = format!("{CPU}/cpu1/cpufreq/boost");
    Made::fit().with(&intel, "1\n").says("turbo", Status::Known, "no_turbo is 1");
    Made::fit().with(&intel, "0\n").says("turbo", Status::Bad, "no_turbo is 0");
    Made::fit().with(&boost, "1\n").says("turbo", Status::Bad, "boost is 1");
    Made::fit().with(&own, "1\n").says("turbo", Status::Bad, "cpu1/cpufreq/boost is 1");
    Made::fit().with(&boost, "maybe\n").says("turbo", Status::Unknown, "maybe");
    Made::fit().without(&boost).says("turbo", Status::Unknown, "no file");
}

#[test]
fn an_online_sibling_is_bad_and_a_guest_cannot_know() {
    let file = format!("{CPU}/cpu1/topology/thread_siblings_list");
    let shared = Made::fit().with(&file, "1,65\n");
    shared.says("smt_sibling", Status::Bad, "CPU 65");
    assert!(shared.check("smt_sibling").advice.is_some_and(|it| it.contains("cpu65/online")));
    Made::fit().guest().with(&file, "0-1\n").says("smt_sibling", Status::Bad, "CPU 0");
    Made::fit().guest().says("smt_sibling", Status::Unknown, "hypervisor");
    Made::fit().with(&file, "what\n").says("smt_sibling", Status::Unknown, "no list");
}

#[test]
fn a_single_allowed_cpu_is_bad_for_pinning() {
    let made = |cpus| Made::fit().probed(|probes| probes.cpus_allowed = cpus);
    made(Ok(vec![3])).says("cpu_affinity", Status::Bad, "only CPU 3");
    made(Ok(vec![])).says("cpu_affinity", Status::Unknown, "no CPU");
    made(Err(refused("sched_getaffinity"))).says("cpu_affinity", Status::Unknown, "sched_getaffinity");
}

#[test]
fn the_last_allowed_cpu_is_measured() {
    assert_eq!(measuring_cpu(&[4, 9, 2]), Some(9));
    assert_eq!(measuring_cpu(&[]), None);
}

#[test]
fn load_is_judged_against_the_cpus() {
    let loaded = |text| Made::fit().with("proc/loadavg", text);
    loaded("1.50 0 0 1/1 1").says("load", Status::Bad, "1.50");
    loaded("1.50 0 0 1/1 1").with(&format!("{CPU}/online"), "0-7\n").says("load", Status::Known, "8 CPUs");
    for text in ["NaN 0 0", "-1 0 0", "inf", "busy"] {
        loaded(text).says("load", Status::Unknown, "/proc/loadavg");
    }
    Made::fit().without(&format!("{CPU}/online")).says("load", Status::Unknown, "unknown number");
}

#[test]
fn stolen_time_is_bad_and_none_in_a_guest_says_nothing() {
    let stat = |text| Made::fit().guest().with("proc/stat", text);
    // The guest times after steal are in user already and count once.
    stat("cpu 10 0 10 60 0 0 0 20 900 900").says("steal", Status::Bad, "20.00%");
    stat("cpu 1000 0 0 9000 0 0 0 1 0 0").says("steal", Status::Known, "0.01%");
    stat("cpu 10 0 10 60 0 0 0 0 0 0").says("steal", Status::Unknown, "no stolen time");
    for text in ["cpu 1 2 3", "cpu a b c d e f g h", "cpu 0 0 0 0 0 0 0 0", "intr 1"] {
        stat(text).says("steal", Status::Unknown, "begins with");
    }
}

#[test]
fn a_guest_is_usable_and_an_emulator_is_not() {
    let under = |signature: &str| Made::fit().probed(|it| it.cpu.hypervisor = Some(signature.into()));
    under("KVMKVMKVM").says("virtualised", Status::Known, "KVMKVMKVM");
    assert!(under("KVMKVMKVM").check("virtualised").advice.is_some());
    under("TCGTCGTCGTCG").says("virtualised", Status::Bad, "translated");
    under("").says("virtualised", Status::Unknown, "does not name itself");
    Made::fit().with("sys/hypervisor/type", "xen\n").says("virtualised", Status::Known, "under xen");
}

#[test]
fn a_missing_counter_says_why() {
    let failing = |errno| {
        Made::fit().probed(|probes| {
            probes.cycles_counter = Err(CounterError::Open(io::Error::from_raw_os_error(errno)));
        })
    };
    failing(libc::ENOENT).says("pmu", Status::Unknown, "no PMU");
    failing(libc::EOPNOTSUPP).says("pmu", Status::Unknown, "EOPNOTSUPP");
    failing(libc::ENOSYS).says("pmu", Status::Bad, "seccomp");
    failing(libc::EMFILE).says("pmu", Status::Unknown, "perf_event_open failed");
    let paranoid = "proc/sys/kernel/perf_event_paranoid";
    failing(libc::EACCES).with(paranoid, "3\n").says("pmu", Status::Bad, "is 3, which refuses");
    failing(libc::EPERM).says("pmu", Status::Bad, "security module");
    failing(libc::EPERM).without(paranoid).says("pmu", Status::Bad, "cannot be read");
    let opened = |error| Made::fit().probed(|probes| probes.cycles_counter = Err(error));
    opened(CounterError::Silent).says("pmu", Status::Unknown, "stayed at 0");
    opened(CounterError::Unscheduled).says("pmu", Status::Bad, "never scheduled");
}

#[test]
fn a_paranoid_level_above_two_is_bad() {
    let level = |text| Made::fit().with("proc/sys/kernel/perf_event_paranoid", text);
    level("-1\n").says("perf_event_paranoid", Status::Known, "-1");
    level("3\n").says("perf_event_paranoid", Status::Bad, "CAP_PERFMON");
    level("high\n").says("perf_event_paranoid", Status::Unknown, "no level");
}

#[test]
fn fixed_addresses_are_bad_whoever_fixed_them() {
    let level = |text| Made::fit().with("proc/sys/kernel/randomize_va_space", text);
    level("0\n").says("aslr", Status::Bad, "off (0)");
    level("1\n").says("aslr", Status::Known, "heap");
    assert!(level("1\n").check("aslr").advice.is_some());
    level("7\n").says("aslr", Status::Unknown, "7");
    Made::fit().probed(|probes| probes.personality = Ok(0x0004_0000)).says("aslr", Status::Bad, "personality 0x40000");
}

#[test]
fn huge_pages_for_all_are_bad() {
    let choice = |text| Made::fit().with("sys/kernel/mm/transparent_hugepage/enabled", text);
    choice("[always] madvise never\n").says("thp", Status::Bad, "always");
    choice("always madvise [never]\n").says("thp", Status::Known, "never");
    choice("always madvise never\n").says("thp", Status::Unknown, "holds");
}

#[test]
fn mitigations_are_summarised_by_what_they_slow_down() {
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
fn a_process_whose_speculation_is_switched_off_is_bad_to_measure() {
    let status = |line| Made::fit().with("proc/self/status", line);
    for line in [
        "SpeculationIndirectBranch:\tconditional force disabled\n",
        "SpeculationIndirectBranch:\talways disabled\n",
        "Speculation_Store_Bypass:\tthread force mitigated\n",
        "Speculation_Store_Bypass:\tglobally mitigated\n",
    ] {
        status(line).says("mitigations", Status::Bad, "speculation switched off");
    }
    Made::fit().without(&format!("{CPU}/vulnerabilities")).says("mitigations", Status::Unknown, "tells nothing");
}

#[test]
fn outdated_microcode_is_bad_on_bare_metal_and_unknown_in_a_guest() {
    let old = || Made::fit().with(&format!("{CPU}/vulnerabilities/old_microcode"), "Vulnerable\n");
    old().says("microcode", Status::Bad, "0xa101148");
    old().guest().says("microcode", Status::Unknown, "hypervisor");
    Made::fit()
        .with(&format!("{CPU}/vulnerabilities/mds"), "Vulnerable: Clear CPU buffers attempted, no microcode\n")
        .says("microcode", Status::Bad, "against mds");
    Made::fit().with("proc/cpuinfo", "processor : 0\n").says("microcode", Status::Unknown, "no revision");
}

#[test]
fn a_valgrind_that_fails_is_bad_and_a_missing_one_unknown() {
    let version = |version| {
        Made::fit().probed(|probes| {
            probes.valgrind = Some(FoundTool { path: "/opt/valgrind".into(), version });
        })
    };
    version(Err(ToolError::Hung)).says("valgrind", Status::Bad, "did not end");
    version(Err(ToolError::NoVersion("hello".into()))).says("valgrind", Status::Bad, "hello");
    Made::fit().probed(|probes| probes.valgrind = None).says("valgrind", Status::Unknown, "not on the PATH");
}

#[test]
fn a_runner_of_another_series_is_bad_and_one_of_no_known_version_unknown() {
    let runner = |found| Made::fit().probed(|probes| probes.iai_callgrind_runner = found);
    runner(tool("/bin/r", "0.15.2")).says("iai_callgrind_runner", Status::Bad, "0.15.2");
    runner(tool("/bin/r", "0.160.0")).says("iai_callgrind_runner", Status::Bad, "0.160.0");
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
fn a_refused_executable_mapping_is_bad() {
    Made::fit().probed(|probes| probes.executable_memfd = Err(refused("memfd_create"))).says(
        "memfd",
        Status::Bad,
        "memfd_create failed",
    );
}

#[test]
fn tracing_is_judged_by_yama_capabilities_and_filters() {
    let yama = "proc/sys/kernel/yama/ptrace_scope";
    let scope = |text| Made::fit().with(yama, text);
    scope("0\n").says("ptrace", Status::Known, "0");
    scope("2\n").says("ptrace", Status::Bad, "CAP_SYS_PTRACE");
    scope("2\n").with("proc/self/status", "CapEff:\t0000000000080000\n").says("ptrace", Status::Known, "2");
    scope("3\n").says("ptrace", Status::Bad, "until a reboot");
    scope("9\n").says("ptrace", Status::Unknown, "9");
    Made::fit().without(yama).says("ptrace", Status::Known, "no Yama");
    Made::fit().with(".dockerenv", "").says("ptrace", Status::Known, "in a container (/.dockerenv)");
    let status = |text| Made::fit().with("proc/self/status", text);
    status("CapEff:\t0\nSeccomp:\t2\n").says("ptrace", Status::Unknown, "seccomp");
    status("TracerPid:\t77\nCapEff:\t0\n").says("ptrace", Status::Bad, "77");
}

#[test]
fn control_characters_of_files_do_not_reach_the_terminal() {
    let made = Made::fit().with(&format!("{CPU}/cpu1/cpufreq/scaling_governor"), "a\u{1b}[31mb\n");
    let detail = made.check("governor").detail;
    assert!(!detail.chars().any(char::is_control), "{detail:?}");
}

#[test]
fn a_machine_is_read_from_its_tree() {
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
fn the_cpus_that_are_allowed_are_those_at_the_start_whatever_the_run_leaves_to_its_workers() {
    // As after the parent of a run has moved off CPU 1: the status file names CPU 0 alone.
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
fn a_machine_that_tells_nothing_has_absent_facts_and_never_zeros() {
    let made = Made::empty(fit_probes());
    let machine = Machine::read_with(&made.root(), &good_clock());
    assert_eq!(serde_json::to_string(&machine).expect("JSON"), r#"{"caches":[],"mitigations":{}}"#);
}

#[test]
fn garbage_in_the_tree_makes_facts_absent() {
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
fn the_schema_of_machine_and_check_names_every_status() {
    let schema = serde_json::to_value(schemars::schema_for!(Check)).expect("JSON");
    let text = schema.to_string();
    for status in ["known", "unknown", "bad"] {
        assert!(text.contains(&format!("\"{status}\"")), "{status} in {text}");
    }
    let machine = serde_json::to_value(schemars::schema_for!(Machine)).expect("JSON");
    let fields: BTreeSet<&str> =
        machine["properties"].as_object().expect("fields").keys().map(String::as_str).collect();
    assert_eq!(fields.len(), 15);
    assert!(machine.get("additionalProperties").is_none());
}
