//! What moves the frequency of the core.

use super::Check;
use crate::host::{Probes, Root};

/// In a guest the host sets the frequency and shows nothing of it.
const ASK_THE_HOST: &str = "the frequency is set outside of this system: set it on the host (governor performance, no turbo), or rely on the \
     calibration beside every sample";

const ASK_THE_FIRMWARE: &str = "load the cpufreq driver or fix the frequency in the firmware's setup, or rely on the calibration beside every \
     sample";

fn hidden(probes: &Probes) -> &'static str {
    match probes.cpu.hypervisor {
        Some(_) => ASK_THE_HOST,
        None => ASK_THE_FIRMWARE,
    }
}

pub(super) fn governor(root: &Root, probes: &Probes) -> Check {
    const ID: &str = "governor";
    let cpu = probes.measuring_cpu.unwrap_or(0);
    let file = format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
    match root.line(&file).as_deref() {
        // userspace holds whatever frequency was set.
        Ok(steady @ ("performance" | "userspace")) => Check::ok(ID, format!("CPU {cpu} has governor {steady}")),
        Ok(other) => Check::warning(
            ID,
            format!("CPU {cpu} has governor {other}, which moves the frequency with the load"),
            "cpupower frequency-set -g performance",
        ),
        Err(error) => Check::unknown(ID, error.to_string(), hidden(probes)),
    }
}

pub(super) fn turbo(root: &Root, probes: &Probes) -> Check {
    const ID: &str = "turbo";
    let cpu = probes.measuring_cpu.unwrap_or(0);
    // intel_pstate counts the other way round (Documentation/admin-guide/pm/intel_pstate.rst), the others have a boost
    // file for all CPUs or for each policy (Documentation/admin-guide/pm/cpufreq.rst).
    let own = format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/boost");
    let switches = [
        ("sys/devices/system/cpu/intel_pstate/no_turbo", "1", "0"),
        (own.as_str(), "0", "1"),
        ("sys/devices/system/cpu/cpufreq/boost", "0", "1"),
    ];
    for (file, off, on) in switches {
        let Ok(value) = root.line(file) else { continue };
        if value == off {
            return Check::ok(ID, format!("off (/{file} is {value})"));
        }
        if value == on {
            return Check::warning(
                ID,
                format!("on (/{file} is {value}): the frequency depends on the other cores and on the heat"),
                format!("echo {off} > /{file}"),
            );
        }
        return Check::unknown(ID, format!("/{file} holds {value:?}, neither {off} nor {on}"), hidden(probes));
    }
    Check::unknown(ID, "no file here tells of it", hidden(probes))
}
