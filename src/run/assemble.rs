//! The report of a run, made from its samples and its facts.

use super::report::{Facts, Findings, report};
use crate::estimate::{Estimator, WorkEstimator};
use crate::measure::plan::Plan;
use crate::measure::work::KernelVariant;
use crate::op::OpMeta;
use crate::report::Report;
use crate::suite::Suite;
use crate::workload;

/// The samples of a run, of cells and of workloads.
#[derive(Default)]
pub struct Samples {
    /// The samples of the cells.
    pub cells: Estimator,
    /// The samples of the workloads.
    pub workloads: WorkEstimator,
}

impl Samples {
    /// Makes the report from all samples and the facts. The same samples and facts give the same report.
    #[must_use]
    pub fn report(&self, plan: &Plan, kernels: &[KernelVariant], suite: &Suite, facts: Facts) -> Report {
        let ops: Vec<OpMeta> = suite.ops().iter().map(|op| op.meta).collect();
        let metas: Vec<workload::WorkloadMeta> = suite.workloads().iter().map(|entry| entry.meta).collect();
        let rate = facts.ticks_per_second;
        let estimates = self.cells.finish(plan, &ops, rate);
        let workloads = self.workloads.finish(&metas, kernels, &estimates.cells, plan.seed, rate);
        report(plan, suite.ops(), &suite.mechanism_metas(), Findings { estimates, workloads, facts })
    }
}
