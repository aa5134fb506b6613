//! What a number of a report is of, in one line: `pte_val/native/site (inline)/throughput`, `mmap_perf/audit`.

use super::Report;
use super::plots::number::clipped;
use super::schema::{Cell, WorkloadKernel, WorkloadResult};
use crate::op::{BodyKind, Since};
use crate::regime::Regime;

/// Longer names than this are cut.
const LONGEST: usize = 60;
/// Longer reasons than this are cut: three lines of a terminal.
const LONGEST_REASON: usize = 300;

/// A cell.
#[must_use]
pub fn of_cell(cell: &Cell) -> String {
    cell_of(&cell.op, cell.body, &cell.mechanism, cell.state.as_deref(), cell.regime)
}

/// A cell by its parts.
#[must_use]
pub fn cell_of(op: &str, body: BodyKind, name: &str, state: Option<&str>, regime: Regime) -> String {
    format!("{}/{}/{}/{}", plain(op), body.name(), mechanism(name, state), regime.name())
}

/// A workload on a kernel.
#[must_use]
pub fn of_kernel(workload: &WorkloadResult, kernel: &WorkloadKernel) -> String {
    kernel_of(&workload.name, kernel.mechanism.as_deref(), kernel.state.as_deref(), kernel.option.as_deref())
}

/// A workload on a kernel by its parts.
#[must_use]
pub fn kernel_of(workload: &str, name: Option<&str>, state: Option<&str>, option: Option<&str>) -> String {
    let of = name.map_or_else(|| plain(option.unwrap_or_default()), |name| mechanism(name, state));
    format!("{}/{of}", plain(workload))
}

/// A mechanism in its state.
#[must_use]
pub fn mechanism(mechanism: &str, state: Option<&str>) -> String {
    match state {
        Some(state) => format!("{} ({})", plain(mechanism), plain(state)),
        None => plain(mechanism),
    }
}

/// A name or text from a report as it may be shown: without what would steer a terminal, and not endless.
#[must_use]
pub fn plain(text: &str) -> String {
    clipped(text, LONGEST)
}

/// A reason from a report as it may be shown: a sentence or two of it, without what would steer a terminal.
#[must_use]
pub fn reason(text: &str) -> String {
    clipped(text, LONGEST_REASON)
}

/// Every kernel of every workload of a report.
pub fn kernels(report: &Report) -> impl Iterator<Item = (&WorkloadResult, &WorkloadKernel)> {
    report.workloads.iter().flat_map(|workload| workload.kernels.iter().map(move |kernel| (workload, kernel)))
}

/// Whether any of its ops is a hook of some Linux: the history of Linux's ways says nothing of others.
#[must_use]
pub fn is_of_linux(report: &Report) -> bool {
    report.catalogue.ops.iter().any(|op| op.since != Since::NotLinux)
}
