//! The parent of workers that measure workloads: after all others on the CPU of the plan, and all the time on another
//! one.
//!
//! Where two CPUs take nothing from each other ([`apart`](super::separate_cores::have_separate_cores)), several times
//! as many workers fit into the time of a run, and what places in memory make of a kernel, which is drawn anew in each
//! round, is known the better. The first worker sizes the runs that all others make, and counts; the others wait for
//! it. At a few times it is looked what the rest of the time is worth spending on ([`Sink::allocate`]).

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
use super::wire::{Assignment, GroupSamples, Task};
use super::work::{KernelVariant, WorkSamples, WorkTask};

/// Which workloads to measure, and how hard.
#[derive(Clone, Debug)]
pub struct WorkPlan {
    /// Their names.
    pub workloads: Vec<String>,
    /// The kernels, beside that with `inline`.
    pub kernels: Vec<KernelVariant>,
    /// How many worker processes.
    pub workers: Workers,
    /// Palindromic rounds per workload and worker.
    pub rounds: usize,
    /// Another CPU to have workers on at the same time; without it they come one after another.
    pub second_cpu: Option<usize>,
}

/// Runs a plan and workloads, with all else as in the plan: workloads after everything else on its CPU, and on the
/// other one, where there is one, from the beginning. `worker` makes the command that starts a worker process of this
/// build. `stop` ends the run early: workers at work are killed, what came in is kept.
///
/// Returns whether the run went to its end.
///
/// # Errors
/// Where no worker can be started.
pub fn run_all(
    plan: &Plan,
    work: &WorkPlan,
    worker: &(dyn Fn() -> Command + Sync),
    count: bool,
    stop: &AtomicBool,
    observer: &mut (dyn Sink + Send),
) -> Result<bool, ParentError> {
    let sink = SharedSink::new(observer, Units::new());
    let cells = || if plan.groups.is_empty() { Ok(true) } else { run(plan, worker, count, stop, &mut &sink) };
    let processes = || Processes { plan, command: worker, stop };
    let Some(other) = work.second_cpu else {
        let alone = vec![Duration::ZERO];
        return Ok(cells()? && CpuQueue::new(plan, work, work.workers, alone, &sink).go(&processes(), plan.cpu)?);
    };
    let (workers, first) = match (plan.workers, work.workers) {
        (Workers::Within(cells), Workers::Within(work)) if !plan.groups.is_empty() => {
            (Workers::Within(cells + work), cells)
        }
        (_, workers) => (workers, Duration::ZERO),
    };
    let lanes = &CpuQueue::new(plan, work, workers, vec![Duration::ZERO, first], &sink);
    thread::scope(|scope| {
        // Where there is no thread for it, one lane does it all.
        let second_cpu = move || lanes.go(&processes(), Some(other));
        let second_cpu = thread::Builder::new().spawn_scoped(scope, second_cpu).ok();
        let cells = cells();
        let whole = match cells {
            Ok(true) => lanes.go(&processes(), plan.cpu),
            Ok(false) => Ok(false),
            Err(error) => Err(lanes.end(error)),
        };
        let second_cpu = second_cpu.map_or(Ok(true), |second_cpu| second_cpu.join().unwrap_or(Ok(false)));
        Ok(whole? && second_cpu?)
    })
}

/// One worker that takes all groups of a plan and then all workloads, for whoever runs workers of several programs in
/// turn. Workers of one number are asked for the same, in the same order, whatever program they are of. `units` keeps
/// what the first of them found to fill a run of a workload: all of them do as much.
///
/// # Errors
/// Where it cannot be started.
pub fn one(
    plan: &Plan,
    work: &WorkPlan,
    number: usize,
    units: &mut Units,
    worker: &dyn Fn() -> Command,
    stop: &AtomicBool,
    observer: &mut (dyn Sink + Send),
) -> Result<bool, ParentError> {
    let processes = Processes { plan, command: worker, stop };
    let mut rng = Pcg64Mcg::seed_from_u64(plan.seed.wrapping_add(number as u64));
    let mut assignment = processes.assignment(plan.tasks(number), &mut rng);
    assignment.instructions = number == 0;
    let workloads = processes.work(work, &on_all_kernels(work), number, units, &mut rng);
    (assignment.work, assignment.kernels) = (workloads.work, workloads.kernels);
    let sink = SharedSink::new(observer, std::mem::take(units));
    let whole = processes.run_worker(number, assignment, &mut &sink);
    (&sink).through();
    *units = std::mem::take(&mut sink.lock().units);
    whole
}

/// A workload, mechanisms of it that are not known as well as they are wanted, and how many rounds of them would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// The workload's name.
    pub workload: String,
    /// The mechanisms, as in [`WorkTask::only`].
    pub only: Vec<usize>,
    /// Rounds of all workers to come.
    pub rounds: f64,
}

/// Workers on several CPUs.
struct CpuQueue<'a> {
    plan: &'a Plan,
    work: &'a WorkPlan,
    /// How many there are to be, or until when, from `began`.
    workers: Workers,
    /// When each of the CPUs has its first, from `began`.
    begin: Vec<Duration>,
    began: Instant,
    sink: &'a SharedSink<'a>,
    state: Mutex<QueueState>,
    /// The first worker is through.
    sized: Condvar,
}

/// How far the lanes have come together.
#[derive(Default)]
struct QueueState {
    /// What workers are to take from now on.
    taking: NextTasks,
    /// Workers that were started.
    taken: usize,
    /// Whether the first of them is through.
    sized: bool,
    /// How often it was looked what the rest of the time is worth spending on.
    checkpoints: usize,
    /// How many seconds a worker after the first look is to take.
    takes: Option<f64>,
    /// Whether some worker could not be started.
    failed: bool,
}

/// What workers after a look are to take; before the first they take all.
#[derive(Default)]
struct NextTasks {
    shares: Vec<Allocation>,
    /// The part of the workers that take these; others take all workloads on all kernels, as before.
    part: f64,
    /// The number of the first of the workers, and how many will share.
    first: usize,
    workers: f64,
}

/// When it is looked, as parts of the time.
const CHECKPOINTS: [f64; 3] = [1.0 / 3.0, 2.0 / 3.0, 5.0 / 6.0];

impl<'a> CpuQueue<'a> {
    fn new(
        plan: &'a Plan,
        work: &'a WorkPlan,
        workers: Workers,
        begin: Vec<Duration>,
        sink: &'a SharedSink<'a>,
    ) -> Self {
        let (state, began) = (Mutex::default(), Instant::now());
        CpuQueue { plan, work, workers, begin, began, sink, state, sized: Condvar::new() }
    }

    /// Has workers on a CPU one after another, while there is time. Returns whether none was stopped.
    fn go(&self, processes: &Processes, cpu: Option<usize>) -> Result<bool, ParentError> {
        let mut last = Duration::ZERO;
        while let Some((number, mut assignment)) = self.next(processes, last) {
            assignment.cpu = cpu;
            let began = Instant::now();
            let whole = processes.run_worker(number, assignment, &mut &*self.sink).map_err(|error| self.end(error));
            self.lock().sized = true;
            self.sized.notify_all();
            if !whole? {
                return Ok(false);
            }
            last = began.elapsed();
        }
        Ok(true)
    }

    /// What the next worker is to do, where there is time for one that takes as long as the last; its number before it.
    fn next(&self, processes: &Processes, last: Duration) -> Option<(usize, Assignment)> {
        let mut state = self.lock();
        while state.taken > 0 && !state.sized && !state.failed {
            state = self.sized.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (state, elapsed) = (&mut *state, self.began.elapsed());
        if state.failed || self.work.workloads.is_empty() || !self.workers.room(state.taken, elapsed, last) {
            return None;
        }
        self.reach_checkpoint(state, elapsed);
        let number = state.taken;
        state.taken += 1;
        // From the number alone: which lane is the quicker changes nothing.
        let mut rng = Pcg64Mcg::seed_from_u64((self.plan.seed ^ WORK).wrapping_add(number as u64));
        let units = &self.sink.lock().units;
        let tasks = state.taking.tasks(number).unwrap_or_else(|| on_all_kernels(self.work));
        Some((number, processes.work(self.work, &tasks, number, units, &mut rng)))
    }

    /// Looks what the rest of the time is worth spending on, where the time for that has come.
    fn reach_checkpoint(&self, state: &mut QueueState, elapsed: Duration) {
        let time = |until: Duration| {
            let lanes = self.begin.iter().map(|begin| until.saturating_sub(*begin));
            lanes.sum::<Duration>().as_secs_f64()
        };
        let (used, all) = (time(elapsed), time(elapsed + self.workers.left(elapsed)));
        let due = CHECKPOINTS.get(state.checkpoints).is_some_and(|at| used >= at * all);
        if !due || state.taken < MIN_WORKERS || matches!(self.workers, Workers::Exactly(_)) {
            return;
        }
        state.checkpoints += 1;
        let (shares, part) = (&*self.sink).allocate(&self.work.kernels, (all - used) / used);
        let takes = *state.takes.get_or_insert(used / state.taken as f64);
        let workers = ((all - used) / takes).max(1.0);
        state.taking = NextTasks { shares, part, first: state.taken, workers };
    }

    /// No lane has another worker.
    fn end(&self, error: ParentError) -> ParentError {
        self.lock().failed = true;
        self.sized.notify_all();
        error
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NextTasks {
    /// What the worker of this number is to take; `None` for all.
    fn tasks(&self, number: usize) -> Option<Vec<OnKernels>> {
        // Of equal parts so many begin before the worker, and that many before the next.
        let begun = |parts: f64, workers: usize| (parts * workers as f64).floor() as usize;
        let turn = number.saturating_sub(self.first);
        let mine = begun(self.part, turn);
        if self.shares.is_empty() || begun(self.part, turn + 1) == mine {
            return None;
        }
        let task = |share: &Allocation| {
            let each = share.rounds / (self.workers * self.part);
            let rounds = begun(each, mine + 1) - begun(each, mine);
            (rounds > 0).then(|| (share.workload.clone(), Some((share.only.clone(), rounds))))
        };
        Some(self.shares.iter().filter_map(task).collect())
    }
}

/// A workload; and the mechanisms to measure it on as in [`WorkTask::only`] with a number of rounds, or all kernels.
type OnKernels = (String, Option<(Vec<usize>, usize)>);

fn on_all_kernels(work: &WorkPlan) -> Vec<OnKernels> {
    work.workloads.iter().map(|name| (name.clone(), None)).collect()
}

/// What the seeds of workers of workloads differ by from those of other workers: "work".
const WORK: u64 = 0x776f_726b;

/// Units of a part of a run, by workload.
pub type Units = BTreeMap<String, u64>;

/// An observer that several threads tell of what comes in, and how many units the workloads it hears of took.
struct SharedSink<'a>(Mutex<SinkState<'a>>);

struct SinkState<'a> {
    observer: &'a mut (dyn Sink + Send),
    units: Units,
}

impl<'a> SharedSink<'a> {
    fn new(observer: &'a mut (dyn Sink + Send), units: Units) -> Self {
        SharedSink(Mutex::new(SinkState { observer, units }))
    }

    fn lock(&self) -> MutexGuard<'_, SinkState<'a>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for &SharedSink<'_> {
    fn samples(&mut self, worker: usize, group: &Comparison, samples: GroupSamples, raw: &[u8]) {
        self.lock().observer.samples(worker, group, samples, raw);
    }

    fn worked(&mut self, worker: usize, workload: &str, samples: WorkSamples, raw: &[u8]) {
        let mut sink = self.lock();
        sink.units.entry(workload.to_owned()).or_insert(samples.units);
        sink.observer.worked(worker, workload, samples, raw);
    }

    fn allocate(&mut self, kernels: &[KernelVariant], left: f64) -> (Vec<Allocation>, f64) {
        self.lock().observer.allocate(kernels, left)
    }

    fn min_adds_per_cycle(&self) -> f64 {
        self.lock().observer.min_adds_per_cycle()
    }

    fn failed(&mut self, mishap: WorkerFailure) {
        self.lock().observer.failed(mishap);
    }

    fn through(&mut self) {
        self.lock().observer.through();
    }

    fn next_tasks(&mut self) -> Vec<Task> {
        self.lock().observer.next_tasks()
    }

    fn again(&mut self, tasks: usize) {
        self.lock().observer.again(tasks);
    }
}

impl Processes<'_> {
    /// `workloads` in an order drawn from `rng`, with all else as planned.
    fn work(
        &self,
        work: &WorkPlan,
        workloads: &[OnKernels],
        number: usize,
        units: &Units,
        rng: &mut Pcg64Mcg,
    ) -> Assignment {
        let mut assignment = self.assignment(Vec::new(), rng);
        // A single unit may be longer than a run should be.
        let rounds = |name: &str| if units.get(name) == Some(&1) { work.rounds.div_ceil(2) } else { work.rounds };
        let task = |(name, share): &OnKernels| WorkTask {
            workload: name.clone(),
            seed: self.plan.seed,
            rounds: share.as_ref().map_or_else(|| rounds(name), |(_, rounds)| *rounds),
            // What the first worker found to fill a run is what all do.
            units: units.get(name).copied(),
            count: number == 0,
            in_place: false,
            only: share.as_ref().map(|(only, _)| only.clone()),
        };
        assignment.work = workloads.iter().map(task).collect();
        for i in (1..assignment.work.len()).rev() {
            assignment.work.swap(i, rng.random_range(0..=i));
        }
        assignment.kernels.clone_from(&work.kernels);
        assignment
    }
}
