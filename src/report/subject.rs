//! Names of cells and kernels in one line: `pte_val/native/site (inline)/throughput`, `mmap_perf/audit`.

use super::Report;
use super::plots::number::clipped;
use super::schema::{Cell, WorkloadKernel, WorkloadResult};
use crate::op::{BodyKind, Since};
use crate::regime::Regime;

/// Maximum length of a name in characters. Longer names are cut.
const MAX_NAME_CHARS: usize = 60;
/// Maximum length of a reason in characters, which is three lines of a terminal. Longer reasons are cut.
const MAX_REASON_CHARS: usize = 300;

/// The name of a cell.
#[must_use]
pub(crate) fn of_cell(cell: &Cell) -> String {
    cell_of(&cell.op, cell.body, &cell.mechanism, cell.state.as_deref(), cell.regime)
}

/// The name of a cell with these parts.
#[must_use]
pub(crate) fn cell_of(op: &str, body: BodyKind, name: &str, state: Option<&str>, regime: Regime) -> String {
    format!("{}/{}/{}/{}", plain(op), body.name(), mechanism(name, state), regime.name())
}

/// The name of a workload on a kernel.
#[must_use]
pub(crate) fn of_kernel(workload: &WorkloadResult, kernel: &WorkloadKernel) -> String {
    kernel_of(&workload.name, kernel.mechanism.as_deref(), kernel.state.as_deref(), kernel.option.as_deref())
}

/// The name of a workload on a kernel with these parts.
#[must_use]
pub(crate) fn kernel_of(workload: &str, name: Option<&str>, state: Option<&str>, option: Option<&str>) -> String {
    let kernel = name.map_or_else(|| plain(option.unwrap_or_default()), |name| mechanism(name, state));
    format!("{}/{kernel}", plain(workload))
}

/// The name of a mechanism, with its state if it has one.
#[must_use]
pub fn mechanism(mechanism: &str, state: Option<&str>) -> String {
    match state {
        Some(state) => format!("{} ({})", plain(mechanism), plain(state)),
        None => plain(mechanism),
    }
}

/// A name from a report, safe to show: without control characters, at most 60 characters long.
#[must_use]
pub fn plain(text: &str) -> String {
    clipped(text, MAX_NAME_CHARS)
}

/// A reason from a report, safe to show: without control characters, at most 300 characters long.
#[must_use]
pub fn reason(text: &str) -> String {
    clipped(text, MAX_REASON_CHARS)
}

/// Every kernel of every workload of a report.
pub fn kernels(report: &Report) -> impl Iterator<Item = (&WorkloadResult, &WorkloadKernel)> {
    report.workloads.iter().flat_map(|workload| workload.kernels.iter().map(move |kernel| (workload, kernel)))
}

/// Whether any op of a report is a hook of Linux. For other suites the history of Linux's mechanisms means nothing.
#[must_use]
pub(crate) fn has_linux_ops(report: &Report) -> bool {
    report.catalogue.ops.iter().any(|op| op.since != Since::NotLinux)
}
