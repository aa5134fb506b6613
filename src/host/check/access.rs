//! What a sandbox may take away: executable mappings, tracing.

use super::Check;
use crate::host::{Probes, Root};

const YAMA: &str = "proc/sys/kernel/yama/ptrace_scope";
const STATUS: &str = "proc/self/status";

/// Bit of CAP_SYS_PTRACE in a capability set (include/uapi/linux/capability.h).
const CAP_SYS_PTRACE: u32 = 19;

pub(super) fn memfd(probes: &Probes) -> Check {
    const ID: &str = "memfd";
    match &probes.executable_memfd {
        Ok(()) => Check::ok(ID, "memory of a memfd can be mapped executable"),
        Err(error) => Check::warning(
            ID,
            format!("{error}: call sites cannot be patched"),
            "sysctl vm.memfd_noexec=0, and see whether seccomp or SELinux (execmem, execmod) refuses it",
        ),
    }
}

pub(super) fn ptrace(root: &Root) -> Check {
    const ID: &str = "ptrace";
    let field = |key| root.field(STATUS, ':', key);
    if let Some(tracer) = field("TracerPid").filter(|tracer| tracer != "0") {
        return Check::warning(
            ID,
            format!("process {tracer} traces this one already, and a process has one tracer"),
            "run outside of strace and debuggers",
        );
    }
    let Some(capabilities) = field("CapEff").and_then(|it| u64::from_str_radix(&it, 16).ok()) else {
        return Check::unknown(
            ID,
            format!("/{STATUS} tells nothing of this process"),
            "mount /proc, or see whether strace true works",
        );
    };
    let capable = capabilities & (1 << CAP_SYS_PTRACE) != 0;
    // Documentation/admin-guide/LSM/Yama.rst; without Yama the kernel's own rules hold, which allow one's own children.
    let scope = root.line(YAMA).ok();
    let seen = match scope.as_deref() {
        Some("3") => {
            return Check::warning(
                ID,
                "Yama's ptrace_scope is 3: nothing can be traced until a reboot",
                "remove kernel.yama.ptrace_scope=3 from the sysctl configuration and reboot",
            );
        }
        Some("2") if !capable => {
            return Check::warning(
                ID,
                "Yama's ptrace_scope is 2: tracing is for processes with CAP_SYS_PTRACE only",
                "sysctl kernel.yama.ptrace_scope=1",
            );
        }
        Some(scope @ ("0" | "1" | "2")) => {
            format!("Yama's ptrace_scope is {scope}, which lets this process trace its children")
        }
        Some(other) => {
            return Check::unknown(ID, format!("/{YAMA} holds {other:?}"), "see whether strace true works");
        }
        None => "no Yama: a process can trace its children".to_owned(),
    };
    let inside = container(root).map_or_else(String::new, |sign| format!(", in a container (/{sign})"));
    // Mode 2 is a filter (seccomp(2)); what it refuses cannot be read.
    if field("Seccomp").as_deref() == Some("2") {
        return Check::unknown(
            ID,
            format!("{seen}{inside}; a seccomp filter is in force and may refuse it"),
            "see whether strace true works; allow ptrace in the seccomp profile (docker: --cap-add SYS_PTRACE)",
        );
    }
    Check::ok(ID, format!("{seen}{inside}"))
}

/// The file that a container engine leaves in its containers, where there is one.
fn container(root: &Root) -> Option<&'static str> {
    [".dockerenv", "run/.containerenv"].into_iter().find(|sign| root.has(sign))
}
