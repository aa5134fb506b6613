//! Test of the hardware counter of core cycles, with the reason if it is unavailable.

use std::hint::black_box;
use std::io;

use perf_event::Builder;
use perf_event::events::Hardware;
use rustix::io::Errno;

use super::Root;

/// Number of additions in the test; a counter that works has counted more than 0 cycles after them.
const TEST_ADDITIONS: u64 = 10_000;

/// Why core cycles cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum CounterError {
    /// `perf_event_open` failed.
    #[error("perf_event_open failed: {0}")]
    Open(#[source] io::Error),
    /// The counter was opened, but using it failed.
    #[error("the cycles counter was opened but cannot be used: {0}")]
    Use(#[source] io::Error),
    /// The counter was opened but never scheduled on the hardware.
    #[error("the cycles counter was opened but never scheduled: other users hold the hardware counters")]
    Unscheduled,
    /// The counter was opened, ran and stayed at 0, as under hypervisors that show a PMU but do not run it.
    #[error("the cycles counter was opened, ran and stayed at 0")]
    Silent,
}

/// An unavailable counter, as text.
pub(super) struct MissingCounter {
    /// The reason.
    pub(crate) reason: String,
    /// Advice.
    pub(crate) advice: &'static str,
    /// Whether the machine has counters, but something withholds them.
    pub(crate) withheld: bool,
}

/// Opens a counter of user-space core cycles of this thread, and checks that it counts.
pub(super) fn try_cycles() -> Result<(), CounterError> {
    let mut counter = Builder::new().kind(Hardware::CPU_CYCLES).build().map_err(CounterError::Open)?;
    counter.enable().map_err(CounterError::Use)?;
    for n in 0..TEST_ADDITIONS {
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

/// Returns why hardware counters are unavailable, `None` if they work. Each call opens a counter: call it once per run.
pub fn pmu_unavailable() -> Option<String> {
    try_cycles().err().map(|error| explain(&error, &Root::default()).reason)
}

/// Explains a failure. The error numbers are those of perf_event_open(2), "ERRORS".
pub(super) fn explain(error: &CounterError, root: &Root) -> MissingCounter {
    let CounterError::Open(source) = error else {
        return MissingCounter {
            reason: error.to_string(),
            advice: "stop other users of the counters (perf, the NMI watchdog: `sudo sysctl kernel.nmi_watchdog=0`), \
                     or make the hypervisor virtualise the PMU; until then cycles come from the calibration chain",
            withheld: matches!(error, CounterError::Unscheduled),
        };
    };
    match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(errno @ (Errno::NOENT | Errno::OPNOTSUPP | Errno::NODEV)) => MissingCounter {
            reason: format!(
                "no PMU: the kernel has no cycles event ({}), as in a guest without a virtual PMU",
                errno_name(errno)
            ),
            advice: "run on bare metal or give the guest a PMU (QEMU: -cpu host,pmu=on); until then cycles come from \
                     the calibration chain",
            withheld: false,
        },
        Some(errno @ (Errno::ACCESS | Errno::PERM)) => explain_refusal(errno, root),
        Some(Errno::NOSYS) => MissingCounter {
            reason: "perf_event_open does not exist (ENOSYS): the kernel is built without perf events, or a seccomp \
                     filter hides them"
                .to_owned(),
            advice: "use a kernel with CONFIG_PERF_EVENTS, or allow perf_event_open in the seccomp profile (docker: \
                     `docker run --cap-add PERFMON`)",
            withheld: true,
        },
        _ => MissingCounter {
            reason: error.to_string(),
            advice: "look the error up in perf_event_open(2); until then cycles come from the calibration chain",
            withheld: false,
        },
    }
}

/// Explains a missing permission: by the paranoid level, or by something else if that level allows counters.
fn explain_refusal(errno: Errno, root: &Root) -> MissingCounter {
    let level = super::check::read_paranoid_level(root);
    match level {
        // Level 3 and above, of Debian, Ubuntu and Android kernels, refuses all counters to unprivileged processes.
        Some(level) if level > 2 => MissingCounter {
            reason: format!(
                "perf_event_paranoid is {level}, which refuses counters to this process ({})",
                errno_name(errno)
            ),
            advice: "`sudo sysctl kernel.perf_event_paranoid=2`, or give the process CAP_PERFMON",
            withheld: true,
        },
        Some(level) => MissingCounter {
            reason: format!(
                "no permission ({}) although perf_event_paranoid is {level}: a seccomp filter, a container or a \
                 security module refuses perf_event_open",
                errno_name(errno)
            ),
            advice: "allow perf_event_open in the container (docker: `docker run --cap-add PERFMON`), or leave it",
            withheld: true,
        },
        None => MissingCounter {
            reason: format!("no permission ({}), and perf_event_paranoid cannot be read", errno_name(errno)),
            advice: "give the process CAP_PERFMON (`sudo setcap cap_perfmon+ep PROGRAM`), or allow perf_event_open in \
                     its seccomp profile",
            withheld: true,
        },
    }
}

/// Returns the name of an error number in the manual page.
fn errno_name(errno: Errno) -> &'static str {
    match errno {
        Errno::NOENT => "ENOENT",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        Errno::NODEV => "ENODEV",
        Errno::ACCESS => "EACCES",
        Errno::PERM => "EPERM",
        _ => "another error",
    }
}
