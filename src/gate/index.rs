//! The cells and kernels of a report by name.

use std::collections::HashMap;

use crate::op::BodyKind;
use crate::regime::Regime;
use crate::report::Report;
use crate::report::schema::{Cell, WorkloadKernel, WorkloadResult};
use crate::report::subject;

type CellKey<'a> = (&'a str, BodyKind, &'a str, Option<&'a str>, Regime);

fn cell_key(cell: &Cell) -> CellKey<'_> {
    (&cell.op, cell.body, &cell.mechanism, cell.state.as_deref(), cell.regime)
}

type KernelKey<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>);

fn kernel_key<'a>(workload: &'a WorkloadResult, kernel: &'a WorkloadKernel) -> KernelKey<'a> {
    (&workload.name, kernel.mechanism.as_deref(), kernel.state.as_deref(), kernel.option.as_deref())
}

/// The cells and kernels of a report by name.
pub(super) struct ReportIndex<'a> {
    cells: HashMap<CellKey<'a>, &'a Cell>,
    kernels: HashMap<KernelKey<'a>, (&'a WorkloadResult, &'a WorkloadKernel)>,
}

impl<'a> ReportIndex<'a> {
    pub(super) fn new(report: &'a Report) -> Self {
        ReportIndex {
            cells: report.cells.iter().map(|cell| (cell_key(cell), cell)).collect(),
            kernels: subject::kernels(report).map(|(w, kernel)| (kernel_key(w, kernel), (w, kernel))).collect(),
        }
    }

    pub(super) fn cell(&self, cell: &Cell) -> Option<&'a Cell> {
        self.cells.get(&cell_key(cell)).copied()
    }

    pub(super) fn kernel(
        &self,
        workload: &WorkloadResult,
        kernel: &WorkloadKernel,
    ) -> Option<(&'a WorkloadResult, &'a WorkloadKernel)> {
        self.kernels.get(&kernel_key(workload, kernel)).copied()
    }
}
