//! Checks of the frequency of the core.

use super::Check;
use crate::host::{Probes, Root};

/// The effect of a frequency that changes.
const FREQUENCY: &str = "cycles stay right, because every block is calibrated; nanoseconds and intervals vary with the \
                         frequency";

/// Advice in a guest, where the host sets the frequency and hides it.
const ASK_THE_HOST: &str = "set the frequency on the host, which controls it (governor performance, no turbo), or rely \
                            on the calibration of every sample";

/// Advice on bare metal without a cpufreq driver.
const ASK_THE_FIRMWARE: &str = "load the cpufreq driver or fix the frequency in the firmware setup, or rely on the \
                                calibration of every sample";

fn advise(probes: &Probes) -> &'static str {
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
        // The governor userspace keeps the frequency that was set.
        Ok(steady @ ("performance" | "userspace")) => Check::ok(ID, format!("CPU {cpu} has governor {steady}")),
        Ok(other) => Check::warning(
            ID,
            format!("CPU {cpu} has governor {other}, which changes the frequency with the load"),
            FREQUENCY,
            format!("`echo performance | sudo tee /{file}`"),
        ),
        Err(error) => Check::unknown(ID, error.to_string(), advise(probes)),
    }
}

pub(super) fn turbo(root: &Root, probes: &Probes) -> Check {
    const ID: &str = "turbo";
    let cpu = probes.measuring_cpu.unwrap_or(0);
    // intel_pstate has a file with the opposite meaning (Documentation/admin-guide/pm/intel_pstate.rst). Other drivers
    // have a boost file for all CPUs or for each policy (Documentation/admin-guide/pm/cpufreq.rst).
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
                format!("on (/{file} is {value}): the frequency depends on other cores and on the temperature"),
                FREQUENCY,
                format!("`echo {off} | sudo tee /{file}`"),
            );
        }
        return Check::unknown(ID, format!("/{file} holds {value:?}, neither {off} nor {on}"), advise(probes));
    }
    Check::unknown(ID, "no file shows whether turbo is on", advise(probes))
}
