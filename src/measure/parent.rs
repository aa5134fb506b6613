//! The parent of the worker processes. It starts them one after another, reads their lines, continues after a death,
//! and spends the rest of the time on contended or undecided comparisons.

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::lines::{Lines, WorkerEvent};
use super::plan::{Comparison, MAX_CHECKPOINTS, Plan, Workers};
use super::wire::{Assignment, ComparisonSamples, Task, WorkerLine};
use super::work::{KernelVariant, WorkSamples};
use super::work_parent::Allocation;

/// Silence after which a worker counts as hung, while its parent runs. The most expensive comparison takes a fraction
/// of a second.
const MAX_SILENCE: Duration = Duration::from_secs(60);
/// Time between checks for a stop.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Starts of one worker number, after which it is given up.
const MAX_STARTS: usize = 4;
/// The reason why no worker could run.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// The program could not be started again.
    #[error(
        "cannot start a worker process ({program}): {source}; see whether the program is still there, and \
         the limits on processes and memory (ulimit -a, pids.max of the cgroup)"
    )]
    Spawn {
        /// Path of the program.
        program: String,
        /// The error from the kernel.
        source: std::io::Error,
    },
    /// The assignment could not be serialised.
    #[error("cannot serialise the assignment of a worker: {0}; report this as a bug")]
    Assign(#[from] serde_json::Error),
}

/// The failure of a worker or a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerFailure {
    /// Number of the worker, from 0.
    pub worker: usize,
    /// The comparison or workload that it measured.
    pub group: Option<String>,
    /// The message.
    pub message: String,
    /// Whether the worker died; otherwise it continues.
    pub is_death: bool,
}

/// A receiver of a run's results.
pub trait Sink {
    /// Receives a comparison's samples from one worker; `raw` is the worker's own line.
    fn samples(&mut self, worker: usize, comparison: &Comparison, samples: ComparisonSamples, raw: &[u8]);
    /// Receives a workload's samples from one worker. It is never called in runs without workloads.
    fn worked(&mut self, _worker: usize, _workload: &str, _samples: WorkSamples, _raw: &[u8]) {}
    /// Allocates the rest of the time for workloads, which is `left` times the time spent so far. Returns extra rounds
    /// for kernels whose intervals are wider than their target, and the share of the workers that take them, 0 to 1.
    fn allocate(&mut self, _kernels: &[KernelVariant], _left: f64) -> (Vec<Allocation>, f64) {
        (Vec::new(), 0.0)
    }
    /// Returns the independent adds per cycle below which a round is contended, by all samples so far; 0 where this is
    /// unknown.
    fn min_adds_per_cycle(&self) -> f64 {
        0.0
    }
    /// Receives the failure of a task or worker.
    fn failed(&mut self, failure: WorkerFailure);
    /// Receives the end of a worker that took all comparisons.
    fn through(&mut self);
    /// Returns the tasks for another worker, the most promising first, once the workers that take all comparisons are
    /// finished. It is called after each such worker, up to [`MAX_CHECKPOINTS`] times, until it returns none or the
    /// time is up.
    fn next_tasks(&mut self) -> Vec<Task>;
    /// Receives the number of tasks that another worker is about to take.
    fn again(&mut self, tasks: usize);
}

/// Runs a plan. `worker` makes the command that starts a worker process of this build. `stop` ends the run early: it
/// kills the current worker and keeps the samples so far.
///
/// Returns whether the run was not stopped.
///
/// # Errors
/// [`ParentError`] where no worker can be started.
pub fn run(
    plan: &Plan,
    worker: &dyn Fn() -> Command,
    count: bool,
    stop: &AtomicBool,
    sink: &mut dyn Sink,
) -> Result<bool, ParentError> {
    let processes = Processes { plan, command: worker, stop };
    let mut rng = Pcg64Mcg::seed_from_u64(plan.seed);
    let began = Instant::now();
    let mut windows = 0.0;
    let cost = |tasks: &[Task]| tasks.iter().map(|task| task.windows(plan.variants.len())).sum::<f64>();
    let mut number = 0;
    while plan.workers.go_on(number, began.elapsed()) {
        let tasks = plan.tasks(number);
        windows += cost(&tasks);
        let mut assignment = processes.assign(tasks, &mut rng);
        // Counts hardly vary, so one worker counts.
        assignment.counters = count && number == 0;
        assignment.instructions = number == 0;
        if !processes.run_worker(number, assignment, sink)? {
            return Ok(false);
        }
        sink.through();
        number += 1;
    }
    let Workers::Within(time) = plan.workers else { return Ok(true) };
    // Each worker takes a slice of the rest: contention comes in bursts, and the next slice may be uncontended.
    let slice = time / MAX_CHECKPOINTS as u32;
    for _ in 0..MAX_CHECKPOINTS {
        let mut tasks = if plan.workers.left(began.elapsed()).is_zero() { Vec::new() } else { sink.next_tasks() };
        let seconds_per_window = began.elapsed().as_secs_f64() / windows;
        let left = plan.workers.left(began.elapsed()).min(slice).as_secs_f64() / seconds_per_window;
        let mut taken = 0.0;
        let fitting = tasks.iter().take_while(|task| {
            taken += task.windows(plan.variants.len());
            taken <= left
        });
        tasks.truncate(fitting.count());
        if tasks.is_empty() {
            break;
        }
        windows += cost(&tasks);
        sink.again(tasks.len());
        if !processes.run_worker(number, processes.assign(tasks, &mut rng), sink)? {
            return Ok(false);
        }
        number += 1;
    }
    Ok(true)
}

/// The way in which workers of a run are started and stopped.
pub(super) struct Processes<'a> {
    pub plan: &'a Plan,
    pub command: &'a dyn Fn() -> Command,
    pub stop: &'a AtomicBool,
}

impl Processes<'_> {
    /// Assigns `tasks` in an order drawn from `rng`. Everything else is as planned.
    pub fn assign(&self, mut tasks: Vec<Task>, rng: &mut Pcg64Mcg) -> Assignment {
        let seed = rng.random();
        for i in (1..tasks.len()).rev() {
            tasks.swap(i, rng.random_range(0..=i));
        }
        let Plan { variants, window_cycles, cpu, clock, .. } = self.plan;
        let variants = variants.clone();
        let (counters, instructions) = (false, false);
        let (window_cycles, cpu, clock) = (*window_cycles, *cpu, *clock);
        let (work, kernels) = (Vec::new(), Vec::new());
        Assignment {
            seed,
            tasks,
            variants,
            work,
            kernels,
            window_cycles,
            cpu,
            clock,
            min_adds_per_cycle: 0.0,
            counters,
            instructions,
        }
    }

    /// Runs the worker with this number, and restarts it after a death. Returns whether it was not stopped.
    pub fn run_worker(
        &self,
        number: usize,
        mut assignment: Assignment,
        sink: &mut dyn Sink,
    ) -> Result<bool, ParentError> {
        assignment.min_adds_per_cycle = sink.min_adds_per_cycle();
        for life in 1..=MAX_STARTS {
            match serve(number, &assignment, self.command, self.stop, sink)? {
                End::All => break,
                End::Stopped => return Ok(false),
                End::Died { at: Some(at) } if at + 1 >= assignment.len() => break,
                End::Died { at } => {
                    // This worker omits the task in which it died, and continues after it.
                    assignment.skip(at.map_or(0, |at| at + 1));
                    if life == MAX_STARTS {
                        let message = format!(
                            "the worker was given up after {MAX_STARTS} deaths; {} tasks were not measured",
                            assignment.len()
                        );
                        sink.failed(WorkerFailure { worker: number, group: None, message, is_death: true });
                    }
                }
            }
        }
        Ok(true)
    }
}

enum End {
    All,
    Stopped,
    Died { at: Option<usize> },
}

/// Runs one worker process from start to end.
fn serve(
    number: usize,
    assignment: &Assignment,
    worker: &dyn Fn() -> Command,
    stop: &AtomicBool,
    sink: &mut dyn Sink,
) -> Result<End, ParentError> {
    let mut child = start(worker, assignment)?;
    let mut lines = Lines::new(&mut child, MAX_SILENCE);
    let mut at = None;
    let mut broken = None;
    while broken.is_none() {
        if stop.load(Ordering::Relaxed) {
            kill(&mut child);
            return Ok(End::Stopped);
        }
        let line = match lines.next(POLL_INTERVAL) {
            Ok(WorkerEvent::Line(line)) => line,
            Ok(WorkerEvent::Nothing) => continue,
            Ok(WorkerEvent::Silence) => {
                broken = Some(format!("was silent for {} s", MAX_SILENCE.as_secs()));
                break;
            }
            Ok(WorkerEvent::End) => break,
            Err(error) => {
                broken = Some(format!("wrote output that cannot be read: {error}"));
                break;
            }
        };
        let task = at.and_then(|at: usize| assignment.tasks.get(at));
        let work = at.and_then(|at| assignment.work.get(at.checked_sub(assignment.tasks.len())?));
        match (serde_json::from_slice(&line), task, work) {
            (Ok(WorkerLine::Begin(index)), ..) => at = Some(index),
            (Ok(WorkerLine::Done(samples)), Some(task), _) => sink.samples(number, &task.comparison, *samples, &line),
            (Ok(WorkerLine::Worked(samples)), _, Some(work)) => sink.worked(number, &work.workload, *samples, &line),
            (Ok(WorkerLine::Failed(message)), ..) => {
                let group = at.and_then(|at| assignment.name(at));
                sink.failed(WorkerFailure { worker: number, group, message, is_death: false });
            }
            (Ok(WorkerLine::Done(_) | WorkerLine::Worked(_)), ..) => {
                broken = Some("sent samples that belong to no task".to_owned())
            }
            (Err(_), ..) => broken = Some(describe_malformed(&line)),
        }
    }
    if broken.is_some() {
        kill(&mut child);
    }
    let status = child.wait();
    // A last line that its writer's death cut short is part of that death.
    if broken.is_none() && !lines.unfinished().is_empty() && status.as_ref().is_ok_and(ExitStatus::success) {
        broken = Some(describe_malformed(lines.unfinished()));
    }
    match (&broken, status) {
        (None, Ok(status)) if status.success() => Ok(End::All),
        (_, status) => {
            let how = broken.unwrap_or_else(|| status.map_or_else(|e| e.to_string(), describe_status));
            let message = match lines.complaint().as_str() {
                "" => format!("the worker {how}"),
                complaint => format!("the worker {how}: {complaint}"),
            };
            let group = at.and_then(|at| assignment.name(at));
            sink.failed(WorkerFailure { worker: number, group, message, is_death: true });
            Ok(End::Died { at })
        }
    }
}

fn start(worker: &dyn Fn() -> Command, assignment: &Assignment) -> Result<Child, ParentError> {
    let mut command = worker();
    let program = command.get_program().to_string_lossy().into_owned();
    let mut line = serde_json::to_vec(assignment)?;
    line.push(b'\n');
    let spawned = command
        // The worker has its own process group: Ctrl-C on the terminal is the parent's to handle.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|source| ParentError::Spawn { program, source })?;
    if let Some(mut stdin) = child.stdin.take() {
        // The exit status shows a worker that died before reading; the error of the pipe adds nothing.
        let _ = stdin.write_all(&line);
    }
    Ok(child)
}

fn describe_malformed(line: &[u8]) -> String {
    let shown: String = String::from_utf8_lossy(line).chars().take(80).collect();
    format!("wrote a line that is not samples: {shown}")
}

fn kill(child: &mut Child) {
    // This fails only where the worker has ended by itself; waiting afterwards leaves no zombie either way.
    let _ = child.kill();
    let _ = child.wait();
}

fn describe_status(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => match signal_hook::low_level::signal_name(signal) {
            Some(name) => format!("was killed by {name}"),
            None => format!("was killed by signal {signal}"),
        },
        (None, Some(code)) => format!("ended with exit code {code}"),
        (None, None) => "ended".to_owned(),
    }
}
