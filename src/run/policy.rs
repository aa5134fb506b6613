//! Policies: which jobs the next worker takes.

use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::plan::{MAX_CHECKPOINTS, Plan, Workers};
use super::protocol::{Job, Target};
use super::sink::Sink;

/// The jobs of a worker, in order.
pub(super) struct WorkerJobs {
    /// Number of the worker among those of its policy, from 0.
    pub(crate) number: usize,
    /// Seed of everything that the worker draws.
    pub(crate) seed: u64,
    /// The jobs.
    pub(crate) jobs: Vec<Job>,
    /// Whether the worker takes all comparisons.
    pub(crate) is_pass: bool,
}

impl WorkerJobs {
    /// Draws a worker's seed, and the order of its jobs.
    pub(crate) fn draw(number: usize, mut jobs: Vec<Job>, is_pass: bool, rng: &mut Pcg64Mcg) -> Self {
        let seed = rng.random();
        jobs.shuffle(rng);
        WorkerJobs { number, seed, jobs, is_pass }
    }
}

/// The decision of a policy.
pub(super) enum Next {
    /// A worker takes these jobs.
    Assign(WorkerJobs),
    /// The decision depends on a worker that still runs.
    Wait,
    /// No further worker is worth its time.
    Done,
}

/// A moment at which a CPU is free.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// Time since the start of the run.
    pub(crate) elapsed: Duration,
    /// Time of the last worker of this policy on the CPU.
    pub(crate) last: Duration,
}

/// Decides on the next worker, by the estimates so far and the time left.
pub(super) trait Policy {
    /// Decides on the next worker for a CPU that is free now.
    fn next(&mut self, now: Moment, sink: &mut dyn Sink) -> Next;

    /// Receives the end of a worker.
    fn finished(&mut self);
}

/// The policy for cells. Workers take all comparisons, one after another; the rest of the time goes to contended or
/// undecided comparisons.
pub(super) struct CellPolicy<'a> {
    plan: &'a Plan,
    rng: Pcg64Mcg,
    /// Number of workers that were started.
    started: usize,
    /// Windows of all jobs so far.
    windows: f64,
    /// Number of checkpoints that were reached; `None` before the last worker that takes all comparisons.
    checkpoints: Option<usize>,
}

impl<'a> CellPolicy<'a> {
    /// The policy of a plan.
    pub(crate) fn new(plan: &'a Plan) -> Self {
        let rng = Pcg64Mcg::seed_from_u64(plan.seed);
        CellPolicy { plan, rng, started: 0, windows: 0.0, checkpoints: None }
    }

    fn assign(&mut self, jobs: Vec<Job>, is_pass: bool) -> Next {
        self.windows += jobs.iter().map(Job::windows).sum::<f64>();
        let number = self.started;
        self.started += 1;
        Next::Assign(WorkerJobs::draw(number, jobs, is_pass, &mut self.rng))
    }

    /// The undecided comparisons that fit into a slice of the time left. Contention comes in bursts, and the next slice
    /// may be uncontended.
    fn undecided_jobs(&self, elapsed: Duration, time: Duration, sink: &mut dyn Sink) -> Vec<Job> {
        let left = self.plan.effort.workers.left(elapsed).min(time / MAX_CHECKPOINTS as u32);
        if left.is_zero() {
            return Vec::new();
        }
        let job = |(comparison, treatments)| Job {
            target: Target::Comparison(comparison),
            treatments,
            blocks: self.plan.effort.blocks,
            count: false,
        };
        let jobs = sink.undecided().into_iter().map(job);
        let fitting = left.as_secs_f64() / elapsed.as_secs_f64() * self.windows;
        let mut taken = 0.0;
        jobs.take_while(|job| {
            taken += job.windows();
            taken <= fitting
        })
        .collect()
    }
}

impl Policy for CellPolicy<'_> {
    fn next(&mut self, now: Moment, sink: &mut dyn Sink) -> Next {
        if self.plan.matrix.comparisons.is_empty() {
            return Next::Done;
        }
        if self.checkpoints.is_none() && self.plan.effort.workers.go_on(self.started, now.elapsed) {
            return self.assign(self.plan.comparison_jobs(self.started), true);
        }
        let checkpoints = self.checkpoints.get_or_insert(0);
        let Workers::Within(time) = self.plan.effort.workers else { return Next::Done };
        if *checkpoints == MAX_CHECKPOINTS {
            return Next::Done;
        }
        *checkpoints += 1;
        let jobs = self.undecided_jobs(now.elapsed, time, sink);
        if jobs.is_empty() { Next::Done } else { self.assign(jobs, false) }
    }

    fn finished(&mut self) {}
}
