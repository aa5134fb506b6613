//! What passes between parent and worker about workloads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::Variant;
use super::wire::UnavailableVariant;
use crate::workload::PARTS;

/// A kernel that workloads run on, beside that with `inline` and no options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum KernelVariant {
    /// The hooks behind a mechanism.
    Mechanism(Variant),
    /// `inline`, with a kernel option.
    Option(String),
}

/// A workload, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkTask {
    /// Its name.
    pub workload: String,
    /// What the pace draws its work from, and what hooks are counted with: the same in all workers. Rounds draw theirs
    /// from this and the worker's seed.
    pub seed: u64,
    /// Rounds to make.
    pub rounds: usize,
    /// Units of a part of a run: the same for all workers, so that all do as much. Sized where it is absent.
    pub units: Option<u64>,
    /// Whether to count the calls of hooks, too.
    pub count: bool,
    /// Whether to leave kernels where the linker put them, for a profiler that knows functions by their place.
    #[serde(default)]
    pub in_place: bool,
    /// The kernels to measure, by their place in the assignment, each as often as it is there; all once where it is
    /// absent.
    pub only: Option<Vec<usize>>,
}

/// A workload's samples from one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkSamples {
    /// Units of a part of a run.
    pub units: u64,
    /// What all rounds took, with placing kernels and putting the machine back, in ticks.
    pub ticks: u64,
    /// Ticks per core cycle before and after each round.
    pub ticks_per_cycle: Vec<[f64; 2]>,
    /// The pace of each round: before, between and after its halves, in ticks, part by part.
    pub pace: Vec<[Parts; HALVES + 1]>,
    /// What one of several adds that wait for nothing took at the same times, in ticks: how much of the core there was.
    pub adds: Vec<[f64; HALVES + 1]>,
    /// `inline` twice, then again, then some times more, then those of `columns`; each at places of its own.
    pub kernels: Vec<Vec<Turn>>,
    /// Why kernels were measured where the linker had put them, and not at random places; absent where they were not.
    pub in_place: Option<String>,
    /// The columns that were measured, by their place in the assignment; one may be there several times, at as many
    /// places in memory.
    pub columns: Vec<usize>,
    /// Columns that could not be.
    pub missing: Vec<UnavailableVariant>,
    /// Calls per unit by op, where they were to be counted.
    pub calls: BTreeMap<String, f64>,
    /// Instructions per unit of `inline` and each of `columns`, or why they could not be counted; empty where none were
    /// to be.
    pub instructions: Vec<Instructions>,
    /// Events per unit by counter name, of the same; empty without counters.
    pub counters: Vec<Events>,
}

/// A round goes through all kernels so often: there, and back.
pub const HALVES: usize = 2;

/// What the parts of a run took, in ticks, to seven digits: a run of all workloads has a million of them.
pub type Parts = [f32; PARTS];

/// A kernel's runs in a round.
pub type Turn = [Parts; HALVES];

/// In [`WorkSamples::kernels`]: `inline` again.
pub const AGAIN: usize = 2;
/// In [`WorkSamples::kernels`]: `inline` at more places.
pub const FIRST_COPY: usize = 3;
/// How many of those.
pub const COPIES: usize = 3;
/// In [`WorkSamples::kernels`]: the first of the columns.
pub const FIRST_COLUMN: usize = FIRST_COPY + COPIES;

/// Executed instructions of a unit, or why they could not be counted.
pub type Instructions = Result<f64, String>;

/// Events of a kernel by counter name.
pub type Events = Vec<(String, f64)>;
