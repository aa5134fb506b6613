//! The facts of a machine that a report keeps.

use super::*;

#[test]
fn a_machine_is_read_from_the_files_of_its_root() {
    let boot = ("proc/sys/kernel/random/boot_id", "6f1c2d0a-5f0e-4b57-9c8e-1f2a3b4c5d6e\n");
    let made = Made::fit().guest().with(boot.0, boot.1).probed(|probes| probes.cpu.tsc_hz = Some(1_000));
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
  "threads_per_core": 1,
  "boot_id": "6f1c2d0a-5f0e-4b57-9c8e-1f2a3b4c5d6e",
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
    assert_eq!(fields.len(), 17);
    assert!(machine.get("additionalProperties").is_none());
}
