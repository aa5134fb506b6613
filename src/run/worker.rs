//! A worker process: one assignment on standard input, JSON lines on standard output.

use std::io::{self, BufRead, Write};

use rustix::process::{Signal, set_parent_process_death_signal};

use super::protocol::{Assignment, Job, Samples, Target, WorkerLine};
use crate::host::{PinError, pin};
use crate::measure::loop_bench::{LoopBench, LoopJob};
use crate::measure::sample_error::SampleError;
use crate::measure::workload_bench::{WorkloadBench, WorkloadError, WorkloadJob};
use crate::suite::OpEntry;
use crate::workload::WorkloadEntry;

/// The reason why a worker ended early.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The pipe to or from the parent failed.
    #[error("the pipe of a worker failed: {0}; `pvbench run` starts workers by itself")]
    Pipe(#[from] io::Error),
    /// The assignment could not be parsed, or a line could not be written.
    #[error("a worker cannot read its assignment or write its samples: {0}; `pvbench run` starts workers by itself")]
    Assignment(#[from] serde_json::Error),
    /// The process could not be made ready for loops.
    #[error(transparent)]
    Loops(#[from] SampleError),
    /// The process could not be made ready for workloads.
    #[error(transparent)]
    Workloads(#[from] WorkloadError),
    /// The worker could not be pinned.
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// Reads an assignment, measures its jobs in order, and writes a line before and after each.
///
/// # Errors
/// [`WorkerError`] where the assignment cannot be parsed, the process cannot be made ready, or the parent is gone.
pub(crate) fn serve(
    ops: Vec<OpEntry>,
    entries: Vec<WorkloadEntry>,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Result<(), WorkerError> {
    // A killed parent must leave no worker behind. If the parent died before this call, the pipe is closed and the
    // first write fails.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    let assignment: Assignment = serde_json::from_slice(line.as_bytes())?;
    if let Some(cpu) = assignment.cpu {
        pin(cpu)?;
    }
    let mut process = Process { ops, entries, assignment: &assignment, loops: None, workloads: None };
    for (index, job) in assignment.jobs.iter().enumerate() {
        send(output, &WorkerLine::Begin(index))?;
        let line = match process.measure(job)? {
            Ok(samples) => WorkerLine::Done(samples),
            Err(message) => WorkerLine::Failed(message),
        };
        send(output, &line)?;
    }
    Ok(())
}

/// The benches of a worker process. There is one at a time: a process has one CPU model and one `Text`.
struct Process<'a> {
    ops: Vec<OpEntry>,
    entries: Vec<WorkloadEntry>,
    assignment: &'a Assignment,
    loops: Option<LoopBench>,
    workloads: Option<WorkloadBench>,
}

impl Process<'_> {
    /// Measures a job. The inner error is that of the job alone.
    fn measure(&mut self, job: &Job) -> Result<Result<Samples, String>, WorkerError> {
        let (assignment, Job { treatments, blocks, count, .. }) = (self.assignment, job);
        let (blocks, count) = (*blocks, *count);
        Ok(match &job.target {
            Target::Comparison(comparison) => {
                let job = LoopJob { comparison, treatments, blocks, count };
                let found = self.loops()?.measure(&job, &assignment.treatments);
                found.map(|samples| Samples::Loops(Box::new(samples))).map_err(|error| error.to_string())
            }
            Target::Workload(target) => {
                let (workload, seed, units, in_place) =
                    (target.workload.as_str(), target.seed, target.units, target.in_place);
                let job = WorkloadJob { workload, treatments, seed, blocks, units, count, in_place };
                let found = self.workloads()?.measure(&job, &assignment.treatments);
                found.map(|samples| Samples::Workload(Box::new(samples))).map_err(|error| error.to_string())
            }
        })
    }

    fn loops(&mut self) -> Result<&mut LoopBench, WorkerError> {
        self.workloads = None;
        match &mut self.loops {
            Some(bench) => Ok(bench),
            none => Ok(none.insert(LoopBench::new(self.ops.clone(), self.assignment.loop_conditions())?)),
        }
    }

    fn workloads(&mut self) -> Result<&mut WorkloadBench, WorkerError> {
        self.loops = None;
        let Assignment { seed, clock, .. } = *self.assignment;
        match &mut self.workloads {
            Some(bench) => Ok(bench),
            none => Ok(none.insert(WorkloadBench::new(&self.ops, self.entries.clone(), seed, clock)?)),
        }
    }
}

fn send(output: &mut impl Write, line: &WorkerLine) -> Result<(), WorkerError> {
    serde_json::to_writer(&mut *output, line)?;
    output.write_all(b"\n")?;
    output.flush()?;
    Ok(())
}
