//! What passes between parent and worker: one assignment in, JSON lines out.

use serde::{Deserialize, Serialize};

use super::plan::{Comparison, Variant};
use super::work::{KernelVariant, WorkSamples, WorkTask};
use crate::clock::Clock;

/// What a worker is asked to do, as one line on its standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// Seed of the order within rounds.
    pub seed: u64,
    /// What to measure, in the order to take it.
    pub tasks: Vec<Task>,
    /// What there is to measure beside `inline`.
    pub columns: Vec<Variant>,
    /// Workloads to measure after them, in the order to take them.
    pub work: Vec<WorkTask>,
    /// The kernels to measure them on, beside that with `inline`.
    pub kernels: Vec<KernelVariant>,
    /// The least length of a window in core cycles.
    pub window_cycles: u64,
    /// The CPU to pin to.
    pub cpu: Option<usize>,
    /// What to time windows with.
    pub clock: Clock,
    /// Below so many independent adds per cycle something else has part of the core; 0 where that is not known.
    pub min_adds_per_cycle: f64,
    /// Whether to count events with the hardware counters, too.
    pub counters: bool,
    /// Whether to count executed instructions, too.
    pub instructions: bool,
}

/// A group, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The group.
    pub group: Comparison,
    /// Rounds to make.
    pub rounds: usize,
    /// The columns to measure, by their place in the assignment, rising; all where it is absent.
    pub only: Option<Vec<usize>>,
    /// Whether this is the task to count events and instructions in, if they are to be counted: one of the layouts is
    /// enough, all have the same code.
    pub count: bool,
}

impl Assignment {
    /// What the task with this index is of: a group, or a workload.
    #[must_use]
    pub fn place(&self, index: usize) -> Option<String> {
        match self.tasks.get(index) {
            Some(task) => Some(task.group.to_string()),
            None => self.work.get(index - self.tasks.len()).map(|work| work.workload.clone()),
        }
    }

    /// Leaves out the first `count` tasks.
    pub fn skip(&mut self, count: usize) {
        let groups = count.min(self.tasks.len());
        self.tasks.drain(..groups);
        self.work.drain(..(count - groups).min(self.work.len()));
    }

    /// Groups and workloads.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len() + self.work.len()
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Task {
    /// What it takes, in windows, with `columns` of them in the plan: those of its rounds, and about half a round for
    /// copying, binding and sizing the loops.
    #[must_use]
    pub fn windows(&self, columns: usize) -> f64 {
        let columns = self.only.as_ref().map_or(columns, Vec::len);
        (self.rounds as f64 + 0.5) * (2 * columns + 9) as f64
    }
}

/// A line from a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum WorkerLine {
    /// Now at the task with this index in the assignment, workloads counted on from the groups.
    Begin(usize),
    /// Its group is measured.
    Done(Box<GroupSamples>),
    /// Its workload is measured.
    Worked(Box<WorkSamples>),
    /// Its group could not be measured, and why; the worker goes on with the next.
    Failed(String),
}

/// The samples of a group from one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSamples {
    /// The rounds, in order. None where not one was steady.
    pub rounds: Vec<RoundSamples>,
    /// Rounds that were dropped because the machine changed in the middle, see
    /// [`steady`](crate::stats::effect::steady), or because the core was shared; others were made in their place.
    pub dropped: usize,
    /// Those among them that were given up at their first look at the core, before anything was measured.
    pub given_up: usize,
    /// The columns that were measured, by their place in the assignment.
    pub columns: Vec<usize>,
    /// Columns for states that this op is never in, by their place in the assignment.
    pub absent: Vec<usize>,
    /// Columns that this op should have but has not.
    pub missing: Vec<UnavailableVariant>,
    /// Events per op by counter name of `inline`, then of each of `columns`; empty without counters.
    pub counters: Vec<Vec<(String, f64)>>,
    /// Executed instructions per op of `inline`, then of each of `columns`, or why they could not be counted; empty
    /// where none were to be counted.
    pub instructions: Vec<Result<f64, String>>,
    /// The smallest step of the clock in ticks.
    pub clock_step: u64,
}

/// A column without a loop.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnavailableVariant {
    /// Its place in the assignment.
    pub column: usize,
    /// Why.
    pub reason: String,
    /// Whether the rules of patching refuse it; otherwise this machine cannot do it.
    pub refused: bool,
}

/// The two windows of a loop in a palindromic round, in clock ticks per op, in the order of time. Both are 0 in a round
/// that the loop had no part in.
pub type ReplicatePair = [f64; 2];

/// One palindromic round.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundSamples {
    /// Ticks per core cycle, from the dependent adds before and after all else.
    pub ticks_per_cycle: ReplicatePair,
    /// Independent adds per core cycle: how much of the core this thread had, in the worse of two windows.
    pub adds_per_cycle: f64,
    /// `inline`.
    pub inline: ReplicatePair,
    /// `inline` again: the same loop at the same address, among the mechanisms.
    pub again: ReplicatePair,
    /// A copy of `inline` at another address.
    pub copy: ReplicatePair,
    /// The columns, in the order of [`GroupSamples::columns`].
    pub ticks: Vec<ReplicatePair>,
}

impl RoundSamples {
    /// What is compared with `inline`: itself, its copy, the columns.
    pub fn compared(&self) -> impl Iterator<Item = &ReplicatePair> {
        [&self.again, &self.copy].into_iter().chain(&self.ticks)
    }
}
