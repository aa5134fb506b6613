//! Checks of frequency, CPUs, load and virtualisation.

use super::*;

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
