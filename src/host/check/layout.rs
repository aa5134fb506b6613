//! Checks of memory placement: address randomisation and huge pages.

use super::Check;
use crate::host::{Probes, Root};

/// The effect of fixed addresses.
const FIXED: &str = "every worker has the same addresses, so the effect of one placement looks like a cost of the \
                     mechanism, and intervals are too narrow";

pub(super) fn aslr(root: &Root, probes: &Probes) -> Check {
    const ID: &str = "aslr";
    let persona = match &probes.personality {
        Ok(persona) => *persona,
        Err(error) => {
            return Check::unknown(
                ID,
                error.to_string(),
                "check /proc/self/personality: bit 0x40000 switches randomisation off",
            );
        }
    };
    if persona & libc::ADDR_NO_RANDOMIZE as u32 != 0 {
        return Check::warning(
            ID,
            format!("off for this process (personality {persona:#x})"),
            FIXED,
            "`setarch -R` or a debugger switched it off: start pvbench without them",
        );
    }
    let level = match root.line("proc/sys/kernel/randomize_va_space") {
        Ok(level) => level,
        Err(error) => {
            return Check::unknown(ID, error.to_string(), "sysctl kernel.randomize_va_space");
        }
    };
    // Documentation/admin-guide/sysctl/kernel.rst, randomize_va_space.
    match level.as_str() {
        "2" => Check::ok(ID, "full (2): workers have different addresses, and medians over workers cover them"),
        "1" => Check::ok_with_advice(
            ID,
            "stack, mappings and vDSO (1): the heap of every worker has the same address",
            "sysctl kernel.randomize_va_space=2",
        ),
        "0" => Check::warning(ID, "off (0)", FIXED, "`sudo sysctl kernel.randomize_va_space=2`"),
        other => Check::unknown(
            ID,
            format!("/proc/sys/kernel/randomize_va_space holds {other:?}"),
            "sysctl kernel.randomize_va_space=2",
        ),
    }
}

pub(super) fn thp(root: &Root) -> Check {
    const ID: &str = "thp";
    let advice = "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled";
    let line = match root.line("sys/kernel/mm/transparent_hugepage/enabled") {
        Ok(line) => line,
        Err(error) => return Check::unknown(ID, error.to_string(), advice),
    };
    // The active choice is in brackets: `always [madvise] never`.
    let chosen = line.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(chosen, _)| chosen);
    match chosen {
        Some(chosen @ ("madvise" | "never")) => Check::ok(ID, format!("{chosen}: huge pages are used only on request")),
        Some("always") => Check::warning(
            ID,
            "always: whether a worker gets huge pages depends on free memory at its start",
            "workloads and the cold regimes miss the TLB more or less often from worker to worker, so their \
                 intervals are wider",
            format!("`{advice}`"),
        ),
        _ => Check::unknown(ID, format!("/sys/kernel/mm/transparent_hugepage/enabled holds {line:?}"), advice),
    }
}
