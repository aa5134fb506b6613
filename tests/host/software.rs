//! Checks of counters, memory, mitigations and tools.

use super::*;

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
    let manifest = include_str!("../../Cargo.toml");
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
