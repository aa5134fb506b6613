//! The samples of a job: what a worker process sends, and estimates are made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use super::pairs::Pairs;
use super::variant::{TreatmentId, Variant};
use crate::op::{CodeIdentity, InstructionMix};
use crate::stats::surroundings::Surroundings;
use crate::workload::PARTS;

/// Visits of a variant in a block: a palindrome goes forwards, then backwards.
pub const HALVES: usize = 2;

/// The timings of a variant in a block, in order of time. A loop's timing is the ticks per op of a window; a workload's
/// timing has the [`Parts`] of a run.
pub type Pair<T> = [T; HALVES];

/// Ticks of each part of a run. Seven digits keep the samples short: a run of all workloads has a million of them.
pub type Parts = [f32; PARTS];

/// A probe of the core: the state of the machine at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f64, f64, Option<T>)", into = "(f64, f64, Option<T>)", bound(serialize = "T: Serialize + Copy"))]
pub struct Probe<T> {
    /// Ticks per core cycle, from dependent adds.
    pub ticks_per_cycle: f64,
    /// Ticks per independent add; they show how much of the core this thread had.
    pub ticks_per_add: f64,
    /// A run of the workload's reference on known work. Loops have none.
    pub reference_run: Option<T>,
}

impl<T> From<(f64, f64, Option<T>)> for Probe<T> {
    fn from((ticks_per_cycle, ticks_per_add, reference_run): (f64, f64, Option<T>)) -> Self {
        Probe { ticks_per_cycle, ticks_per_add, reference_run }
    }
}

impl<T> From<Probe<T>> for (f64, f64, Option<T>) {
    fn from(probe: Probe<T>) -> Self {
        (probe.ticks_per_cycle, probe.ticks_per_add, probe.reference_run)
    }
}

/// The samples of one block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(serialize = "T: Serialize + Copy"))]
pub struct Block<T> {
    /// The probes in order of time. A workload has one before, between and after the halves; a loop before and after.
    pub probes: Vec<Probe<T>>,
    /// The timings of each of the job's [`variants`](JobSamples::variants).
    pub pairs: Pairs<T>,
}

impl<T: Copy> Block<T> {
    /// Ticks per core cycle before and after the block.
    #[must_use]
    pub fn ticks_per_cycle(&self) -> [f64; 2] {
        [self.probes.first(), self.probes.last()].map(|probe| probe.map_or(f64::NAN, |probe| probe.ticks_per_cycle))
    }

    /// Ticks per core cycle, averaged over the block.
    #[must_use]
    pub(crate) fn mean_ticks_per_cycle(&self) -> f64 {
        let [before, after] = self.ticks_per_cycle();
        f64::midpoint(before, after)
    }

    /// Independent adds per core cycle: how much of the core this thread had. The shorter cycle and the longer add
    /// count, because an interrupt must not look like a wide core.
    #[must_use]
    pub(crate) fn adds_per_cycle(&self) -> f64 {
        let cycle = self.probes.iter().map(|probe| probe.ticks_per_cycle).fold(f64::INFINITY, f64::min);
        cycle / self.probes.iter().map(|probe| probe.ticks_per_add).fold(f64::NAN, f64::max)
    }
}

/// The samples of a job: a table with a column per variant and a row per block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(serialize = "T: Serialize + Copy"))]
pub struct JobSamples<T> {
    /// The keys of the columns. A kernel with several placements in a block has as many columns.
    pub variants: Vec<Variant>,
    /// The blocks in order of time. Empty where none was steady.
    pub blocks: Vec<Block<T>>,
    /// The treatments that were not measured.
    pub unavailable: Vec<UnavailableTreatment>,
    /// Events and instructions of the reference and of each treatment. Empty where the job asks for no counts.
    pub counts: Vec<VariantCounts>,
}

impl<T: Copy> JobSamples<T> {
    /// Gives back the room that reading left unused: a run keeps the samples of all its jobs to its end.
    pub(crate) fn shrink(&mut self) {
        self.variants.shrink_to_fit();
        self.blocks.shrink_to_fit();
        for block in &mut self.blocks {
            block.probes.shrink_to_fit();
        }
    }

    /// Lists the columns: their keys, and their timings by block.
    pub fn columns(&self) -> impl Iterator<Item = (Variant, Column<'_, T>)> {
        self.variants.iter().enumerate().map(|(index, variant)| (*variant, Column { blocks: &self.blocks, index }))
    }

    /// Returns the first column of a variant; `None` where it was not measured.
    #[must_use]
    pub fn column(&self, variant: Variant) -> Option<Column<'_, T>> {
        self.columns().find(|(found, _)| *found == variant).map(|(_, column)| column)
    }
}

/// The timings of one column of a job's samples.
#[derive(Clone, Copy)]
pub struct Column<'a, T> {
    blocks: &'a [Block<T>],
    index: usize,
}

impl<'a, T: Copy> Column<'a, T> {
    /// Returns the timings in a block of this job; `None` where the block left the variant out.
    #[must_use]
    pub(crate) fn pair_in(self, block: &Block<T>) -> Option<Pair<T>> {
        block.pairs.get(self.index)
    }

    /// Lists the timings by block.
    pub fn pairs(self) -> impl Iterator<Item = Option<Pair<T>>> + use<'a, T> {
        self.blocks.iter().map(move |block| self.pair_in(block))
    }
}

/// A treatment that was not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnavailableTreatment {
    /// The treatment.
    pub treatment: TreatmentId,
    /// The reason.
    pub why: Unavailability,
}

/// The reason why a treatment was not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Unavailability {
    /// The op never has this state, by Linux's rules.
    Never,
    /// The rules of patching refuse the state, for this reason.
    Refused(String),
    /// This machine or build does not support it, for this reason.
    Unsupported(String),
}

impl Unavailability {
    /// Returns the reason; `None` for a state that the op never has.
    #[must_use]
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Unavailability::Never => None,
            Unavailability::Refused(reason) | Unavailability::Unsupported(reason) => Some(reason),
        }
    }
}

/// Executed instructions per op or unit, or why they could not be counted.
pub type InstructionCount = Result<f64, String>;

/// The counts of a variant, per op or unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantCounts {
    /// The variant.
    pub variant: Variant,
    /// Executed instructions; `None` where the process cannot be traced.
    pub instructions: Option<InstructionCount>,
    /// Instructions by class; `None` where they were not counted, or where the passes of a loop differ in them.
    /// Workloads have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<InstructionMix>,
    /// Identity of the code; `None` where it cannot be decoded. Workloads have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeIdentity>,
    /// Events by counter name; `None` without counters.
    pub(crate) events: Option<BTreeMap<String, f64>>,
}

/// The samples of a comparison from one worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoopSamples {
    /// The table of samples.
    pub table: JobSamples<f64>,
    /// Blocks that were dropped and repeated: the machine changed during them, see
    /// [`steady`](crate::stats::effect::steady), or the core was contended.
    pub dropped: usize,
    /// The dropped blocks that ended after their first probe, before any variant was timed.
    pub given_up: usize,
    /// Smallest step of the clock, in ticks.
    pub clock_step: u64,
}

/// The samples of a workload from one worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSamples {
    /// The table of samples. The reference has two columns, each at its own address.
    pub table: JobSamples<Parts>,
    /// Units per part of a run.
    pub units: u64,
    /// Time of all blocks in ticks, including copying kernels and rebuilding the machine.
    pub ticks: u64,
    /// Why the kernels stayed at their linked addresses; absent where they were copied to random addresses.
    pub in_place: Option<String>,
    /// Calls per unit by op, where the job asks for counts.
    pub calls: BTreeMap<String, f64>,
    /// What surrounds the calls through the table, where the job asks for counts and the process can be traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surroundings: Option<Surroundings>,
}
