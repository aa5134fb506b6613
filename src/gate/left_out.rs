//! What a comparison left out, and why: nothing of either report disappears without a word.

use serde::{Deserialize, Serialize};

use crate::report::Report;
use crate::report::schema::{Cell, WorkloadKernel, WorkloadResult};
use crate::report::subject;

/// Which of two reports measured something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Measured {
    /// The first alone.
    Before,
    /// The second alone.
    After,
    /// Both, and yet there is no change to be told.
    Both,
    /// None.
    Neither,
}

impl Measured {
    /// From whether the first did, and whether the second did.
    #[must_use]
    pub fn of([before, after]: [bool; 2]) -> Self {
        match (before, after) {
            (true, false) => Measured::Before,
            (false, true) => Measured::After,
            (true, true) => Measured::Both,
            (false, false) => Measured::Neither,
        }
    }
}

/// A cell, or a workload on a kernel, that was not compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotCompared {
    /// Which.
    pub subject: String,
    /// Which of the reports measured it.
    pub measured_in: Measured,
    /// Whether both reports list it, measured or not. A report that does not list it was not asked for it.
    pub is_listed_in_both: bool,
    /// Why there is nothing to compare.
    pub reason: String,
}

impl NotCompared {
    /// Something that both reports measured.
    pub(super) fn in_both(subject: String, reason: String) -> Self {
        NotCompared { subject, measured_in: Measured::Both, is_listed_in_both: true, reason }
    }

    /// Whether the second report was to measure it and did not, where the first one did.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.measured_in == Measured::Before && self.is_listed_in_both
    }
}

/// The reports by name: one was before, the other after what is asked about.
const NAMES: [&str; 2] = ["before", "after"];

/// A cell that is not in both reports, or was not measured in both; one of `ends` is there.
pub(super) fn cell(ends: [Option<&Cell>; 2], reports: [&Report; 2]) -> NotCompared {
    let measured = ends.map(|cell| cell.is_some_and(|cell| cell.overhead.is_some()));
    let of = ends[1].or(ends[0]);
    let reason = match ends {
        [Some(before), Some(after)] => unmeasured_cell([before, after]),
        _ => {
            let lacking = usize::from(ends[0].is_some());
            // The report that lists it may have a reason of its own.
            let own = ends[1 - lacking].filter(|cell| cell.overhead.is_none()).and_then(|cell| cell.absent.as_deref());
            with_own(of.map_or_else(String::new, |cell| no_cell(lacking, reports[lacking], cell)), own)
        }
    };
    NotCompared {
        subject: of.map_or_else(String::new, subject::of_cell),
        measured_in: Measured::of(measured),
        is_listed_in_both: ends.iter().all(Option::is_some),
        reason,
    }
}

/// A workload on a kernel that is not in both reports, or was not measured in both; one of `ends` is there.
pub(super) fn kernel(ends: [Option<(&WorkloadResult, &WorkloadKernel)>; 2], reports: [&Report; 2]) -> NotCompared {
    let measured = ends.map(|of| of.is_some_and(|(_, kernel)| kernel.overhead_percent.is_some()));
    let of = ends[1].or(ends[0]);
    let reason = match ends {
        [Some((_, before)), Some((_, after))] => unmeasured_kernel([before, after]),
        _ => {
            let lacking = usize::from(ends[0].is_some());
            let own = ends[1 - lacking].filter(|(_, kernel)| kernel.overhead_percent.is_none());
            let own = own.and_then(|(_, kernel)| kernel.absent.as_deref());
            with_own(of.map_or_else(String::new, |(workload, _)| no_kernel(lacking, reports[lacking], workload)), own)
        }
    };
    NotCompared {
        subject: of.map_or_else(String::new, |(workload, kernel)| subject::of_kernel(workload, kernel)),
        measured_in: Measured::of(measured),
        is_listed_in_both: ends.iter().all(Option::is_some),
        reason,
    }
}

/// Workloads that neither report has, because where it was measured they cannot be had.
pub(super) fn workloads(reports: [&Report; 2]) -> Vec<NotCompared> {
    let mut found: Vec<NotCompared> = Vec::new();
    for absence in reports.iter().flat_map(|report| &report.absent) {
        let Some(name) = absence.what.strip_prefix("workload ") else { continue };
        let is_there = reports.iter().any(|report| report.workloads.iter().any(|workload| workload.name == name));
        let subject = subject::plain(name);
        if !is_there && !found.iter().any(|other| other.subject == subject) {
            let reason = format!("not measured: {}", subject::reason(&absence.reason));
            found.push(NotCompared { subject, measured_in: Measured::Neither, is_listed_in_both: false, reason });
        }
    }
    found
}

fn with_own(lacks: String, own: Option<&str>) -> String {
    match own {
        Some(own) => format!("{lacks}; where it is, it was not measured: {}", subject::reason(own)),
        None => lacks,
    }
}

/// That one of the reports does not list something.
pub(super) fn no_such(is_first: bool, what: &str) -> String {
    format!("no such {what} {}", NAMES[usize::from(!is_first)])
}

fn no_cell(which: usize, report: &Report, cell: &Cell) -> String {
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
    let lacks = no_such(which == 0, what);
    // States are brought about in copies of the loops.
    let states = report.absent.iter().find(|absence| cell.state.is_some() && absence.what.contains("patched states"));
    states.map_or(lacks.clone(), |absence| format!("{lacks}: {}", subject::reason(&absence.reason)))
}

fn no_kernel(which: usize, report: &Report, workload: &WorkloadResult) -> String {
    if report.workloads.iter().any(|other| other.name == workload.name) {
        return no_such(which == 0, "kernel");
    }
    let lacks = no_such(which == 0, "workload");
    let of_all = report.workloads.is_empty();
    let says = |what: &str| what == format!("workload {}", workload.name) || (of_all && what == "workloads");
    let absence = report.absent.iter().find(|absence| says(&absence.what));
    absence.map_or(lacks.clone(), |absence| format!("{lacks}: {}", subject::reason(&absence.reason)))
}

/// Why one or both of two cells have no overhead.
pub(super) fn unmeasured_cell(ends: [&Cell; 2]) -> String {
    unmeasured(ends.map(|cell| (cell.overhead.is_some(), cell.absent.as_deref())))
}

/// Why a workload has no overhead on one or both of two kernels.
pub(super) fn unmeasured_kernel(ends: [&WorkloadKernel; 2]) -> String {
    unmeasured(ends.map(|kernel| (kernel.overhead_percent.is_some(), kernel.absent.as_deref())))
}

/// Why a workload has no time with `inline` in one or both reports.
pub(super) fn no_inline(ends: [&WorkloadResult; 2]) -> String {
    unmeasured(ends.map(|workload| (workload.inline_cycles.is_some(), None)))
}

fn unmeasured(ends: [(bool, Option<&str>); 2]) -> String {
    let said = |reason: Option<&str>| reason.map_or_else(|| "no reason is given".to_owned(), subject::reason);
    match ends {
        [(false, before), (false, after)] if before == after => format!("not measured: {}", said(before)),
        [(false, before), (false, after)] => {
            format!("not measured before: {}; nor after: {}", said(before), said(after))
        }
        [(false, before), _] => format!("not measured before: {}", said(before)),
        [_, (_, after)] => format!("not measured after: {}", said(after)),
    }
}
