//! The policy for workloads. On the CPU of the plan their workers come after all others; a second CPU has them all the
//! time.
//!
//! Two CPUs with [separate cores](crate::measure::separate_cores::have_separate_cores) fit several times as many
//! workers into the time of a run. Each block draws a new kernel placement, so more workers give a more precise
//! placement range. The first worker sizes the runs for all others and counts; the others wait for it. At checkpoints
//! the rest of the time is allocated ([`Sink::allocate`]).

use std::collections::BTreeMap;
use std::time::Duration;

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::plan::{Plan, Workers};
use super::policy::{Moment, Next, Policy, WorkerJobs};
use super::protocol::{Job, Target, WorkloadTarget};
use super::sink::Sink;
use crate::estimate::{Allocation, MIN_WORKERS};

/// Units per part of a run, by workload.
pub type Units = BTreeMap<String, u64>;

/// Difference between the seeds of workload workers and those of other workers: "work" in ASCII.
const WORK_SEED: u64 = 0x776f_726b;

/// Checkpoints, as shares of the time budget.
const CHECKPOINTS: [f64; 3] = [1.0 / 3.0, 2.0 / 3.0, 5.0 / 6.0];

/// The policy for workloads.
pub(super) struct WorkloadPolicy<'a> {
    plan: &'a Plan,
    /// The units of the workloads so far.
    pub(crate) units: Units,
    /// Number of workers, or their time from `began`.
    workers: Workers,
    /// Start of the first worker, from the start of the run; `None` before it.
    began: Option<Duration>,
    /// The start of the first worker on each CPU, from `began`.
    starts: Vec<Duration>,
    /// The allocations of workers from now on.
    allocated: Allocated,
    /// Number of workers that were started.
    started: usize,
    /// Whether the first worker is finished.
    sized: bool,
    /// Number of checkpoints that were reached.
    checkpoints: usize,
    /// Seconds per worker, as known at the first checkpoint.
    worker_seconds: Option<f64>,
}

impl<'a> WorkloadPolicy<'a> {
    /// The policy of a plan.
    pub(crate) fn new(plan: &'a Plan) -> Self {
        let (workers, starts, began) = match (plan.second_cpu, plan.effort.workers, plan.work.effort.workers) {
            (None, _, workers) => (workers, vec![Duration::ZERO], None),
            (Some(_), Workers::Within(cells), Workers::Within(work)) if !plan.matrix.comparisons.is_empty() => {
                (Workers::Within(cells + work), vec![Duration::ZERO, cells], Some(Duration::ZERO))
            }
            (Some(_), _, workers) => (workers, vec![Duration::ZERO; 2], Some(Duration::ZERO)),
        };
        WorkloadPolicy {
            plan,
            units: Units::new(),
            workers,
            began,
            starts,
            allocated: Allocated::default(),
            started: 0,
            sized: false,
            checkpoints: 0,
            worker_seconds: None,
        }
    }

    /// Allocates the rest of the time, when a checkpoint is due.
    fn reach_checkpoint(&mut self, elapsed: Duration, sink: &mut dyn Sink) {
        let time = |until: Duration| {
            let times = self.starts.iter().map(|start| until.saturating_sub(*start));
            times.sum::<Duration>().as_secs_f64()
        };
        let (used, all) = (time(elapsed), time(elapsed + self.workers.left(elapsed)));
        let due = CHECKPOINTS.get(self.checkpoints).is_some_and(|at| used >= at * all);
        if !due || self.started < MIN_WORKERS || matches!(self.workers, Workers::Exactly(_)) {
            return;
        }
        self.checkpoints += 1;
        let (allocations, share) = sink.allocate((all - used) / used);
        let seconds = *self.worker_seconds.get_or_insert(used / self.started as f64);
        let workers = ((all - used) / seconds).max(1.0);
        self.allocated = Allocated { allocations, share, first: self.started, workers };
    }
}

impl Policy for WorkloadPolicy<'_> {
    fn next(&mut self, now: Moment, sink: &mut dyn Sink) -> Next {
        if self.started > 0 && !self.sized {
            return Next::Wait;
        }
        let elapsed = now.elapsed.saturating_sub(*self.began.get_or_insert(now.elapsed));
        if self.plan.work.workloads.is_empty() || !self.workers.room(self.started, elapsed, now.last) {
            return Next::Done;
        }
        self.reach_checkpoint(elapsed, sink);
        let number = self.started;
        self.started += 1;
        // The seed depends on the number alone, so the speed of the CPUs changes nothing.
        let mut rng = Pcg64Mcg::seed_from_u64((self.plan.seed ^ WORK_SEED).wrapping_add(number as u64));
        let jobs = match self.allocated.extra_blocks(number) {
            Some(extra) => extra
                .into_iter()
                .map(|(allocation, blocks)| {
                    let treatments = allocation.treatments.clone();
                    let target = target(self.plan, &allocation.workload, &self.units);
                    Job { target, treatments, blocks, count: number == 0 }
                })
                .collect(),
            None => workload_jobs(self.plan, number, &self.units),
        };
        Next::Assign(WorkerJobs::draw(number, jobs, false, &mut rng))
    }

    fn finished(&mut self) {
        self.sized = true;
    }
}

/// Lists all workloads on all kernels.
pub(super) fn workload_jobs(plan: &Plan, number: usize, units: &Units) -> Vec<Job> {
    let blocks = plan.work.effort.blocks;
    let job = |name: &String| Job {
        target: target(plan, name, units),
        treatments: plan.work.kernels.clone(),
        // A single unit may be longer than a run should be.
        blocks: if units.get(name) == Some(&1) { blocks.div_ceil(2) } else { blocks },
        count: number == 0,
    };
    plan.work.workloads.iter().map(job).collect()
}

fn target(plan: &Plan, workload: &str, units: &Units) -> Target {
    Target::Workload(WorkloadTarget {
        workload: workload.to_owned(),
        seed: plan.seed,
        // All workers use the units that the first one found.
        units: units.get(workload).copied(),
        in_place: false,
    })
}

/// The allocations of workers after a checkpoint. Before the first checkpoint, workers take all.
#[derive(Default)]
struct Allocated {
    allocations: Vec<Allocation>,
    /// Share of the workers that take the allocations, 0 to 1. The others take all workloads on all kernels.
    share: f64,
    /// Number of the first worker after the checkpoint, and how many workers are still to come.
    first: usize,
    workers: f64,
}

impl Allocated {
    /// Lists the allocations of the worker with this number, each with its blocks; `None` for all workloads.
    fn extra_blocks(&self, number: usize) -> Option<Vec<(&Allocation, usize)>> {
        // Counts the equal parts that begin before a worker.
        let begun = |parts: f64, workers: usize| (parts * workers as f64).floor() as usize;
        let turn = number.saturating_sub(self.first);
        let mine = begun(self.share, turn);
        if self.allocations.is_empty() || begun(self.share, turn + 1) == mine {
            return None;
        }
        let extra = |allocation: &'_ Allocation| {
            let each = allocation.blocks / (self.workers * self.share);
            begun(each, mine + 1) - begun(each, mine)
        };
        let allocations = self.allocations.iter().map(|allocation| (allocation, extra(allocation)));
        Some(allocations.filter(|(_, blocks)| *blocks > 0).collect())
    }
}
