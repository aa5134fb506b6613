//! Checks of hardware counters.

use super::Check;
use crate::host::counter::explain;
use crate::host::{Probes, Root};

/// The effect of withheld counters.
const NO_COUNTERS: &str = "the report has no counts of hardware events (misses, mispredicts); cycles come from the \
                           calibration and do not change";

const PARANOID: &str = "proc/sys/kernel/perf_event_paranoid";

pub(super) fn pmu(root: &Root, probes: &Probes) -> Check {
    const ID: &str = "pmu";
    match &probes.cycles_counter {
        Ok(()) => Check::ok(ID, "a counter of core cycles opens and counts"),
        Err(error) => {
            let missing = explain(error, root);
            if missing.withheld {
                Check::warning(ID, missing.reason, NO_COUNTERS, missing.advice)
            } else {
                Check::unknown(ID, missing.reason, missing.advice)
            }
        }
    }
}

/// Reads the level of perf_event_paranoid; `None` if it cannot be read.
pub(in crate::host) fn read_paranoid_level(root: &Root) -> Option<i32> {
    root.line(PARANOID).ok()?.parse().ok()
}

pub(super) fn perf_event_paranoid(root: &Root) -> Check {
    const ID: &str = "perf_event_paranoid";
    match read_paranoid_level(root) {
        // Up to 2 a process may count its own user-space events (Documentation/admin-guide/perf-security.rst).
        Some(level @ ..=2) => Check::ok(ID, format!("{level}: a process may count its own user-space events")),
        Some(level) => Check::warning(
            ID,
            format!("{level}: only processes with CAP_PERFMON have counters"),
            NO_COUNTERS,
            "`sudo sysctl kernel.perf_event_paranoid=2`",
        ),
        None => Check::unknown(
            ID,
            format!("/{PARANOID} has no valid level"),
            "use a kernel with CONFIG_PERF_EVENTS, or mount /proc",
        ),
    }
}
