//! Checks of mitigations in kernel and microcode that slow down calls, returns or system calls.

use std::collections::BTreeMap;

use super::Check;
use crate::host::machine::{VULNERABILITIES, read_mitigations};
use crate::host::{Probes, Root};

/// Vulnerabilities whose mitigation changes indirect calls or returns inside the kernel: retpolines, return thunks,
/// SRSO's safe return (Documentation/admin-guide/hw-vuln/: spectre, srso, indirect-target-selection; retbleed in
/// kernel-parameters).
const CALLS_AND_RETURNS: [&str; 4] = ["spectre_v2", "retbleed", "spec_rstack_overflow", "indirect_target_selection"];

/// Vulnerabilities whose mitigation works at every entry to or exit from the kernel: page table switch, buffer
/// clearing, barriers (the same folder: mds, tsx_async_abort, processor_mmio_stale_data, reg-file-data-sampling; and
/// Documentation/arch/x86/pti.rst).
const ENTRY_AND_EXIT: [&str; 7] =
    ["meltdown", "mds", "tsx_async_abort", "mmio_stale_data", "reg_file_data_sampling", "tsa", "spectre_v1"];

const STATUS: &str = "proc/self/status";

pub(super) fn mitigations(root: &Root) -> Check {
    const ID: &str = "mitigations";
    // A mitigation of this process alone: its calls, returns and loads run without speculation (the words are those of
    // fs/proc/array.c; PR_SET_SPECULATION_CTRL(2const)).
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
            "indirect calls and loads after stores do not speculate: table, dyn and workloads cost several times more",
            "run outside of the seccomp sandbox or container that asked for it (docker: `docker run --security-opt \
             seccomp=unconfined`), or boot with spectre_v2_user=prctl spec_store_bypass_disable=prctl",
        );
    }
    let all = read_mitigations(root);
    if all.is_empty() {
        return Check::unknown(
            ID,
            format!("/{VULNERABILITIES} has no files that can be read"),
            "mount /sys, or check dmesg | grep -i mitigation",
        );
    }
    Check::ok(
        ID,
        format!(
            "user code: {}; calls and returns in the kernel: {}; kernel entry and exit: {}",
            join_or_none(list_user_code(&all)),
            join_or_none(list_active(&all, &CALLS_AND_RETURNS)),
            join_or_none(list_entry_and_exit(&all)),
        ),
    )
}

/// Lists mitigations that slow down user code itself: predictors always separated from the sibling thread (STIBP), and
/// store bypass disabled for all processes.
fn list_user_code(all: &BTreeMap<String, String>) -> Vec<String> {
    let stibp = match find_part(all, "spectre_v2", "STIBP: ") {
        Some(state @ ("forced" | "always-on")) => Some(format!("STIBP {state}")),
        _ => None,
    };
    let bypass = all
        .get("spec_store_bypass")
        .filter(|state| state.ends_with("Speculative Store Bypass disabled"))
        .map(|_| "store bypass disabled".to_owned());
    stibp.into_iter().chain(bypass).collect()
}

/// Lists mitigations that work at every entry to the kernel. The loop that clears the branch history is listed under
/// spectre_v2, as `BHI: SW loop, KVM: SW loop`.
fn list_entry_and_exit(all: &BTreeMap<String, String>) -> Vec<String> {
    let history = find_part(all, "spectre_v2", "BHI: ")
        .filter(|state| state.starts_with("SW loop"))
        .map(|_| "spectre_v2 (BHI loop)".to_owned());
    let mut found = list_active(all, &ENTRY_AND_EXIT);
    found.extend(history);
    found
}

/// Returns the text after `label` in the list of mitigations of a vulnerability. Older kernels separate them by commas.
fn find_part<'a>(all: &'a BTreeMap<String, String>, name: &str, label: &str) -> Option<&'a str> {
    all.get(name)?.split([';', ',']).find_map(|part| part.trim().strip_prefix(label))
}

/// Lists the vulnerabilities among `names` that are mitigated, each with its first mitigation.
/// `Vulnerable: Safe RET, no microcode` counts as mitigated.
fn list_active(all: &BTreeMap<String, String>, names: &[&str]) -> Vec<String> {
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

fn join_or_none(items: Vec<String>) -> String {
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

/// The effect of old microcode.
const OLD_MICROCODE: &str = "calls, returns and fences cost what this microcode makes them cost: numbers of machines \
                             with newer microcode differ";

pub(super) fn microcode(root: &Root, probes: &Probes) -> Check {
    const ID: &str = "microcode";
    let Some(revision) = root.field("proc/cpuinfo", ':', "microcode").filter(|it| !it.is_empty()) else {
        return Check::unknown(
            ID,
            "/proc/cpuinfo has no microcode revision",
            "note the microcode revision of the machine with the results",
        );
    };
    if probes.cpu.hypervisor.is_some() {
        return Check::unknown(
            ID,
            format!("revision {revision}, according to the hypervisor"),
            "note the microcode revision of the host with the results",
        );
    }
    let all = read_mitigations(root);
    // old_microcode: Documentation/admin-guide/hw-vuln/old_microcode.rst.
    if all.get("old_microcode").is_some_and(|state| state.starts_with("Vulnerable")) {
        return Check::warning(
            ID,
            format!("revision {revision}, which is outdated according to the kernel"),
            OLD_MICROCODE,
            "`sudo apt install amd64-microcode` or `intel-microcode`, and reboot",
        );
    }
    let unprotected: Vec<&str> = all
        .iter()
        .filter(|(_, state)| state.to_lowercase().contains("no microcode"))
        .map(|(name, _)| name.as_str())
        .collect();
    if unprotected.is_empty() {
        Check::ok(ID, format!("revision {revision}"))
    } else {
        Check::warning(
            ID,
            format!("revision {revision} lacks the support that the kernel needs against {}", unprotected.join(", ")),
            OLD_MICROCODE,
            "`sudo apt install amd64-microcode` or `intel-microcode`, and reboot",
        )
    }
}
