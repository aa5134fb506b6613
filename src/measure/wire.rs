//! The messages between parent and worker: one assignment in, JSON lines out.

use serde::{Deserialize, Serialize};

use super::plan::{Comparison, Variant};
use super::work::{KernelVariant, WorkSamples, WorkTask};
use crate::clock::Clock;

/// The assignment of a worker, one line on its standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// Seed of the order within rounds.
    pub seed: u64,
    /// The comparisons to measure, in this order.
    pub tasks: Vec<Task>,
    /// The variants to measure against `inline`.
    pub variants: Vec<Variant>,
    /// The workloads to measure after the comparisons, in this order.
    pub work: Vec<WorkTask>,
    /// The kernels to run workloads on, other than the baseline.
    pub kernels: Vec<KernelVariant>,
    /// Shortest length of a window, in core cycles.
    pub window_cycles: u64,
    /// The CPU to pin the worker to.
    pub cpu: Option<usize>,
    /// The clock that times windows.
    pub clock: Clock,
    /// Independent adds per cycle below which a round is contended; 0 where this is unknown.
    pub min_adds_per_cycle: f64,
    /// Whether to count events with the hardware counters.
    pub counters: bool,
    /// Whether to count executed instructions.
    pub instructions: bool,
}

/// A comparison to measure, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The comparison.
    pub comparison: Comparison,
    /// Number of rounds.
    pub rounds: usize,
    /// The variants to measure, as rising indices into the assignment's variants. Absent: all.
    pub variants: Option<Vec<usize>>,
    /// Whether to count events and instructions in this task. One layout is enough, since all layouts have the same
    /// code.
    pub count: bool,
}

impl Assignment {
    /// Names the task with this index: a comparison or a workload.
    #[must_use]
    pub fn name(&self, index: usize) -> Option<String> {
        match self.tasks.get(index) {
            Some(task) => Some(task.comparison.to_string()),
            None => self.work.get(index - self.tasks.len()).map(|work| work.workload.clone()),
        }
    }

    /// Removes the first `count` tasks.
    pub fn skip(&mut self, count: usize) {
        let comparisons = count.min(self.tasks.len());
        self.tasks.drain(..comparisons);
        self.work.drain(..(count - comparisons).min(self.work.len()));
    }

    /// Number of comparisons and workloads.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len() + self.work.len()
    }

    /// Whether the assignment has no task.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Task {
    /// Estimates the cost of the task in windows, for a plan of `variants` variants. Copying, binding and sizing the
    /// loops costs about half a round.
    #[must_use]
    pub fn windows(&self, variants: usize) -> f64 {
        let variants = self.variants.as_ref().map_or(variants, Vec::len);
        (self.rounds as f64 + 0.5) * (2 * variants + 9) as f64
    }
}

/// A line from a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum WorkerLine {
    /// The worker begins the task with this index in the assignment; workloads follow the comparisons.
    Begin(usize),
    /// The comparison is measured.
    Done(Box<ComparisonSamples>),
    /// The workload is measured.
    Worked(Box<WorkSamples>),
    /// The task failed, with the reason; the worker continues with the next.
    Failed(String),
}

/// The samples of a comparison from one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComparisonSamples {
    /// The rounds, in order. Empty where none was steady.
    pub rounds: Vec<RoundSamples>,
    /// Rounds that were dropped and repeated: the machine changed during them, see
    /// [`steady`](crate::stats::effect::steady), or the core was contended.
    pub dropped: usize,
    /// The dropped rounds that ended after their first core throughput sample, before any variant was timed.
    pub given_up: usize,
    /// The variants that were measured, as indices into the assignment's variants.
    pub variants: Vec<usize>,
    /// The variants whose state this op never has, as indices into the assignment's variants.
    pub absent: Vec<usize>,
    /// The variants that this op should have, but which are unavailable.
    pub missing: Vec<UnavailableVariant>,
    /// Events per op by counter name of `inline`, then of each of `variants`. Empty without counters.
    pub counters: Vec<Vec<(String, f64)>>,
    /// Executed instructions per op of `inline`, then of each of `variants`, or why they could not be counted. Empty
    /// where the task asks for no counts.
    pub instructions: Vec<Result<f64, String>>,
    /// Smallest step of the clock, in ticks.
    pub clock_step: u64,
}

/// A variant without a loop.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnavailableVariant {
    /// Its index in the assignment.
    pub variant: usize,
    /// The reason.
    pub reason: String,
    /// Whether the rules of patching refuse it; otherwise this machine does not support it.
    pub refused: bool,
}

/// The two windows of a loop in a round, in ticks per op, in order of time. Both are 0 in a round that omits the loop.
pub type ReplicatePair = [f64; 2];

/// The samples of one palindromic round.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundSamples {
    /// Ticks per core cycle, from the dependent adds at both ends of the round.
    pub ticks_per_cycle: ReplicatePair,
    /// Independent adds per core cycle, the smaller of two windows: how much of the core this thread had.
    pub adds_per_cycle: f64,
    /// The `inline` loop.
    pub inline: ReplicatePair,
    /// The repeat of `inline`: the same loop at the same address, shuffled among the mechanisms.
    pub repeat: ReplicatePair,
    /// The copy of `inline` at another address.
    pub copy: ReplicatePair,
    /// The variants, in the order of [`ComparisonSamples::variants`].
    pub ticks: Vec<ReplicatePair>,
}

impl RoundSamples {
    /// The variants that are compared with `inline`: its repeat, its copy, the mechanisms.
    pub fn compared(&self) -> impl Iterator<Item = &ReplicatePair> {
        [&self.repeat, &self.copy].into_iter().chain(&self.ticks)
    }
}
