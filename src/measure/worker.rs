//! A worker process: one assignment on standard input, JSON lines on standard output.

use std::io::{self, BufRead, Write};

use rustix::process::{Signal, set_parent_process_death_signal};

use super::sampler::{SampleError, Sampler};
use super::wire::{Assignment, WorkerLine};
use super::work::{self, WorkError};
use crate::host::{PinError, pin};
use crate::suite::OpEntry;
use crate::workload::WorkloadEntry;

/// Why a worker ended early.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Its pipe to or from the parent.
    #[error("a worker's pipe: {0}")]
    Pipe(#[from] io::Error),
    /// The assignment.
    #[error("a worker is started by `pvbench run`, with an assignment on its standard input: {0}")]
    Assignment(#[from] serde_json::Error),
    /// The process could not be made ready.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The model machine.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// Pinning.
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// Reads an assignment, measures its groups in order, and writes a line before and after each.
///
/// # Errors
/// Where the assignment does not parse, the process cannot be made ready, or the parent is gone.
pub fn serve(
    ops: Vec<OpEntry>,
    entries: Vec<WorkloadEntry>,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Result<(), WorkerError> {
    // A parent that was killed leaves no worker behind. It may have been killed before this line: then the pipe is
    // closed, and the first write fails.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    let assignment: Assignment = serde_json::from_slice(line.as_bytes())?;
    if let Some(cpu) = assignment.cpu {
        pin(cpu)?;
    }
    if !assignment.tasks.is_empty() {
        groups(ops.clone(), &assignment, output)?;
    }
    if !assignment.work.is_empty() {
        workloads(&ops, entries, &assignment, output)?;
    }
    Ok(())
}

fn groups(ops: Vec<OpEntry>, assignment: &Assignment, output: &mut impl Write) -> Result<(), WorkerError> {
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
        let answer = match sampler.group(task, &assignment.columns) {
            Ok(samples) => WorkerLine::Done(Box::new(samples)),
            Err(error) => WorkerLine::Failed(error.to_string()),
        };
        send(output, &answer)?;
    }
    Ok(())
}

/// After the groups: the sampler is gone, and with it its CPU model and its hold on the text.
fn workloads(
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
