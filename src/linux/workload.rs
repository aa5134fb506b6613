//! The workloads of the guest's init process.

/// A workload of the guest.
#[derive(Clone, Copy, Debug)]
pub struct GuestWorkload {
    /// Its name.
    pub name: &'static str,
    /// The name of one unit.
    pub unit: &'static str,
    /// A summary in one line.
    pub summary: &'static str,
    /// The corresponding workload of the model kernel, and the number of its units per unit of this one.
    pub model: Option<(&'static str, f64)>,
}

/// All workloads, in the order of `all` in `src/linux/guest/workloads.rs`.
pub const WORKLOADS: [GuestWorkload; 11] = [
    GuestWorkload {
        name: "getppid",
        unit: "call",
        summary: "a system call that does nothing",
        model: Some(("null_syscall", 1.0)),
    },
    GuestWorkload {
        name: "mmap_perf",
        unit: "call",
        summary: "pseudo-random mmap, munmap and mremap of 64 areas, each followed by touches",
        model: Some(("mmap_perf", 1.0)),
    },
    GuestWorkload {
        name: "fault",
        unit: "64 pages",
        summary: "64 pages are mapped, written for the first time, unmapped",
        model: Some(("page_fault", 64.0)),
    },
    GuestWorkload {
        name: "mprotect",
        unit: "two calls",
        summary: "64 pages are made read-only and writable again",
        model: None,
    },
    GuestWorkload {
        name: "fork_exit",
        unit: "fork",
        summary: "fork; the child exits and is waited for",
        model: Some(("fork_exit", 1.0)),
    },
    GuestWorkload {
        name: "fork_exec",
        unit: "program",
        summary: "fork and execve of a static program that exits",
        model: Some(("exec", 1.0)),
    },
    GuestWorkload {
        name: "ping_pong",
        unit: "round",
        summary: "a byte through a pipe to another process and back",
        model: None,
    },
    GuestWorkload { name: "open_close", unit: "file", summary: "open and close of a file in memory", model: None },
    GuestWorkload {
        name: "sched_yield",
        unit: "call",
        summary: "sched_yield, with another process that does the same",
        model: Some(("context_switch", 1.0)),
    },
    GuestWorkload {
        name: "futex",
        unit: "call",
        summary: "a wait for a value that the word does not have",
        model: None,
    },
    GuestWorkload { name: "signal", unit: "signal", summary: "a signal to itself, and its handler", model: None },
];
