//! The plan of a run: the cells and workloads to measure, and the effort.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::protocol::{Job, Target};
use crate::clock::Clock;
use crate::estimate::MIN_WORKERS;
use crate::measure::comparison::{MAX_LAYOUTS, Matrix, PlannedComparison};
use crate::measure::variant::TreatmentId;
use crate::op::BodyKind;
use crate::regime::Regime;

/// The effort of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Twelve ops of different shape, throughput only: under 20 s.
    Quick,
    /// All ops and regimes at eight layouts: under 110 s, and workloads under 65 s.
    Default,
    /// All ops and regimes at 64 layouts.
    Full,
}

impl Preset {
    /// The name in reports.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Preset::Quick => "quick",
            Preset::Default => "default",
            Preset::Full => "full",
        }
    }

    /// Time for all workers together.
    #[must_use]
    pub(crate) fn time(self) -> Duration {
        Duration::from_secs(match self {
            Preset::Quick => 10,
            Preset::Default => 107,
            Preset::Full => 20 * 60,
        })
    }

    /// Time for workers of workloads.
    #[must_use]
    pub(crate) fn work_time(self) -> Duration {
        Duration::from_secs(match self {
            Preset::Quick => 8,
            Preset::Default => 57,
            Preset::Full => 10 * 60,
        })
    }

    /// Number of offsets at which every loop is measured.
    #[must_use]
    pub(crate) fn layouts(self) -> usize {
        match self {
            Preset::Quick | Preset::Default => 8,
            Preset::Full => MAX_LAYOUTS,
        }
    }
}

/// The number of workers that take all comparisons, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workers {
    /// Exactly this many, however long they take, and none for single comparisons afterwards.
    Exactly(usize),
    /// As many as fit into this time.
    Within(Duration),
}

/// Share of the time for workers that take all comparisons; the rest is for contended or undecided comparisons. The
/// interval of a median over fewer than nine workers reaches to the first and last of them, so one contended worker
/// decides its width. Most of the time therefore goes to the number of workers.
const ALL_COMPARISONS_SHARE: f64 = 0.9;

impl Workers {
    /// Whether another worker should take all comparisons, after `done` workers in `elapsed`.
    #[must_use]
    pub(crate) fn go_on(self, done: usize, elapsed: Duration) -> bool {
        match self {
            Workers::Exactly(count) => done < count,
            Workers::Within(_) if done < 2 => true,
            Workers::Within(time) => {
                let share = if done < MIN_WORKERS { 1.0 } else { ALL_COMPARISONS_SHARE };
                elapsed.mul_f64(1.0 + 1.0 / done as f64) <= time.mul_f64(share)
            }
        }
    }

    /// Whether another worker should take all workloads, when nothing follows them.
    #[must_use]
    pub(crate) fn go_on_to_the_end(self, done: usize, elapsed: Duration) -> bool {
        self.room(done, elapsed, elapsed.div_f64(done.max(1) as f64))
    }

    /// Whether there is room for another worker that takes as long as the `last`.
    #[must_use]
    pub(crate) fn room(self, done: usize, elapsed: Duration, last: Duration) -> bool {
        match self {
            Workers::Within(time) if done >= 2 => elapsed + last <= time,
            workers => workers.go_on(done, elapsed),
        }
    }

    /// Whether the workers have less than this time. Their number has no time.
    #[must_use]
    pub(crate) fn is_shorter_than(self, least: Duration) -> bool {
        matches!(self, Workers::Within(time) if time < least)
    }

    /// Time that remains after `elapsed` for single comparisons.
    #[must_use]
    pub(crate) fn left(self, elapsed: Duration) -> Duration {
        match self {
            Workers::Exactly(_) => Duration::ZERO,
            Workers::Within(time) => time.saturating_sub(elapsed),
        }
    }
}

/// The effort for cells, or for workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effort {
    /// Number of worker processes, or their time.
    pub workers: Workers,
    /// Blocks per worker: of a comparison, or of a workload. Each worker makes one more block of a comparison at one
    /// layout of its own, which separates the spread between blocks from that between layouts.
    pub blocks: usize,
}

/// The plan of the workloads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadPlan {
    /// Names of the workloads.
    pub workloads: Vec<String>,
    /// The kernels, other than the reference, by their ids in [`Matrix::treatments`].
    pub kernels: Vec<TreatmentId>,
    /// The effort for each workload.
    pub effort: Effort,
}

/// The plan of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The preset that the plan was made from.
    pub preset: Preset,
    /// Seed of everything random.
    pub seed: u64,
    /// The cells; every worker measures all of them.
    pub matrix: Matrix,
    /// The effort for each cell.
    pub effort: Effort,
    /// The workloads.
    pub work: WorkloadPlan,
    /// Shortest length of a window, in core cycles.
    pub window_cycles: u64,
    /// The CPU to pin workers to.
    pub cpu: Option<usize>,
    /// A second CPU for workers of workloads at the same time. Without it, workers come one after another.
    pub second_cpu: Option<usize>,
    /// The clock that times windows.
    pub clock: Clock,
}

/// Largest number of checkpoints, at which the samples so far decide the next jobs.
pub(crate) const MAX_CHECKPOINTS: usize = 20;

/// Typical length of a window in seconds: [`WINDOW_CYCLES`] at 3 GHz.
const SECONDS_PER_WINDOW: f64 = 35e-6;

impl Plan {
    /// Lists the jobs of the worker with this number: every comparison.
    #[must_use]
    pub(crate) fn comparison_jobs(&self, worker: usize) -> Vec<Job> {
        // Counts the layouts of each op, body and regime so far.
        let mut nth: BTreeMap<(&str, BodyKind, Regime), usize> = BTreeMap::new();
        let layouts = self.matrix.layouts();
        let mut jobs = Vec::with_capacity(self.matrix.comparisons.len());
        for PlannedComparison { comparison, treatments } in &self.matrix.comparisons {
            let nth_layout = nth.entry((&comparison.op, comparison.body, comparison.regime)).or_default();
            jobs.push(Job {
                target: Target::Comparison(comparison.clone()),
                treatments: treatments.clone(),
                blocks: self.effort.blocks + usize::from(*nth_layout == worker % layouts),
                count: worker == 0 && *nth_layout == 0,
            });
            *nth_layout += 1;
        }
        jobs
    }

    /// Estimates the seconds of one worker for all comparisons, before any has run.
    #[must_use]
    pub(crate) fn worker_seconds(&self) -> f64 {
        self.comparison_jobs(1).iter().map(Job::windows).sum::<f64>() * SECONDS_PER_WINDOW
    }

    /// Number of workers that take all cells and all workloads, or their time together.
    #[must_use]
    pub fn workers(&self) -> Workers {
        match (self.matrix.comparisons.is_empty(), self.work.workloads.is_empty()) {
            (true, _) => self.work.effort.workers,
            (_, true) => self.effort.workers,
            (false, false) => match (self.effort.workers, self.work.effort.workers) {
                (Workers::Within(cells), Workers::Within(work)) => Workers::Within(cells + work),
                (workers, _) => workers,
            },
        }
    }
}

/// Shortest length of a window in core cycles: the clock may step by 26 ticks, which is 0.03% of 100,000 cycles.
pub(crate) const WINDOW_CYCLES: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::comparison::Comparison;

    #[test]
    fn workers_follow_each_other_while_one_more_fits_and_single_comparisons_get_the_rest() {
        let seconds = Duration::from_secs;
        let within = Workers::Within(seconds(100));
        assert!(within.go_on(0, seconds(0)) && within.go_on(1, seconds(500)), "one worker says nothing about the next");
        // At eleven seconds each, the ninth would end after more than 90.
        assert!(within.go_on(7, seconds(77)) && !within.go_on(8, seconds(88)));
        assert_eq!(within.left(seconds(80)), seconds(20));
        // At 17 seconds each, six do not fit into 90 but into 100, and an interval of 95% needs six.
        assert!(within.go_on(5, seconds(83)) && !within.go_on(5, seconds(84)));
        assert!(Workers::Exactly(3).go_on(2, seconds(1000)) && !Workers::Exactly(3).go_on(3, seconds(0)));
        assert_eq!(Workers::Exactly(3).left(seconds(0)), seconds(0));
    }

    #[test]
    fn every_worker_makes_one_more_block_at_one_layout_of_its_own() {
        let comparison = |op: &str, offset| Comparison {
            op: op.to_owned(),
            body: BodyKind::Native,
            regime: Regime::Throughput,
            offset,
        };
        let mut matrix = Matrix::default();
        matrix.plan(["pte_val", "save_fl"].iter().flat_map(|op| [0, 29].map(|offset| comparison(op, offset))), &[]);
        let effort = Effort { workers: Workers::Exactly(2), blocks: 3 };
        let plan = Plan {
            preset: Preset::Quick,
            seed: 1,
            matrix,
            effort,
            work: WorkloadPlan { workloads: Vec::new(), kernels: Vec::new(), effort },
            window_cycles: WINDOW_CYCLES,
            cpu: None,
            second_cpu: None,
            clock: Clock::Tsc,
        };
        let blocks = |worker| plan.comparison_jobs(worker).iter().map(|job| job.blocks).collect::<Vec<_>>();
        assert_eq!((blocks(0), blocks(1), blocks(2)), (vec![4, 3, 4, 3], vec![3, 4, 3, 4], vec![4, 3, 4, 3]));
        let counting = |worker| plan.comparison_jobs(worker).iter().filter(|job| job.count).count();
        assert_eq!((counting(0), counting(1)), (2, 0), "each op is counted once");
        assert_eq!(plan.matrix.layouts(), 2);
    }
}
