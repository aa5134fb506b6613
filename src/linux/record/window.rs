//! Which units of a workload are recorded: a row of them in the middle of the second repetition.
//!
//! The recorder sees no units. It sees system calls, of which each unit makes the same number.

/// A workload as the recorder sees it.
#[derive(Clone, Copy, Debug)]
pub struct WindowPlan {
    /// Name of the workload.
    pub workload: &'static str,
    /// Units of a repetition at scale 100, as in `src/linux/guest/workloads.rs`.
    units: u64,
    /// System calls of a unit, those of child processes included.
    calls: u64,
    /// Units to record: about 5,000,000 instructions, or 1,000 units. Twice as many make a file twice as large.
    recorded: u64,
}

/// All workloads, in the order of [`crate::linux::workload::WORKLOADS`].
pub const WINDOWS: [WindowPlan; 11] = [
    WindowPlan { workload: "getppid", units: 40_000, calls: 1, recorded: 1000 },
    WindowPlan { workload: "mmap_perf", units: 15_000, calls: 1, recorded: 300 },
    WindowPlan { workload: "fault", units: 300, calls: 2, recorded: 20 },
    WindowPlan { workload: "mprotect", units: 2_000, calls: 2, recorded: 150 },
    WindowPlan { workload: "fork_exit", units: 2_000, calls: 3, recorded: 40 },
    WindowPlan { workload: "fork_exec", units: 600, calls: 4, recorded: 20 },
    WindowPlan { workload: "ping_pong", units: 12_000, calls: 4, recorded: 300 },
    WindowPlan { workload: "open_close", units: 20_000, calls: 2, recorded: 800 },
    WindowPlan { workload: "sched_yield", units: 15_000, calls: 2, recorded: 1000 },
    WindowPlan { workload: "futex", units: 30_000, calls: 1, recorded: 1000 },
    WindowPlan { workload: "signal", units: 8_000, calls: 2, recorded: 1000 },
];

/// The repetition with the window. The first is shorter and fills the kernel's caches.
pub const REPETITION: u64 = 1;

/// The units of a window, and its first system call and the one after its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Units.
    pub units: u64,
    /// System calls.
    pub calls: [u64; 2],
}

impl Place {
    /// The units of the window. A kernel may make more system calls in a repetition than planned, if it switches
    /// between the processes of a workload in another way: then its units are fewer.
    #[must_use]
    pub fn count_units(&self, scale: u64, workload: &WindowPlan, syscalls: u64) -> u64 {
        let planned = workload.calls(scale);
        let units = (self.units * planned + syscalls / 2).checked_div(syscalls);
        units.map_or(self.units, |units| units.max(1))
    }
}

impl WindowPlan {
    /// Units of a repetition after the first.
    #[must_use]
    pub fn units(&self, scale: u64) -> u64 {
        (self.units * scale / 100).max(1)
    }

    /// System calls of a repetition after the first.
    #[must_use]
    pub fn calls(&self, scale: u64) -> u64 {
        self.units(scale) * self.calls
    }

    /// The window in a repetition after the first: `wanted` units or the usual number, at most all.
    #[must_use]
    pub fn place(&self, scale: u64, wanted: Option<u64>) -> Place {
        let all = self.units(scale);
        let units = wanted.unwrap_or(self.recorded).clamp(1, all);
        let first = (all - units) / 2;
        Place { units, calls: [first * self.calls, (first + units) * self.calls] }
    }
}
