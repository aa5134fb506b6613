//! Whether two reports are of one machine and one instrument, so that their times can be compared.

use crate::host::Machine;
use crate::report::Report;

/// What two machines or tools differ in, in words: `CPU model: A, not B`. Empty where times can be compared.
///
/// These are what moves cycles from one machine to the next: the CPU, its microcode, what the kernel does about its
/// flaws, and the version of the tool, whose loops are part of what is measured.
#[must_use]
pub fn differences(found: (&Machine, &str), expected: (&Machine, &str)) -> Vec<String> {
    let mut differences = Vec::new();
    let mut differ = |what: &str, found: Option<&str>, expected: Option<&str>| {
        if found != expected {
            let said = |value: Option<&str>| value.unwrap_or("unknown").to_owned();
            differences.push(format!("{what}: {}, not {}", said(found), said(expected)));
        }
    };
    let ((machine, version), (other, other_version)) = (found, expected);
    differ("CPU model", machine.cpu_model.as_deref(), other.cpu_model.as_deref());
    differ("microcode", machine.microcode.as_deref(), other.microcode.as_deref());
    for flaw in
        machine.mitigations.keys().chain(other.mitigations.keys().filter(|k| !machine.mitigations.contains_key(*k)))
    {
        let of = |machine: &'_ Machine| machine.mitigations.get(flaw).cloned();
        differ(&format!("mitigation of {flaw}"), of(machine).as_deref(), of(other).as_deref());
    }
    differ("pvbench", Some(version), Some(other_version));
    differences
}

/// What a report's machine and tool differ in from this one.
#[must_use]
pub fn from_here(report: &Report, here: &Machine) -> Vec<String> {
    differences((&report.machine, &report.tool.version), (here, env!("CARGO_PKG_VERSION")))
}

/// What two reports' machines, tools and builds differ in.
#[must_use]
pub fn between(report: &Report, baseline: &Report) -> Vec<String> {
    let of = |report: &Report| (report.machine.clone(), report.tool.version.clone());
    let ((machine, version), (other, other_version)) = (of(report), of(baseline));
    let mut found = differences((&machine, &version), (&other, &other_version));
    if report.tool.build != baseline.tool.build {
        found.push(format!("build: {}, not {}", report.tool.build, baseline.tool.build));
    }
    let optimised = |report: &Report| if report.unoptimised().is_some() { "unoptimised" } else { "optimised" };
    if optimised(report) != optimised(baseline) {
        found.push(format!("code: {}, not {}", optimised(report), optimised(baseline)));
    }
    found
}
