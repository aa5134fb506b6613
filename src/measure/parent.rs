//! The parent of the worker processes: starts them one after another, takes their lines as they come, goes on when one
//! dies, and uses the time that is left for what was disturbed.

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::lines::{Heard, Lines};
use super::plan::{Comparison, MAX_CHECKPOINTS, Plan, Workers};
use super::wire::{Assignment, GroupSamples, Task, WorkerLine};
use super::work::{KernelVariant, WorkSamples};
use super::work_parent::Allocation;

/// A worker that is silent for this long while its parent runs is taken for hung: the dearest group takes a fraction of
/// a second.
const MAX_SILENCE: Duration = Duration::from_secs(60);
/// How often the parent looks whether it is to stop.
const GLANCE: Duration = Duration::from_millis(50);
/// A worker number that died this often is given up.
const MAX_STARTS: usize = 4;
/// Why the workers could not be run at all.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// The program could not be started again.
    #[error(
        "cannot start a worker process ({program}): {source}; see whether the program is still there, and the limits on \
         processes and memory (ulimit -a, pids.max of the cgroup)"
    )]
    Spawn {
        /// Its path.
        program: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The assignment could not be written down.
    #[error("cannot hand a worker its assignment: {0}")]
    Assign(#[from] serde_json::Error),
}

/// Something that went wrong with a worker or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerFailure {
    /// Which worker, from 0.
    pub worker: usize,
    /// The group or workload it was at.
    pub group: Option<String>,
    /// What happened.
    pub message: String,
    /// Whether the worker died of it; else it goes on.
    pub is_death: bool,
}

/// Who is told of what comes in.
pub trait Sink {
    /// A group is measured by one worker; `raw` is the worker's line, as it came.
    fn samples(&mut self, worker: usize, group: &Comparison, samples: GroupSamples, raw: &[u8]);
    /// A workload is measured by one worker. Runs without workloads never hear of it.
    fn worked(&mut self, _worker: usize, _workload: &str, _samples: WorkSamples, _raw: &[u8]) {}
    /// What the rest of a run of workloads is worth spending on, `left` times as much time as was spent: shares for the
    /// mechanisms that are not known as well as they are wanted, and the part of it, from 0 to 1, that these take.
    fn allocate(&mut self, _kernels: &[KernelVariant], _left: f64) -> (Vec<Allocation>, f64) {
        (Vec::new(), 0.0)
    }
    /// Below how many independent adds per cycle something else has part of the core, by all that came in; 0 where
    /// nothing did.
    fn min_adds_per_cycle(&self) -> f64 {
        0.0
    }
    /// A group failed, or a worker died.
    fn failed(&mut self, mishap: WorkerFailure);
    /// A worker went through all groups.
    fn through(&mut self);
    /// The workers that take all groups are through: what is worth another worker, the most promising first. Asked
    /// again after each such worker, [`MAX_CHECKPOINTS`] times at most, until there is nothing or the time is up.
    fn next_tasks(&mut self) -> Vec<Task>;
    /// Another worker is about to take so many tasks.
    fn again(&mut self, tasks: usize);
}

/// Runs a plan. `worker` makes the command that starts a worker process of this build. `stop` ends the run early: the
/// worker at work is killed, what came in is kept.
///
/// Returns whether the run went to its end.
///
/// # Errors
/// Where no worker can be started.
pub fn run(
    plan: &Plan,
    worker: &dyn Fn() -> Command,
    count: bool,
    stop: &AtomicBool,
    observer: &mut dyn Sink,
) -> Result<bool, ParentError> {
    let processes = Processes { plan, command: worker, stop };
    let mut rng = Pcg64Mcg::seed_from_u64(plan.seed);
    let began = Instant::now();
    let mut windows = 0.0;
    let cost = |tasks: &[Task]| tasks.iter().map(|task| task.windows(plan.columns.len())).sum::<f64>();
    let mut number = 0;
    while plan.workers.go_on(number, began.elapsed()) {
        let tasks = plan.tasks(number);
        windows += cost(&tasks);
        let mut assignment = processes.assignment(tasks, &mut rng);
        // Counts hardly vary; one worker's are enough.
        assignment.counters = count && number == 0;
        assignment.instructions = number == 0;
        if !processes.run_worker(number, assignment, observer)? {
            return Ok(false);
        }
        observer.through();
        number += 1;
    }
    let Workers::Within(time) = plan.workers else { return Ok(true) };
    // A worker takes a slice of what is left: disturbances come in bursts, and the next slice may meet a quiet time.
    let slice = time / MAX_CHECKPOINTS as u32;
    for _ in 0..MAX_CHECKPOINTS {
        let mut tasks = if plan.workers.left(began.elapsed()).is_zero() { Vec::new() } else { observer.next_tasks() };
        let pace = began.elapsed().as_secs_f64() / windows;
        let left = plan.workers.left(began.elapsed()).min(slice).as_secs_f64() / pace;
        let mut taken = 0.0;
        let fitting = tasks.iter().take_while(|task| {
            taken += task.windows(plan.columns.len());
            taken <= left
        });
        tasks.truncate(fitting.count());
        if tasks.is_empty() {
            break;
        }
        windows += cost(&tasks);
        observer.again(tasks.len());
        if !processes.run_worker(number, processes.assignment(tasks, &mut rng), observer)? {
            return Ok(false);
        }
        number += 1;
    }
    Ok(true)
}

/// How workers of a run are started and stopped.
pub(super) struct Processes<'a> {
    pub plan: &'a Plan,
    pub command: &'a dyn Fn() -> Command,
    pub stop: &'a AtomicBool,
}

impl Processes<'_> {
    /// `tasks` in an order drawn from `rng`, with all else as planned.
    pub fn assignment(&self, mut tasks: Vec<Task>, rng: &mut Pcg64Mcg) -> Assignment {
        let seed = rng.random();
        for i in (1..tasks.len()).rev() {
            tasks.swap(i, rng.random_range(0..=i));
        }
        let Plan { columns, window_cycles, cpu, clock, .. } = self.plan;
        let columns = columns.clone();
        let (counters, instructions) = (false, false);
        let (window_cycles, cpu, clock) = (*window_cycles, *cpu, *clock);
        let (work, kernels) = (Vec::new(), Vec::new());
        Assignment {
            seed,
            tasks,
            columns,
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

    /// One worker number from its first life to its last. Returns whether it was let go to its end.
    pub fn run_worker(
        &self,
        number: usize,
        mut assignment: Assignment,
        observer: &mut dyn Sink,
    ) -> Result<bool, ParentError> {
        assignment.min_adds_per_cycle = observer.min_adds_per_cycle();
        for life in 1..=MAX_STARTS {
            match serve(number, &assignment, self.command, self.stop, observer)? {
                End::All => break,
                End::Stopped => return Ok(false),
                End::Died { at: Some(at) } if at + 1 >= assignment.len() => break,
                End::Died { at } => {
                    // The group it died in is lost to this worker; what comes after it is not.
                    assignment.skip(at.map_or(0, |at| at + 1));
                    if life == MAX_STARTS {
                        let message = format!("gave up after {MAX_STARTS} deaths; {} groups left", assignment.len());
                        observer.failed(WorkerFailure { worker: number, group: None, message, is_death: true });
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

/// One worker process from start to end.
fn serve(
    number: usize,
    assignment: &Assignment,
    worker: &dyn Fn() -> Command,
    stop: &AtomicBool,
    observer: &mut dyn Sink,
) -> Result<End, ParentError> {
    let mut child = start(worker, assignment)?;
    let mut lines = Lines::of(&mut child, MAX_SILENCE);
    let mut at = None;
    let mut broken = None;
    while broken.is_none() {
        if stop.load(Ordering::Relaxed) {
            end(&mut child);
            return Ok(End::Stopped);
        }
        let line = match lines.next(GLANCE) {
            Ok(Heard::Line(line)) => line,
            Ok(Heard::Nothing) => continue,
            Ok(Heard::Silence) => {
                broken = Some(format!("was silent for {} s", MAX_SILENCE.as_secs()));
                break;
            }
            Ok(Heard::End) => break,
            Err(error) => {
                broken = Some(format!("wrote what cannot be read: {error}"));
                break;
            }
        };
        let task = at.and_then(|at: usize| assignment.tasks.get(at));
        let work = at.and_then(|at| assignment.work.get(at.checked_sub(assignment.tasks.len())?));
        match (serde_json::from_slice(&line), task, work) {
            (Ok(WorkerLine::Begin(index)), ..) => at = Some(index),
            (Ok(WorkerLine::Done(samples)), Some(task), _) => observer.samples(number, &task.group, *samples, &line),
            (Ok(WorkerLine::Worked(samples)), _, Some(work)) => {
                observer.worked(number, &work.workload, *samples, &line)
            }
            (Ok(WorkerLine::Failed(message)), ..) => {
                let group = at.and_then(|at| assignment.place(at));
                observer.failed(WorkerFailure { worker: number, group, message, is_death: false });
            }
            (Ok(WorkerLine::Done(_) | WorkerLine::Worked(_)), ..) => {
                broken = Some("sent samples of no group".to_owned())
            }
            (Err(_), ..) => broken = Some(garbage(&line)),
        }
    }
    if broken.is_some() {
        end(&mut child);
    }
    let status = child.wait();
    // A last line cut short by the death of its writer is that death's business.
    if broken.is_none() && !lines.unfinished().is_empty() && status.as_ref().is_ok_and(ExitStatus::success) {
        broken = Some(garbage(lines.unfinished()));
    }
    match (&broken, status) {
        (None, Ok(status)) if status.success() => Ok(End::All),
        (_, status) => {
            let how = broken.unwrap_or_else(|| status.map_or_else(|e| e.to_string(), describe));
            let message = match lines.complaint().as_str() {
                "" => format!("the worker {how}"),
                complaint => format!("the worker {how}: {complaint}"),
            };
            let group = at.and_then(|at| assignment.place(at));
            observer.failed(WorkerFailure { worker: number, group, message, is_death: true });
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
        // A group of its own: Ctrl-C on the terminal is the parent's to handle.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|source| ParentError::Spawn { program, source })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A worker that died before reading shows by its status; the pipe's error says no more.
        let _ = stdin.write_all(&line);
    }
    Ok(child)
}

fn garbage(line: &[u8]) -> String {
    let shown: String = String::from_utf8_lossy(line).chars().take(80).collect();
    format!("wrote something else than samples: {shown}")
}

fn end(child: &mut Child) {
    // Fails only where it has ended by itself; waiting for it afterwards leaves no zombie either way.
    let _ = child.kill();
    let _ = child.wait();
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => match signal_hook::low_level::signal_name(signal) {
            Some(name) => format!("was killed by {name}"),
            None => format!("was killed by signal {signal}"),
        },
        (None, Some(code)) => format!("ended with exit code {code}"),
        (None, None) => "ended".to_owned(),
    }
}
