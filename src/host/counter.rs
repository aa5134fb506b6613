//! Whether a hardware counter of core cycles can be had, and why not.

use std::hint::black_box;
use std::io;

use perf_event::Builder;
use perf_event::events::Hardware;
use rustix::io::Errno;

use super::Root;

/// Additions counted in the trial; any counter that works has seen more cycles than none after them.
const TRIAL: u64 = 10_000;

/// Why core cycles cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum CounterError {
    /// `perf_event_open` failed.
    #[error("perf_event_open failed: {0}")]
    Open(#[source] io::Error),
    /// It was opened, and using it failed.
    #[error("the cycles counter was opened and cannot be used: {0}")]
    Use(#[source] io::Error),
    /// It was opened and never given one of the hardware's counters.
    #[error("the cycles counter was opened and never scheduled: others hold the hardware counters")]
    Unscheduled,
    /// It was opened, ran, and stayed at 0, as under hypervisors that show a PMU and do not run it.
    #[error("the cycles counter was opened, ran and stayed at 0")]
    Silent,
}

/// A counter that is missing, in words.
pub(super) struct MissingCounter {
    /// What was seen, and what it means.
    pub reason: String,
    /// What to do.
    pub advice: &'static str,
    /// Something withholds counters that the machine has, so that someone can give them.
    pub withheld: bool,
}

/// Opens a counter of user-space core cycles of this thread, and sees it count.
pub(super) fn try_cycles() -> Result<(), CounterError> {
    let mut counter = Builder::new().kind(Hardware::CPU_CYCLES).build().map_err(CounterError::Open)?;
    counter.enable().map_err(CounterError::Use)?;
    for n in 0..TRIAL {
        black_box(n);
    }
    counter.disable().map_err(CounterError::Use)?;
    let seen = counter.read_count_and_time().map_err(CounterError::Use)?;
    match (seen.time_running, seen.count) {
        (0, _) => Err(CounterError::Unscheduled),
        (_, 0) => Err(CounterError::Silent),
        _ => Ok(()),
    }
}

/// The reason why hardware counters are missing, `None` where they work. It opens a counter each time: ask once a run.
pub fn pmu_unavailable() -> Option<String> {
    try_cycles().err().map(|error| explain(&error, &Root::default()).reason)
}

/// What a failure means: the numbers are those of perf_event_open(2), "ERRORS".
pub(super) fn explain(error: &CounterError, root: &Root) -> MissingCounter {
    let CounterError::Open(source) = error else {
        return MissingCounter {
            reason: error.to_string(),
            advice: "stop other users of the counters (perf, the NMI watchdog: sysctl kernel.nmi_watchdog=0), or have \
                     the hypervisor virtualise the PMU; cycles come from the calibration chain meanwhile",
            withheld: matches!(error, CounterError::Unscheduled),
        };
    };
    match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(errno @ (Errno::NOENT | Errno::OPNOTSUPP | Errno::NODEV)) => MissingCounter {
            reason: format!(
                "no PMU: the kernel knows no cycles event here ({}), as in a guest without a virtual PMU",
                name(errno)
            ),
            advice: "run on bare metal or give the guest a PMU (QEMU: -cpu host,pmu=on); cycles come from the \
                     calibration chain meanwhile",
            withheld: false,
        },
        Some(errno @ (Errno::ACCESS | Errno::PERM)) => refused(errno, root),
        Some(Errno::NOSYS) => MissingCounter {
            reason: "perf_event_open is not there (ENOSYS): the kernel is built without perf events, or a seccomp \
                     filter hides them"
                .to_owned(),
            advice: "use a kernel with CONFIG_PERF_EVENTS, or a seccomp profile that allows perf_event_open",
            withheld: true,
        },
        _ => MissingCounter {
            reason: error.to_string(),
            advice: "look the error up in perf_event_open(2); cycles come from the calibration chain meanwhile",
            withheld: false,
        },
    }
}

/// Refused for want of a permission: by the paranoid level, or by something else where that level allows it.
fn refused(errno: Errno, root: &Root) -> MissingCounter {
    let level = super::check::paranoid_level(root);
    match level {
        // From 3 on, a level of Debian, Ubuntu and Android kernels, nothing is open to the unprivileged.
        Some(level) if level > 2 => MissingCounter {
            reason: format!("perf_event_paranoid is {level}, which refuses counters to this process ({})", name(errno)),
            advice: "sysctl kernel.perf_event_paranoid=2, or give the process CAP_PERFMON",
            withheld: true,
        },
        Some(level) => MissingCounter {
            reason: format!(
                "no permission ({}) though perf_event_paranoid is {level}: a seccomp filter, a container or a \
                 security module refuses perf_event_open",
                name(errno)
            ),
            advice: "allow perf_event_open in the container's seccomp profile, or run outside of it",
            withheld: true,
        },
        None => MissingCounter {
            reason: format!("no permission ({}), and the level of perf_event_paranoid cannot be read", name(errno)),
            advice: "give the process CAP_PERFMON, or allow perf_event_open in its seccomp profile",
            withheld: true,
        },
    }
}

/// The name by which the manual page knows it.
fn name(errno: Errno) -> &'static str {
    match errno {
        Errno::NOENT => "ENOENT",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        Errno::NODEV => "ENODEV",
        Errno::ACCESS => "EACCES",
        Errno::PERM => "EPERM",
        _ => "another error",
    }
}
