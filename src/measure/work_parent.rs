//! The parent of workers that measure workloads. On the CPU of the plan they come after all other workers; a second CPU
//! has them all the time.
//!
//! Two CPUs with [separate cores](super::separate_cores::have_separate_cores) fit several times as many workers into
//! the time of a run. Each round draws a new kernel placement, so more workers give a more precise placement range. The
//! first worker sizes the runs for all others and counts; the others wait for it. At checkpoints the rest of the time
//! is allocated ([`Sink::allocate`]).

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::parent::{ParentError, Processes, Sink, WorkerFailure, run};
use super::plan::{Comparison, MIN_WORKERS, Plan, Workers};
use super::wire::{Assignment, ComparisonSamples, Task};
use super::work::{KernelVariant, WorkSamples, WorkTask};

/// The plan of the workloads.
#[derive(Clone, Debug)]
pub struct WorkPlan {
    /// Names of the workloads.
    pub workloads: Vec<String>,
    /// The kernels, other than the baseline.
    pub kernels: Vec<KernelVariant>,
    /// Number of worker processes, or their time.
    pub workers: Workers,
    /// Palindromic rounds per workload and worker.
    pub rounds: usize,
    /// A second CPU for workers at the same time. Without it, workers come one after another.
    pub second_cpu: Option<usize>,
}

/// Runs a plan and its workloads. Workloads come after everything else on the plan's CPU, and from the beginning on the
/// second CPU, if there is one. `worker` makes the command that starts a worker process of this build. `stop` ends the
/// run early: it kills the current workers and keeps their samples.
///
/// Returns whether the run was not stopped.
///
/// # Errors
/// [`ParentError`] where no worker can be started.
pub fn run_all(
    plan: &Plan,
    work: &WorkPlan,
    worker: &(dyn Fn() -> Command + Sync),
    count: bool,
    stop: &AtomicBool,
    sink: &mut (dyn Sink + Send),
) -> Result<bool, ParentError> {
    let shared = SharedSink::new(sink, Units::new());
    let cells = || if plan.comparisons.is_empty() { Ok(true) } else { run(plan, worker, count, stop, &mut &shared) };
    let processes = || Processes { plan, command: worker, stop };
    let Some(other) = work.second_cpu else {
        let starts = vec![Duration::ZERO];
        return Ok(
            cells()? && CpuQueue::new(plan, work, work.workers, starts, &shared).run_workers(&processes(), plan.cpu)?
        );
    };
    let (workers, first) = match (plan.workers, work.workers) {
        (Workers::Within(cells), Workers::Within(work)) if !plan.comparisons.is_empty() => {
            (Workers::Within(cells + work), cells)
        }
        (_, workers) => (workers, Duration::ZERO),
    };
    let queue = &CpuQueue::new(plan, work, workers, vec![Duration::ZERO, first], &shared);
    thread::scope(|scope| {
        // Without another thread, this CPU does all of the work.
        let second_cpu = move || queue.run_workers(&processes(), Some(other));
        let second_cpu = thread::Builder::new().spawn_scoped(scope, second_cpu).ok();
        let cells = cells();
        let whole = match cells {
            Ok(true) => queue.run_workers(&processes(), plan.cpu),
            Ok(false) => Ok(false),
            Err(error) => Err(queue.close(error)),
        };
        let second_cpu = second_cpu.map_or(Ok(true), |second_cpu| second_cpu.join().unwrap_or(Ok(false)));
        Ok(whole? && second_cpu?)
    })
}

/// Runs one worker that takes all comparisons of a plan and then all workloads, for callers that run workers of several
/// programs in turn. Workers with the same number get the same tasks in the same order, whichever program they belong
/// to. `units` keeps the units per workload that the first of them found, so that all do the same work.
///
/// # Errors
/// [`ParentError`] where the worker cannot be started.
pub fn one(
    plan: &Plan,
    work: &WorkPlan,
    number: usize,
    units: &mut Units,
    worker: &dyn Fn() -> Command,
    stop: &AtomicBool,
    sink: &mut (dyn Sink + Send),
) -> Result<bool, ParentError> {
    let processes = Processes { plan, command: worker, stop };
    let mut rng = Pcg64Mcg::seed_from_u64(plan.seed.wrapping_add(number as u64));
    let mut assignment = processes.assign(plan.tasks(number), &mut rng);
    assignment.instructions = number == 0;
    let workloads = processes.assign_work(work, &list_on_all_kernels(work), number, units, &mut rng);
    (assignment.work, assignment.kernels) = (workloads.work, workloads.kernels);
    let shared = SharedSink::new(sink, std::mem::take(units));
    let whole = processes.run_worker(number, assignment, &mut &shared);
    (&shared).through();
    *units = std::mem::take(&mut shared.lock().units);
    whole
}

/// Extra rounds of a workload, for kernels whose intervals are wider than their target.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// Name of the workload.
    pub workload: String,
    /// The kernels, as in [`WorkTask::variants`].
    pub variants: Vec<usize>,
    /// Rounds, over all workers to come.
    pub rounds: f64,
}

/// The queue of workers for several CPUs.
struct CpuQueue<'a> {
    plan: &'a Plan,
    work: &'a WorkPlan,
    /// Number of workers, or their time from `began`.
    workers: Workers,
    /// The start of the first worker on each CPU, from `began`.
    starts: Vec<Duration>,
    began: Instant,
    sink: &'a SharedSink<'a>,
    state: Mutex<QueueState>,
    /// Signals that the first worker is finished.
    sized: Condvar,
}

/// The state that the CPUs share.
#[derive(Default)]
struct QueueState {
    /// The tasks of workers from now on.
    next_tasks: NextTasks,
    /// Number of workers that were started.
    started: usize,
    /// Whether the first worker is finished.
    sized: bool,
    /// Number of checkpoints that were reached.
    checkpoints: usize,
    /// Seconds per worker, as known at the first checkpoint.
    worker_seconds: Option<f64>,
    /// Whether some worker could not be started.
    failed: bool,
}

/// The tasks of workers after a checkpoint. Before the first checkpoint, workers take all.
#[derive(Default)]
struct NextTasks {
    allocations: Vec<Allocation>,
    /// Share of the workers that take the allocations, 0 to 1. The others take all workloads on all kernels.
    share: f64,
    /// Number of the first worker after the checkpoint, and how many workers are still to come.
    first: usize,
    workers: f64,
}

/// Checkpoints, as shares of the time budget.
const CHECKPOINTS: [f64; 3] = [1.0 / 3.0, 2.0 / 3.0, 5.0 / 6.0];

impl<'a> CpuQueue<'a> {
    fn new(
        plan: &'a Plan,
        work: &'a WorkPlan,
        workers: Workers,
        starts: Vec<Duration>,
        sink: &'a SharedSink<'a>,
    ) -> Self {
        let (state, began) = (Mutex::default(), Instant::now());
        CpuQueue { plan, work, workers, starts, began, sink, state, sized: Condvar::new() }
    }

    /// Runs workers on a CPU one after another, while time is left. Returns whether none was stopped.
    fn run_workers(&self, processes: &Processes, cpu: Option<usize>) -> Result<bool, ParentError> {
        let mut last = Duration::ZERO;
        while let Some((number, mut assignment)) = self.next_assignment(processes, last) {
            assignment.cpu = cpu;
            let began = Instant::now();
            let whole = processes.run_worker(number, assignment, &mut &*self.sink).map_err(|error| self.close(error));
            self.lock().sized = true;
            self.sized.notify_all();
            if !whole? {
                return Ok(false);
            }
            last = began.elapsed();
        }
        Ok(true)
    }

    /// Makes the assignment of the next worker, with its number. `None` without time for one that takes as long as the
    /// last.
    fn next_assignment(&self, processes: &Processes, last: Duration) -> Option<(usize, Assignment)> {
        let mut state = self.lock();
        while state.started > 0 && !state.sized && !state.failed {
            state = self.sized.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (state, elapsed) = (&mut *state, self.began.elapsed());
        if state.failed || self.work.workloads.is_empty() || !self.workers.room(state.started, elapsed, last) {
            return None;
        }
        self.reach_checkpoint(state, elapsed);
        let number = state.started;
        state.started += 1;
        // The seed depends on the number alone, so the speed of the CPUs changes nothing.
        let mut rng = Pcg64Mcg::seed_from_u64((self.plan.seed ^ WORK_SEED).wrapping_add(number as u64));
        let units = &self.sink.lock().units;
        let tasks = state.next_tasks.tasks(number).unwrap_or_else(|| list_on_all_kernels(self.work));
        Some((number, processes.assign_work(self.work, &tasks, number, units, &mut rng)))
    }

    /// Allocates the rest of the time, when a checkpoint is due.
    fn reach_checkpoint(&self, state: &mut QueueState, elapsed: Duration) {
        let time = |until: Duration| {
            let times = self.starts.iter().map(|start| until.saturating_sub(*start));
            times.sum::<Duration>().as_secs_f64()
        };
        let (used, all) = (time(elapsed), time(elapsed + self.workers.left(elapsed)));
        let due = CHECKPOINTS.get(state.checkpoints).is_some_and(|at| used >= at * all);
        if !due || state.started < MIN_WORKERS || matches!(self.workers, Workers::Exactly(_)) {
            return;
        }
        state.checkpoints += 1;
        let (allocations, share) = (&*self.sink).allocate(&self.work.kernels, (all - used) / used);
        let seconds = *state.worker_seconds.get_or_insert(used / state.started as f64);
        let workers = ((all - used) / seconds).max(1.0);
        state.next_tasks = NextTasks { allocations, share, first: state.started, workers };
    }

    /// Ends the queue: no CPU starts another worker.
    fn close(&self, error: ParentError) -> ParentError {
        self.lock().failed = true;
        self.sized.notify_all();
        error
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NextTasks {
    /// Lists the tasks of the worker with this number; `None` for all.
    fn tasks(&self, number: usize) -> Option<Vec<OnKernels>> {
        // Counts the equal parts that begin before a worker.
        let begun = |parts: f64, workers: usize| (parts * workers as f64).floor() as usize;
        let turn = number.saturating_sub(self.first);
        let mine = begun(self.share, turn);
        if self.allocations.is_empty() || begun(self.share, turn + 1) == mine {
            return None;
        }
        let task = |allocation: &Allocation| {
            let each = allocation.rounds / (self.workers * self.share);
            let rounds = begun(each, mine + 1) - begun(each, mine);
            (rounds > 0).then(|| (allocation.workload.clone(), Some((allocation.variants.clone(), rounds))))
        };
        Some(self.allocations.iter().filter_map(task).collect())
    }
}

/// A workload with kernels as in [`WorkTask::variants`] and a number of rounds, or with all kernels.
type OnKernels = (String, Option<(Vec<usize>, usize)>);

fn list_on_all_kernels(work: &WorkPlan) -> Vec<OnKernels> {
    work.workloads.iter().map(|name| (name.clone(), None)).collect()
}

/// Difference between the seeds of workload workers and those of other workers: "work" in ASCII.
const WORK_SEED: u64 = 0x776f_726b;

/// Units per part of a run, by workload.
pub type Units = BTreeMap<String, u64>;

/// A sink that several threads share, with the units of the workloads so far.
struct SharedSink<'a>(Mutex<SinkState<'a>>);

struct SinkState<'a> {
    sink: &'a mut (dyn Sink + Send),
    units: Units,
}

impl<'a> SharedSink<'a> {
    fn new(sink: &'a mut (dyn Sink + Send), units: Units) -> Self {
        SharedSink(Mutex::new(SinkState { sink, units }))
    }

    fn lock(&self) -> MutexGuard<'_, SinkState<'a>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for &SharedSink<'_> {
    fn samples(&mut self, worker: usize, comparison: &Comparison, samples: ComparisonSamples, raw: &[u8]) {
        self.lock().sink.samples(worker, comparison, samples, raw);
    }

    fn worked(&mut self, worker: usize, workload: &str, samples: WorkSamples, raw: &[u8]) {
        let mut state = self.lock();
        state.units.entry(workload.to_owned()).or_insert(samples.units);
        state.sink.worked(worker, workload, samples, raw);
    }

    fn allocate(&mut self, kernels: &[KernelVariant], left: f64) -> (Vec<Allocation>, f64) {
        self.lock().sink.allocate(kernels, left)
    }

    fn min_adds_per_cycle(&self) -> f64 {
        self.lock().sink.min_adds_per_cycle()
    }

    fn failed(&mut self, failure: WorkerFailure) {
        self.lock().sink.failed(failure);
    }

    fn through(&mut self) {
        self.lock().sink.through();
    }

    fn next_tasks(&mut self) -> Vec<Task> {
        self.lock().sink.next_tasks()
    }

    fn again(&mut self, tasks: usize) {
        self.lock().sink.again(tasks);
    }
}

impl Processes<'_> {
    /// Assigns `workloads` in an order drawn from `rng`. Everything else is as planned.
    fn assign_work(
        &self,
        work: &WorkPlan,
        workloads: &[OnKernels],
        number: usize,
        units: &Units,
        rng: &mut Pcg64Mcg,
    ) -> Assignment {
        let mut assignment = self.assign(Vec::new(), rng);
        // A single unit may be longer than a run should be.
        let rounds = |name: &str| if units.get(name) == Some(&1) { work.rounds.div_ceil(2) } else { work.rounds };
        let task = |(name, chosen): &OnKernels| WorkTask {
            workload: name.clone(),
            seed: self.plan.seed,
            rounds: chosen.as_ref().map_or_else(|| rounds(name), |(_, rounds)| *rounds),
            // All workers use the units that the first one found.
            units: units.get(name).copied(),
            count: number == 0,
            in_place: false,
            variants: chosen.as_ref().map(|(variants, _)| variants.clone()),
        };
        assignment.work = workloads.iter().map(task).collect();
        for i in (1..assignment.work.len()).rev() {
            assignment.work.swap(i, rng.random_range(0..=i));
        }
        assignment.kernels.clone_from(&work.kernels);
        assignment
    }
}
