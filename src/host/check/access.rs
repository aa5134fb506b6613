//! Checks of rights that a sandbox may take away: executable mappings and tracing.

use super::Check;
use crate::host::{Probes, Root};

const YAMA: &str = "proc/sys/kernel/yama/ptrace_scope";
const STATUS: &str = "proc/self/status";

/// The effect of a process that cannot be traced.
const NO_COUNTS: &str = "the report has no instruction counts and no listings; times do not change";

/// Number of the bit of CAP_SYS_PTRACE in a capability set (include/uapi/linux/capability.h).
const CAP_SYS_PTRACE: u32 = 19;

pub(super) fn memfd(probes: &Probes) -> Check {
    const ID: &str = "memfd";
    match &probes.executable_memfd {
        Ok(()) => Check::ok(ID, "memory of a memfd can be mapped as executable"),
        Err(error) => Check::warning(
            ID,
            format!("{error}, so call sites cannot be patched"),
            "patched states have no numbers, and all loops stay at one address, whose effect looks like a cost of the \
             mechanism",
            "`sudo sysctl vm.memfd_noexec=0`; if that is 0, allow memfd_create and execmem in seccomp or SELinux",
        ),
    }
}

pub(super) fn ptrace(root: &Root) -> Check {
    const ID: &str = "ptrace";
    let field = |key| root.field(STATUS, ':', key);
    if let Some(tracer) = field("TracerPid").filter(|tracer| tracer != "0") {
        return Check::warning(
            ID,
            format!("process {tracer} traces this process already, and a process can have one tracer only"),
            NO_COUNTS,
            "`gdb -p` or `strace` traces it: run pvbench outside of them",
        );
    }
    let Some(capabilities) = field("CapEff").and_then(|it| u64::from_str_radix(&it, 16).ok()) else {
        return Check::unknown(
            ID,
            format!("/{STATUS} has no capabilities of this process"),
            "mount /proc, or check whether `strace true` works",
        );
    };
    let capable = capabilities & (1 << CAP_SYS_PTRACE) != 0;
    // Documentation/admin-guide/LSM/Yama.rst. Without Yama the kernel allows a process to trace its children.
    let scope = root.line(YAMA).ok();
    let seen = match scope.as_deref() {
        Some("3") => {
            return Check::warning(
                ID,
                "Yama's ptrace_scope is 3: nothing can be traced until a reboot",
                NO_COUNTS,
                "find the setting with `grep -rs ptrace_scope /etc/sysctl.conf /etc/sysctl.d`, remove it, and reboot",
            );
        }
        Some("2") if !capable => {
            return Check::warning(
                ID,
                "Yama's ptrace_scope is 2: only processes with CAP_SYS_PTRACE can trace",
                NO_COUNTS,
                "`sudo sysctl kernel.yama.ptrace_scope=1`",
            );
        }
        Some(scope @ ("0" | "1" | "2")) => {
            format!("Yama's ptrace_scope is {scope}, which lets this process trace its children")
        }
        Some(other) => {
            return Check::unknown(
                ID,
                format!("/{YAMA} holds the unknown value {other:?}"),
                "check whether `strace true` works",
            );
        }
        None => "no Yama: a process can trace its children".to_owned(),
    };
    let inside = find_container_mark(root).map_or_else(String::new, |sign| format!(", in a container (/{sign})"));
    // Mode 2 is a filter (seccomp(2)), whose rules cannot be read.
    if field("Seccomp").as_deref() == Some("2") {
        return Check::unknown(
            ID,
            format!("{seen}{inside}; a seccomp filter is active and may refuse it"),
            "check whether `strace true` works; allow ptrace in the seccomp profile (docker: --cap-add SYS_PTRACE)",
        );
    }
    Check::ok(ID, format!("{seen}{inside}"))
}

/// Returns the file by which a container engine marks its containers, if there is one.
fn find_container_mark(root: &Root) -> Option<&'static str> {
    [".dockerenv", "run/.containerenv"].into_iter().find(|sign| root.has(sign))
}
