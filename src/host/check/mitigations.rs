//! What the kernel and the microcode do about flaws of the CPU, as far as calls, returns and system calls feel it.

use std::collections::BTreeMap;

use super::Check;
use crate::host::machine::{VULNERABILITIES, mitigations as read_all};
use crate::host::{Probes, Root};

/// Flaws whose mitigation changes indirect calls or returns inside the kernel: retpolines, return thunks, SRSO's safe
/// return (Documentation/admin-guide/hw-vuln/: spectre, srso, indirect-target-selection; retbleed in
/// kernel-parameters).
const CALLS_AND_RETURNS: [&str; 4] = ["spectre_v2", "retbleed", "spec_rstack_overflow", "indirect_target_selection"];

/// Flaws whose mitigation is work at every entry to or exit from the kernel: page table switch, buffer clearing,
/// barriers (the same folder: mds, tsx_async_abort, processor_mmio_stale_data, reg-file-data-sampling; and
/// Documentation/arch/x86/pti.rst).
const ENTRY_AND_EXIT: [&str; 7] =
    ["meltdown", "mds", "tsx_async_abort", "mmio_stale_data", "reg_file_data_sampling", "tsa", "spectre_v1"];

const STATUS: &str = "proc/self/status";

pub(super) fn mitigations(root: &Root) -> Check {
    const ID: &str = "mitigations";
    // In force for this process: its own calls, returns and loads run without speculation, which no other program sees
    // (the words are those of fs/proc/array.c; PR_SET_SPECULATION_CTRL(2const)).
    let own: Vec<String> = ["SpeculationIndirectBranch", "Speculation_Store_Bypass"]
        .into_iter()
        .filter_map(|key| Some((key, root.field(STATUS, ':', key)?)))
        .filter(|(_, state)| state.ends_with("disabled") || state.ends_with("mitigated"))
        .map(|(key, state)| format!("{key} {state}"))
        .collect();
    if !own.is_empty() {
        return Check::warning(
            ID,
            format!("this process runs with speculation switched off: {}", own.join(", ")),
            "run outside of the seccomp sandbox or container that asked for it, or boot with \
             spectre_v2_user=prctl spec_store_bypass_disable=prctl",
        );
    }
    let all = read_all(root);
    if all.is_empty() {
        return Check::unknown(
            ID,
            format!("/{VULNERABILITIES} tells nothing"),
            "mount /sys, or see dmesg | grep -i mitigation",
        );
    }
    Check::ok(
        ID,
        format!(
            "user code: {}; calls and returns in the kernel: {}; kernel entry and exit: {}",
            list(user_code(&all)),
            list(active(&all, &CALLS_AND_RETURNS)),
            list(entry_and_exit(&all)),
        ),
    )
}

/// Mitigations that slow down user code itself: predictors kept from the sibling thread at all times, and store bypass
/// off for all.
fn user_code(all: &BTreeMap<String, String>) -> Vec<String> {
    let stibp = match part(all, "spectre_v2", "STIBP: ") {
        Some(state @ ("forced" | "always-on")) => Some(format!("STIBP {state}")),
        _ => None,
    };
    let bypass = all
        .get("spec_store_bypass")
        .filter(|state| state.ends_with("Speculative Store Bypass disabled"))
        .map(|_| "store bypass disabled".to_owned());
    stibp.into_iter().chain(bypass).collect()
}

/// Mitigations that work at every entry to the kernel; the loop that clears the branch history is told under
/// spectre_v2, as `BHI: SW loop, KVM: SW loop`.
fn entry_and_exit(all: &BTreeMap<String, String>) -> Vec<String> {
    let history = part(all, "spectre_v2", "BHI: ")
        .filter(|state| state.starts_with("SW loop"))
        .map(|_| "spectre_v2 (BHI loop)".to_owned());
    let mut found = active(all, &ENTRY_AND_EXIT);
    found.extend(history);
    found
}

/// What stands after `label` in the list of what is done about a flaw; older kernels have commas for semicolons.
fn part<'a>(all: &'a BTreeMap<String, String>, name: &str, label: &str) -> Option<&'a str> {
    all.get(name)?.split([';', ',']).find_map(|part| part.trim().strip_prefix(label))
}

/// Of `names`, those that are mitigated, each with the first thing it does. `Vulnerable: Safe RET, no microcode` is a
/// mitigation at work too.
fn active(all: &BTreeMap<String, String>, names: &[&str]) -> Vec<String> {
    names
        .iter()
        .filter_map(|name| {
            let (verdict, what) = all.get(*name)?.split_once(": ")?;
            let first = what.split(';').next()?.trim();
            let works = match verdict {
                "Mitigation" => true,
                "Vulnerable" => first.starts_with("Safe RET"),
                _ => false,
            };
            works.then(|| format!("{name} ({first})"))
        })
        .collect()
}

fn list(items: Vec<String>) -> String {
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

pub(super) fn microcode(root: &Root, probes: &Probes) -> Check {
    const ID: &str = "microcode";
    let Some(revision) = root.field("proc/cpuinfo", ':', "microcode").filter(|it| !it.is_empty()) else {
        return Check::unknown(
            ID,
            "/proc/cpuinfo gives no revision",
            "note the revision of the machine's microcode beside the results",
        );
    };
    if probes.cpu.hypervisor.is_some() {
        return Check::unknown(
            ID,
            format!("revision {revision}, as the hypervisor would have it"),
            "note the revision of the host beside the results",
        );
    }
    let all = read_all(root);
    // old_microcode: Documentation/admin-guide/hw-vuln/old_microcode.rst.
    if all.get("old_microcode").is_some_and(|state| state.starts_with("Vulnerable")) {
        return Check::warning(
            ID,
            format!("revision {revision}, which the kernel knows to be outdated"),
            "install the distribution's microcode package (amd64-microcode, intel-microcode) and reboot",
        );
    }
    let wanting: Vec<&str> = all
        .iter()
        .filter(|(_, state)| state.to_lowercase().contains("no microcode"))
        .map(|(name, _)| name.as_str())
        .collect();
    if wanting.is_empty() {
        Check::ok(ID, format!("revision {revision}"))
    } else {
        Check::warning(
            ID,
            format!("revision {revision} lacks what the kernel needs against {}", wanting.join(", ")),
            "install the distribution's microcode package (amd64-microcode, intel-microcode) and reboot",
        )
    }
}
