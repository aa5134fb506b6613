//! A worker process: one assignment on standard input, JSON lines on standard output.

use std::io::{self, BufRead, Write};

use rustix::process::{Signal, set_parent_process_death_signal};

use super::sampler::{SampleError, Sampler};
use super::wire::{Assignment, WorkerLine};
use super::work::{self, WorkError};
use crate::host::{PinError, pin};
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
    /// The process could not be made ready.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The model machine could not be made.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The worker could not be pinned.
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// Reads an assignment, measures its tasks in order, and writes a line before and after each.
///
/// # Errors
/// [`WorkerError`] where the assignment cannot be parsed, the process cannot be made ready, or the parent is gone.
pub fn serve(
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
    if !assignment.tasks.is_empty() {
        measure_comparisons(ops.clone(), &assignment, output)?;
    }
    if !assignment.work.is_empty() {
        measure_workloads(&ops, entries, &assignment, output)?;
    }
    Ok(())
}

fn measure_comparisons(ops: Vec<OpEntry>, assignment: &Assignment, output: &mut impl Write) -> Result<(), WorkerError> {
    let mut sampler = Sampler::new(
        ops,
        assignment.seed,
        assignment.clock,
        assignment.window_cycles,
        assignment.counters,
        assignment.instructions,
    )?;
    sampler.min_adds_per_cycle = assignment.min_adds_per_cycle;
    for (index, task) in assignment.tasks.iter().enumerate() {
        send(output, &WorkerLine::Begin(index))?;
        let answer = match sampler.measure(task, &assignment.variants) {
            Ok(samples) => WorkerLine::Done(Box::new(samples)),
            Err(error) => WorkerLine::Failed(error.to_string()),
        };
        send(output, &answer)?;
    }
    Ok(())
}

/// Workloads come after the comparisons: the sampler is gone by then, with its CPU model and its `Text`.
fn measure_workloads(
    ops: &[OpEntry],
    entries: Vec<WorkloadEntry>,
    assignment: &Assignment,
    output: &mut impl Write,
) -> Result<(), WorkerError> {
    let mut worker = work::Worker::new(ops, entries, assignment.seed, assignment.clock)?;
    for (index, task) in assignment.work.iter().enumerate() {
        send(output, &WorkerLine::Begin(assignment.tasks.len() + index))?;
        let answer = match worker.measure(task, &assignment.kernels) {
            Ok(samples) => WorkerLine::Worked(Box::new(samples)),
            Err(error) => WorkerLine::Failed(error.to_string()),
        };
        send(output, &answer)?;
    }
    Ok(())
}

fn send(output: &mut impl Write, line: &WorkerLine) -> Result<(), WorkerError> {
    serde_json::to_writer(&mut *output, line)?;
    output.write_all(b"\n")?;
    output.flush()?;
    Ok(())
}
