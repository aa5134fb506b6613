//! The messages between a run and its worker processes: one assignment in, JSON lines out.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::measure::comparison::Comparison;
use crate::measure::loop_bench::LoopConditions;
use crate::measure::samples::{LoopSamples, WorkloadSamples};
use crate::measure::variant::{TreatmentId, Treatments};

/// The assignment of a worker, one line on its standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// What the ids of treatments stand for.
    pub treatments: Treatments,
    /// The jobs, in this order: comparisons first, then workloads.
    pub jobs: Vec<Job>,
    /// Seed of everything that the worker draws.
    pub seed: u64,
    /// Shortest length of a window, in core cycles.
    pub window_cycles: u64,
    /// The CPU to pin the worker to.
    pub cpu: Option<usize>,
    /// The clock that times windows.
    pub clock: Clock,
    /// Independent adds per cycle below which a block of loops is contended; 0 where this is unknown.
    pub min_adds_per_cycle: f64,
    /// Whether to count events of loops with the hardware counters.
    pub counters: bool,
    /// Whether to count executed instructions of loops.
    pub instructions: bool,
}

impl Assignment {
    /// The conditions under which the worker times loops.
    #[must_use]
    pub(crate) fn loop_conditions(&self) -> LoopConditions {
        let Assignment { seed, window_cycles, clock, min_adds_per_cycle, counters, instructions, .. } = *self;
        LoopConditions { seed, clock, window_cycles, min_adds_per_cycle, counters, instructions }
    }
}

/// Variants to time in blocks, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// What is measured.
    pub target: Target,
    /// The treatments to measure beside `inline`. A kernel that is repeated gets as many placements in a block.
    pub treatments: Vec<TreatmentId>,
    /// Number of blocks.
    pub blocks: usize,
    /// Whether to count calls, events and instructions.
    pub count: bool,
}

/// What a job measures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Target {
    /// The loops of an op.
    Comparison(Comparison),
    /// A workload.
    Workload(WorkloadTarget),
}

/// A workload to measure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadTarget {
    /// Name of the workload.
    pub(crate) workload: String,
    /// Seed of the reference run's work and of counted hooks, the same in all workers.
    pub seed: u64,
    /// Units per part of a run. The worker sizes the run where this is absent.
    pub(crate) units: Option<u64>,
    /// Whether to leave kernels at their linked addresses, for a profiler that knows functions by address.
    #[serde(default)]
    pub(crate) in_place: bool,
}

impl Job {
    /// Estimates the cost of a comparison in windows. Copying, binding and sizing the loops costs about half a block.
    #[must_use]
    pub(crate) fn windows(&self) -> f64 {
        (self.blocks as f64 + 0.5) * (2 * self.treatments.len() + 9) as f64
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Comparison(comparison) => comparison.fmt(f),
            Target::Workload(target) => f.write_str(&target.workload),
        }
    }
}

/// A line from a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum WorkerLine {
    /// The worker begins the job with this index in the assignment.
    Begin(usize),
    /// The job is measured.
    Done(Samples),
    /// The job failed, with the reason; the worker continues with the next.
    Failed(String),
}

/// The samples of a job from one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Samples {
    /// Of a comparison.
    Loops(Box<LoopSamples>),
    /// Of a workload.
    Workload(Box<WorkloadSamples>),
}

impl Samples {
    /// Whether the samples are of this kind of target.
    #[must_use]
    pub(crate) fn belong_to(&self, target: &Target) -> bool {
        matches!(
            (self, target),
            (Samples::Loops(_), Target::Comparison(_)) | (Samples::Workload(_), Target::Workload(_))
        )
    }
}
