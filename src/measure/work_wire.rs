//! The messages between parent and worker about workloads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::Variant;
use super::wire::UnavailableVariant;
use crate::workload::PARTS;

/// A kernel that workloads run on, other than the baseline: `inline` without options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum KernelVariant {
    /// A kernel whose hooks go through a mechanism.
    Mechanism(Variant),
    /// `inline` with a kernel option.
    Option(String),
}

/// A workload to measure, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkTask {
    /// Name of the workload.
    pub workload: String,
    /// Seed of the reference run's work and of counted hooks, the same in all workers. The work of rounds is drawn from
    /// this and the worker's own seed.
    pub seed: u64,
    /// Number of rounds.
    pub rounds: usize,
    /// Units per part of a run, the same for all workers, so that all do the same work. The worker sizes the run where
    /// this is absent.
    pub units: Option<u64>,
    /// Whether to count the calls of hooks, instructions and events.
    pub count: bool,
    /// Whether to leave kernels at their linked addresses, for a profiler that knows functions by address.
    #[serde(default)]
    pub in_place: bool,
    /// The kernels to measure, as indices into the assignment's kernels; an index that is repeated gets as many copies.
    /// Absent: all kernels, once each.
    pub variants: Option<Vec<usize>>,
}

/// The samples of a workload from one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkSamples {
    /// Units per part of a run.
    pub units: u64,
    /// Time of all rounds in ticks, including copying kernels and rebuilding the machine.
    pub ticks: u64,
    /// Ticks per core cycle, before and after each round.
    pub ticks_per_cycle: Vec<[f64; 2]>,
    /// The reference runs of each round: before, between and after its halves, in ticks per part.
    pub reference_run: Vec<[Parts; HALVES + 1]>,
    /// Ticks per independent add at the times of the reference runs; they show the core throughput.
    pub adds: Vec<[f64; HALVES + 1]>,
    /// The runs of each kernel: `inline` twice, its repeat, its copies, then those of `variants`, each at its own
    /// address.
    pub kernels: Vec<Vec<Turn>>,
    /// Why the kernels stayed at their linked addresses; absent where they were copied to random addresses.
    pub in_place: Option<String>,
    /// The kernels that were measured, as indices into the assignment's kernels. A repeated index has copies at
    /// different addresses.
    pub variants: Vec<usize>,
    /// The kernels that are unavailable here.
    pub missing: Vec<UnavailableVariant>,
    /// Calls per unit by op, where the task asks for counts.
    pub calls: BTreeMap<String, f64>,
    /// Instructions per unit of `inline` and of each of `variants`, or why they could not be counted. Empty where the
    /// task asks for no counts.
    pub instructions: Vec<Instructions>,
    /// Events per unit by counter name, in the same order. Empty without counters.
    pub counters: Vec<Events>,
}

/// Halves per round: a palindrome visits all kernels forwards and then backwards.
pub const HALVES: usize = 2;

/// Ticks of each part of a run. Seven digits keep the samples short: a run of all workloads has a million of
/// them.
pub type Parts = [f32; PARTS];

/// The runs of one kernel in a round.
pub type Turn = [Parts; HALVES];

/// Index of the repeat of `inline` in [`WorkSamples::kernels`].
pub const REPEAT: usize = 2;
/// Index of the first further copy of `inline` in [`WorkSamples::kernels`].
pub const FIRST_COPY: usize = 3;
/// Number of further copies of `inline`.
pub const COPIES: usize = 3;
/// Index of the first variant in [`WorkSamples::kernels`].
pub const FIRST_VARIANT: usize = FIRST_COPY + COPIES;

/// Executed instructions per unit, or why they could not be counted.
pub type Instructions = Result<f64, String>;

/// Events per unit by counter name.
pub type Events = Vec<(String, f64)>;
