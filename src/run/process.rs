//! The run's side of a worker process: it starts the process, reads its lines, and starts it again after a death.

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::lines::{Lines, WorkerEvent};
use super::protocol::{Assignment, WorkerLine};
use super::sink::{Sink, WorkerFailure};
use crate::report::schema::Failure;

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

/// The way in which workers of a run are started and stopped.
#[derive(Clone, Copy)]
pub struct Processes<'a> {
    /// Makes the command that starts a worker process of this build.
    pub command: &'a (dyn Fn() -> Command + Sync),
    /// Ends the run early: it kills the current workers and keeps the samples so far.
    pub stop: &'a AtomicBool,
}

impl Processes<'_> {
    /// Runs the worker with this number, and restarts it after a death. Returns whether it was not stopped.
    ///
    /// # Errors
    /// [`ParentError`] where the worker cannot be started.
    pub(crate) fn run_worker(
        self,
        number: usize,
        mut assignment: Assignment,
        sink: &mut dyn Sink,
    ) -> Result<bool, ParentError> {
        assignment.min_adds_per_cycle = sink.min_adds_per_cycle();
        for life in 1..=MAX_STARTS {
            match self.serve(number, &assignment, sink)? {
                End::All => break,
                End::Stopped => return Ok(false),
                End::Died { at: Some(at) } if at + 1 >= assignment.jobs.len() => break,
                End::Died { at } => {
                    // This worker omits the job in which it died, and continues after it.
                    assignment.jobs.drain(..at.map_or(0, |at| at + 1));
                    if life == MAX_STARTS {
                        let message = format!(
                            "the worker was given up after {MAX_STARTS} deaths; {} comparisons and workloads were not \
                             measured",
                            assignment.jobs.len()
                        );
                        sink.failed(WorkerFailure {
                            failure: Failure { worker: number, comparison: None, message },
                            is_death: true,
                        });
                    }
                }
            }
        }
        Ok(true)
    }

    /// Runs one worker process from start to end.
    fn serve(self, number: usize, assignment: &Assignment, sink: &mut dyn Sink) -> Result<End, ParentError> {
        let mut child = start(self.command, assignment)?;
        let mut lines = Lines::new(&mut child, MAX_SILENCE);
        let mut at = None;
        let mut broken = None;
        while broken.is_none() {
            if self.stop.load(Ordering::Relaxed) {
                kill(&mut child);
                return Ok(End::Stopped);
            }
            let line = match lines.next(POLL_INTERVAL) {
                Ok(WorkerEvent::Line(line)) => line,
                Ok(WorkerEvent::Nothing) => {
                    sink.waited();
                    continue;
                }
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
            let job = at.and_then(|at: usize| assignment.jobs.get(at));
            match (serde_json::from_slice(&line), job) {
                (Ok(WorkerLine::Begin(index)), _) => at = Some(index),
                (Ok(WorkerLine::Done(samples)), Some(job)) if samples.belong_to(&job.target) => {
                    sink.samples(number, &job.target, samples, &line);
                }
                (Ok(WorkerLine::Failed(message)), _) => {
                    let comparison = job.map(|job| job.target.to_string());
                    sink.failed(WorkerFailure {
                        failure: Failure { worker: number, comparison, message },
                        is_death: false,
                    });
                }
                (Ok(WorkerLine::Done(_)), _) => broken = Some("sent samples that belong to no job".to_owned()),
                (Err(_), _) => broken = Some(describe_malformed(&line)),
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
                let comparison = at.and_then(|at| Some(assignment.jobs.get(at)?.target.to_string()));
                sink.failed(WorkerFailure { failure: Failure { worker: number, comparison, message }, is_death: true });
                Ok(End::Died { at })
            }
        }
    }
}

/// Returns the command that starts a worker process of this program.
#[must_use]
pub(crate) fn worker_command() -> Command {
    // This path starts the same binary even if its file was replaced since.
    let mut command = Command::new("/proc/self/exe");
    command.arg("worker");
    command
}

enum End {
    All,
    Stopped,
    Died { at: Option<usize> },
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
