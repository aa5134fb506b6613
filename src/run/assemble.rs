//! The report of a run, made from its samples and its facts.

use super::plan::Plan;
use super::protocol::{Samples, Target};
use super::report::{Facts, Findings, report};
use crate::estimate::{Allocation, Estimator, Settings, WorkEstimator};
use crate::measure::comparison::Comparison;
use crate::measure::variant::TreatmentId;
use crate::op::OpMeta;
use crate::report::Report;
use crate::suite::Suite;
use crate::workload;

/// The samples of a run, and what is estimated from them.
#[derive(Default)]
pub(crate) struct Estimators {
    /// Of the cells.
    pub(crate) cells: Estimator,
    /// Of the workloads.
    pub(crate) workloads: WorkEstimator,
}

impl Estimators {
    /// Adds the samples of a job from one worker.
    pub(crate) fn add(&mut self, worker: usize, target: &Target, samples: Samples) {
        match (target, samples) {
            (Target::Comparison(comparison), Samples::Loops(samples)) => self.cells.add(worker, comparison, *samples),
            (Target::Workload(target), Samples::Workload(samples)) => {
                self.workloads.add(worker, &target.workload, *samples);
            }
            // A worker's line is checked against its job before it gets here.
            (Target::Comparison(_), Samples::Workload(_)) | (Target::Workload(_), Samples::Loops(_)) => {}
        }
    }

    /// The comparisons that another worker can decide; see [`Estimator::undecided`].
    #[must_use]
    pub(crate) fn undecided(&self, plan: &Plan) -> Vec<(Comparison, Vec<TreatmentId>)> {
        self.cells.undecided(&settings(plan))
    }

    /// The allocation of the rest of the time to the mechanisms of workloads; see [`WorkEstimator::allocate`].
    #[must_use]
    pub(crate) fn allocate(&self, plan: &Plan, left: f64) -> (Vec<Allocation>, f64) {
        let mechanism = |id: &TreatmentId| plan.matrix.treatments.mechanism(*id).is_some();
        let mechanisms: Vec<TreatmentId> = plan.work.kernels.iter().copied().filter(mechanism).collect();
        self.workloads.allocate(&mechanisms, left)
    }

    /// Makes the report from all samples and the facts. The same samples and facts give the same report. The samples
    /// are gone afterwards: page and plots need their memory.
    #[must_use]
    pub(crate) fn report(self, plan: &Plan, suite: &Suite, facts: Facts) -> Report {
        let Estimators { cells, workloads } = self;
        let ops: Vec<OpMeta> = suite.ops().iter().map(|op| op.meta).collect();
        let metas: Vec<workload::WorkloadMeta> = suite.workloads().iter().map(|entry| entry.meta).collect();
        let rate = facts.ticks_per_second;
        let estimates = cells.finish(&settings(plan), &ops, rate);
        drop(cells);
        let kernels = (plan.work.kernels.as_slice(), &plan.matrix.treatments);
        let workloads = workloads.finish(&metas, kernels, &estimates.cells, rate);
        report(plan, suite.name(), suite.ops(), &suite.mechanism_metas(), Findings { estimates, workloads, facts })
    }
}

/// What estimates need of a plan.
#[must_use]
pub fn settings(plan: &Plan) -> Settings<'_> {
    let Plan { matrix, window_cycles, .. } = plan;
    Settings { matrix, window_cycles: *window_cycles }
}
