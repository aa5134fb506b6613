//! Cells and kernels that a comparison leaves out, each with the reason.

use serde::{Deserialize, Serialize};

use crate::report::Report;
use crate::report::schema::{Cell, WorkloadKernel, WorkloadResult};
use crate::report::subject;

/// The reports that measured something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MeasuredIn {
    /// Only the first report.
    Before,
    /// Only the second report.
    After,
    /// Both reports, but their values cannot be compared.
    Both,
    /// Neither report.
    Neither,
}

impl MeasuredIn {
    /// Makes it from whether the first and the second report measured something.
    #[must_use]
    pub fn of([before, after]: [bool; 2]) -> Self {
        match (before, after) {
            (true, false) => MeasuredIn::Before,
            (false, true) => MeasuredIn::After,
            (true, true) => MeasuredIn::Both,
            (false, false) => MeasuredIn::Neither,
        }
    }
}

/// A cell, or a workload on a kernel, that was not compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NotCompared {
    /// The cell or kernel.
    pub subject: String,
    /// The reports that measured it.
    pub measured_in: MeasuredIn,
    /// Whether both reports list it, measured or not. The plan of a report that does not list it did not include it.
    pub(crate) is_listed_in_both: bool,
    /// Why it was not compared.
    pub reason: String,
}

impl NotCompared {
    /// Makes the entry of something that both reports measured.
    pub(super) fn in_both(subject: String, reason: String) -> Self {
        NotCompared { subject, measured_in: MeasuredIn::Both, is_listed_in_both: true, reason }
    }

    /// Whether the second report lists it without a value, although the first one measured it.
    #[must_use]
    pub(crate) fn is_lost(&self) -> bool {
        self.measured_in == MeasuredIn::Before && self.is_listed_in_both
    }
}

/// The names of the two reports in reasons.
const NAMES: [&str; 2] = ["before", "after"];

/// Makes the entry of a cell that is missing or not measured in a report; one of `ends` is present.
pub(super) fn cell(ends: [Option<&Cell>; 2], reports: [&Report; 2]) -> NotCompared {
    let measured = ends.map(|cell| cell.is_some_and(|cell| cell.overhead.is_some()));
    let of = ends[1].or(ends[0]);
    let reason = match ends {
        [Some(before), Some(after)] => describe_unmeasured_cell([before, after]),
        _ => {
            let absent_in = usize::from(ends[0].is_some());
            // The report that lists it may give a reason why it was not measured.
            let own =
                ends[1 - absent_in].filter(|cell| cell.overhead.is_none()).and_then(|cell| cell.absent.as_deref());
            add_own_reason(
                of.map_or_else(String::new, |cell| describe_missing_cell(absent_in, reports[absent_in], cell)),
                own,
            )
        }
    };
    NotCompared {
        subject: of.map_or_else(String::new, subject::of_cell),
        measured_in: MeasuredIn::of(measured),
        is_listed_in_both: ends.iter().all(Option::is_some),
        reason,
    }
}

/// Makes the entry of a kernel that is missing or not measured in a report; one of `ends` is present.
pub(super) fn kernel(ends: [Option<(&WorkloadResult, &WorkloadKernel)>; 2], reports: [&Report; 2]) -> NotCompared {
    let measured = ends.map(|of| of.is_some_and(|(_, kernel)| kernel.overhead_percent.is_some()));
    let of = ends[1].or(ends[0]);
    let reason = match ends {
        [Some((_, before)), Some((_, after))] => describe_unmeasured_kernel([before, after]),
        _ => {
            let absent_in = usize::from(ends[0].is_some());
            let own = ends[1 - absent_in].filter(|(_, kernel)| kernel.overhead_percent.is_none());
            let own = own.and_then(|(_, kernel)| kernel.absent.as_deref());
            add_own_reason(
                of.map_or_else(String::new, |(workload, _)| {
                    describe_missing_kernel(absent_in, reports[absent_in], workload)
                }),
                own,
            )
        }
    };
    NotCompared {
        subject: of.map_or_else(String::new, |(workload, kernel)| subject::of_kernel(workload, kernel)),
        measured_in: MeasuredIn::of(measured),
        is_listed_in_both: ends.iter().all(Option::is_some),
        reason,
    }
}

/// Makes the entries of workloads that neither report has because they were unavailable on its machine.
pub(super) fn workloads(reports: [&Report; 2]) -> Vec<NotCompared> {
    let mut found: Vec<NotCompared> = Vec::new();
    for absence in reports.iter().flat_map(|report| &report.absent) {
        let Some(name) = absence.what.strip_prefix("workload ") else { continue };
        let is_there = reports.iter().any(|report| report.workloads.iter().any(|workload| workload.name == name));
        let subject = subject::plain(name);
        if !is_there && !found.iter().any(|other| other.subject == subject) {
            let reason = format!("not measured: {}", subject::reason(&absence.reason));
            found.push(NotCompared { subject, measured_in: MeasuredIn::Neither, is_listed_in_both: false, reason });
        }
    }
    found
}

fn add_own_reason(missing: String, own: Option<&str>) -> String {
    match own {
        Some(own) => format!("{missing}; the other report lists it without a value: {}", subject::reason(own)),
        None => missing,
    }
}

/// Describes that one of the reports does not list something.
pub(super) fn describe_missing(is_first: bool, what: &str) -> String {
    format!("no such {what} {}", NAMES[usize::from(!is_first)])
}

fn describe_missing_cell(which: usize, report: &Report, cell: &Cell) -> String {
    let catalogue = &report.catalogue;
    let what = if !catalogue.ops.iter().any(|op| op.name == cell.op) {
        "op"
    } else if !catalogue.mechanisms.iter().any(|mechanism| mechanism.name == cell.mechanism) {
        "mechanism"
    } else if !report.cells.iter().any(|other| other.regime == cell.regime) {
        "regime"
    } else if !report.cells.iter().any(|other| other.body == cell.body) {
        "body"
    } else {
        "cell"
    };
    let missing = describe_missing(which == 0, what);
    // Without copies of the loops a report has no states.
    let states = report.absent.iter().find(|absence| cell.state.is_some() && absence.what.contains("patched states"));
    states.map_or(missing.clone(), |absence| format!("{missing}: {}", subject::reason(&absence.reason)))
}

fn describe_missing_kernel(which: usize, report: &Report, workload: &WorkloadResult) -> String {
    if report.workloads.iter().any(|other| other.name == workload.name) {
        return describe_missing(which == 0, "kernel");
    }
    let missing = describe_missing(which == 0, "workload");
    let of_all = report.workloads.is_empty();
    let says = |what: &str| what == format!("workload {}", workload.name) || (of_all && what == "workloads");
    let absence = report.absent.iter().find(|absence| says(&absence.what));
    absence.map_or(missing.clone(), |absence| format!("{missing}: {}", subject::reason(&absence.reason)))
}

/// Describes why one or both cells have no overhead.
pub(super) fn describe_unmeasured_cell(ends: [&Cell; 2]) -> String {
    describe_unmeasured(ends.map(|cell| (cell.overhead.is_some(), cell.absent.as_deref())))
}

/// Describes why a workload has no overhead on one or both kernels.
pub(super) fn describe_unmeasured_kernel(ends: [&WorkloadKernel; 2]) -> String {
    describe_unmeasured(ends.map(|kernel| (kernel.overhead_percent.is_some(), kernel.absent.as_deref())))
}

/// Describes that a workload has no time with `inline` in one or both reports.
pub(super) fn describe_unmeasured_inline(ends: [&WorkloadResult; 2]) -> String {
    describe_unmeasured(ends.map(|workload| (workload.inline_cycles.is_some(), None)))
}

fn describe_unmeasured(ends: [(bool, Option<&str>); 2]) -> String {
    let said = |reason: Option<&str>| reason.map_or_else(|| "the report gives no reason".to_owned(), subject::reason);
    match ends {
        [(false, before), (false, after)] if before == after => format!("not measured: {}", said(before)),
        [(false, before), (false, after)] => {
            format!("not measured before: {}; nor after: {}", said(before), said(after))
        }
        [(false, before), _] => format!("not measured before: {}", said(before)),
        [_, (_, after)] => format!("not measured after: {}", said(after)),
    }
}
