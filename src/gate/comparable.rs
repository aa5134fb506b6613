//! Check that two reports come from the same machine and tool, so that their times can be compared.

use crate::host::Machine;
use crate::report::Report;

/// Lists the differences of two machines or tools as text: `CPU model: A, not B`. The list is empty if times can be
/// compared.
///
/// Cycles depend on the CPU model, its microcode, the kernel's mitigations, and the version of the tool, whose loops
/// are part of the measured code.
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

/// Lists the differences of a report's machine and tool from this machine and tool.
#[must_use]
pub(crate) fn from_here(report: &Report, here: &Machine) -> Vec<String> {
    differences((&report.machine, &report.tool.version), (here, env!("CARGO_PKG_VERSION")))
}

/// Lists the differences of the machines, tools and builds of two reports.
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
