//! What passes between parent and worker: one assignment in, JSON lines out.

use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::plan::{Column, Group};

/// What a worker is asked to do, as one line on its standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// Seed of the order within rounds.
    pub seed: u64,
    /// The groups in the order to take them.
    pub groups: Vec<Group>,
    /// What to measure beside `inline`.
    pub columns: Vec<Column>,
    /// Rounds per group.
    pub rounds: usize,
    /// The least length of a window in core cycles.
    pub window_cycles: u64,
    /// The CPU to pin to.
    pub cpu: Option<usize>,
    /// What to time windows with.
    pub clock: Clock,
    /// Whether to count events with the hardware counters, too.
    pub counters: bool,
    /// Whether to count executed instructions, too.
    pub instructions: bool,
}

/// A line from a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Line {
    /// Now measuring the group with this index in the assignment.
    Begin(usize),
    /// The group is measured.
    Done(Box<GroupSamples>),
    /// The group could not be measured, and why; the worker goes on with the next.
    Failed(String),
}

/// The samples of a group from one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSamples {
    /// The rounds, in order.
    pub rounds: Vec<RoundSamples>,
    /// The columns that were measured, by their place in the assignment.
    pub columns: Vec<usize>,
    /// Columns for states that this op is never in, by their place in the assignment.
    pub absent: Vec<usize>,
    /// Columns that this op should have but has not.
    pub missing: Vec<Missing>,
    /// Events per op by counter name of `inline`, then of each of `columns`; empty without counters.
    pub counters: Vec<Vec<(String, f64)>>,
    /// Executed instructions per op of `inline`, then of each of `columns`, or why they could not be counted; empty where
    /// none were to be counted.
    pub instructions: Vec<Result<f64, String>>,
    /// The smallest step of the clock in ticks.
    pub clock_step: u64,
}

/// A column without a loop.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// Its place in the assignment.
    pub column: usize,
    /// Why.
    pub reason: String,
    /// Whether the rules of patching refuse it; otherwise this machine cannot do it.
    pub refused: bool,
}

/// One palindromic round: every value is the mean of two windows, in clock ticks per op.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundSamples {
    /// Ticks per core cycle, from the dependent adds.
    pub ticks_per_cycle: f64,
    /// Independent adds per core cycle: how much of the core this thread had, in the worse of two windows.
    pub adds_per_cycle: f64,
    /// `inline`.
    pub inline: f64,
    /// `inline` again: the same loop at the same address, among the mechanisms.
    pub again: f64,
    /// A copy of `inline` at another address.
    pub copy: f64,
    /// The columns, in the order of [`GroupSamples::columns`].
    pub ticks: Vec<f64>,
}
