//! The scheduler: one queue of workers with a slot per CPU.
//!
//! The slot of the plan's CPU has the workers of cells, then those of workloads. A slot of a second CPU has workers of
//! workloads from the beginning.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::plan::Plan;
use super::policy::{CellPolicy, Moment, Next, Policy, WorkerJobs};
use super::process::{ParentError, Processes};
use super::protocol::{Assignment, Samples, Target};
use super::sink::{Sink, WorkerFailure};
pub use super::workload_policy::Units;
use super::workload_policy::{WorkloadPolicy, workload_jobs};
use crate::estimate::Allocation;
use crate::measure::comparison::Comparison;
use crate::measure::variant::TreatmentId;

/// Runs a plan: workers of cells and of workloads. `count` says whether the first worker of cells counts events with
/// the hardware counters.
///
/// Returns whether the run was not stopped.
///
/// # Errors
/// [`ParentError`] where no worker can be started.
pub fn run(plan: &Plan, processes: Processes, count: bool, sink: &mut (dyn Sink + Send)) -> Result<bool, ParentError> {
    let queue = &Queue::new(plan, processes, count, sink);
    let Some(other) = plan.second_cpu else {
        return queue.run_slot(plan.cpu, &[Phase::Cells, Phase::Workloads]);
    };
    thread::scope(|scope| {
        // Without another thread, the plan's CPU does all of the work.
        let second = move || queue.run_slot(Some(other), &[Phase::Workloads]);
        let second = thread::Builder::new().spawn_scoped(scope, second).ok();
        let whole = queue.run_slot(plan.cpu, &[Phase::Cells, Phase::Workloads]);
        let second = second.map_or(Ok(true), |second| second.join().unwrap_or(Ok(false)));
        Ok(whole? && second?)
    })
}

/// Runs one worker that takes all comparisons of a plan and then all workloads, for callers that run workers of several
/// programs in turn. Workers with the same number get the same jobs in the same order, whichever program they belong
/// to. `units` keeps the units per workload that the first of them found, so that all do the same work.
///
/// # Errors
/// [`ParentError`] where the worker cannot be started.
pub(crate) fn run_one(
    plan: &Plan,
    number: usize,
    units: &mut Units,
    processes: Processes,
    sink: &mut (dyn Sink + Send),
) -> Result<bool, ParentError> {
    let queue = Queue::new(plan, processes, false, sink);
    let mut rng = Pcg64Mcg::seed_from_u64(plan.seed.wrapping_add(number as u64));
    let mut worker = WorkerJobs::draw(number, plan.comparison_jobs(number), true, &mut rng);
    worker.jobs.extend(WorkerJobs::draw(number, workload_jobs(plan, number, units), false, &mut rng).jobs);
    queue.lock().workloads.units = std::mem::take(units);
    let whole = processes.run_worker(number, queue.assignment(worker, plan.cpu), &mut &queue);
    let mut state = queue.lock();
    state.sink.through();
    *units = std::mem::take(&mut state.workloads.units);
    whole
}

/// What the workers of a slot measure.
#[derive(Clone, Copy)]
enum Phase {
    Cells,
    Workloads,
}

/// The queue of workers for several CPUs.
struct Queue<'a> {
    plan: &'a Plan,
    processes: Processes<'a>,
    count: bool,
    began: Instant,
    state: Mutex<State<'a>>,
    /// Signals the end of a worker.
    changed: Condvar,
}

/// The state that the CPUs share.
struct State<'a> {
    cells: CellPolicy<'a>,
    workloads: WorkloadPolicy<'a>,
    sink: &'a mut (dyn Sink + Send),
    /// Whether some worker could not be started: then no CPU starts another.
    failed: bool,
}

impl<'a> Queue<'a> {
    fn new(plan: &'a Plan, processes: Processes<'a>, count: bool, sink: &'a mut (dyn Sink + Send)) -> Self {
        let (cells, workloads) = (CellPolicy::new(plan), WorkloadPolicy::new(plan));
        let state = Mutex::new(State { cells, workloads, sink, failed: false });
        Queue { plan, processes, count, began: Instant::now(), state, changed: Condvar::new() }
    }

    /// Runs workers on a CPU one after another, phase by phase. Returns whether none was stopped.
    fn run_slot(&self, cpu: Option<usize>, phases: &[Phase]) -> Result<bool, ParentError> {
        for &phase in phases {
            let mut last = Duration::ZERO;
            while let Some(worker) = self.next_worker(phase, last) {
                let (began, number, is_pass) = (Instant::now(), worker.number, worker.is_pass);
                let whole = self.processes.run_worker(number, self.assignment(worker, cpu), &mut &*self);
                self.finish_worker(phase, is_pass, whole.is_err());
                if !whole? {
                    return Ok(false);
                }
                last = began.elapsed();
            }
        }
        Ok(true)
    }

    /// The jobs of the next worker of a phase; `None` after its last.
    fn next_worker(&self, phase: Phase, last: Duration) -> Option<WorkerJobs> {
        let mut state = self.lock();
        loop {
            let State { cells, workloads, sink, failed } = &mut *state;
            if *failed {
                return None;
            }
            let now = Moment { elapsed: self.began.elapsed(), last };
            let next = match phase {
                Phase::Cells => cells.next(now, *sink),
                Phase::Workloads => workloads.next(now, *sink),
            };
            match next {
                Next::Assign(worker) => {
                    if matches!(phase, Phase::Cells) && !worker.is_pass {
                        sink.again();
                    }
                    return Some(worker);
                }
                Next::Wait => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Next::Done => return None,
            }
        }
    }

    fn finish_worker(&self, phase: Phase, is_pass: bool, failed: bool) {
        let state = &mut *self.lock();
        state.failed |= failed;
        match phase {
            Phase::Cells => state.cells.finished(),
            Phase::Workloads => state.workloads.finished(),
        }
        if is_pass && !failed {
            state.sink.through();
        }
        self.changed.notify_all();
    }

    fn assignment(&self, worker: WorkerJobs, cpu: Option<usize>) -> Assignment {
        let WorkerJobs { number, seed, jobs, is_pass } = worker;
        // Counts hardly vary, so one worker counts.
        let counts = is_pass && number == 0;
        Assignment {
            treatments: self.plan.matrix.treatments.clone(),
            jobs,
            seed,
            window_cycles: self.plan.window_cycles,
            cpu,
            clock: self.plan.clock,
            min_adds_per_cycle: 0.0,
            counters: self.count && counts,
            instructions: counts,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sink that the slots share. It notes the units of workloads.
impl Sink for &Queue<'_> {
    fn samples(&mut self, worker: usize, target: &Target, samples: Samples, raw: &[u8]) {
        let mut state = self.lock();
        if let (Target::Workload(target), Samples::Workload(samples)) = (target, &samples) {
            state.workloads.units.entry(target.workload.clone()).or_insert(samples.units);
        }
        state.sink.samples(worker, target, samples, raw);
    }

    fn failed(&mut self, failure: WorkerFailure) {
        self.lock().sink.failed(failure);
    }

    fn waited(&mut self) {
        self.lock().sink.waited();
    }

    fn through(&mut self) {
        self.lock().sink.through();
    }

    fn again(&mut self) {
        self.lock().sink.again();
    }

    fn min_adds_per_cycle(&self) -> f64 {
        self.lock().sink.min_adds_per_cycle()
    }

    fn undecided(&mut self) -> Vec<(Comparison, Vec<TreatmentId>)> {
        self.lock().sink.undecided()
    }

    fn allocate(&mut self, left: f64) -> (Vec<Allocation>, f64) {
        self.lock().sink.allocate(left)
    }
}
