//! What is to be measured, and how hard.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Clock;
use crate::dispatch::{Mechanism, Platform};
use crate::patch::State;
use crate::regime::Regime;

/// How much effort a run makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Twelve ops of different shape, throughput alone: under 20 s.
    Quick,
    /// All ops and regimes at two layouts: under 120 s.
    Default,
    /// All ops and regimes at eight layouts, more rounds and workers.
    Full,
}

impl Preset {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Preset::Quick => "quick",
            Preset::Default => "default",
            Preset::Full => "full",
        }
    }

    /// Worker processes.
    #[must_use]
    pub fn workers(self) -> usize {
        match self {
            Preset::Quick => 20,
            Preset::Default => 10,
            Preset::Full => 30,
        }
    }

    /// Rounds per group and worker. An odd number has a middle.
    #[must_use]
    pub fn rounds(self) -> usize {
        match self {
            Preset::Quick => 9,
            Preset::Default => 5,
            Preset::Full => 9,
        }
    }

    /// How long the workers may take altogether: once the planned ones are through, groups that were disturbed are
    /// measured again until then. The planned ones go through in any case.
    #[must_use]
    pub fn budget(self) -> Duration {
        Duration::from_secs(match self {
            Preset::Quick => 11,
            Preset::Default => 112,
            Preset::Full => 20 * 60,
        })
    }

    /// Offsets of the loop head within 128 bytes. 0 and 29 were seen to differ by half a cycle; the eight of `full` go
    /// through both halves of a line pair and include odd ones.
    #[must_use]
    pub fn layouts(self) -> Vec<u32> {
        match self {
            Preset::Quick | Preset::Default => vec![0, 29],
            Preset::Full => vec![0, 16, 29, 45, 64, 77, 96, 115],
        }
    }
}

/// The ops of `--quick`, each of another shape: nothing, a real instruction, a modelled one, identity, store, load,
/// arguments from none to four, callee-save or not, cheap and dear.
pub const QUICK_OPS: [&str; 12] = [
    "save_fl",
    "irq_disable",
    "irq_enable",
    "pte_val",
    "make_pte",
    "set_pte",
    "read_cr2",
    "write_cr3",
    "alloc_pte",
    "ptep_modify_prot_commit",
    "queued_spin_unlock",
    "sched_clock",
];

/// The ops that the default run measures cold: a load, a store, a call of a value, one of a NOP. Making the machine
/// forget takes longer than measuring.
pub const COLD_OPS: [&str; 4] = ["pte_val", "irq_disable", "set_pte", "alloc_pte"];

/// One op in one regime at one layout: what is measured in the same rounds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The op's name.
    pub op: String,
    /// The body that the mechanisms are bound to. The baseline is native always.
    pub body: Platform,
    /// The loop.
    pub regime: Regime,
    /// Offset of every loop head within 128 bytes.
    pub offset: u32,
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Group { op, body, regime, offset } = self;
        write!(f, "{op}/{}/{}@{offset}", body.name(), regime.name())
    }
}

/// A mechanism, in one state where it is patchable: a column of the tables.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// The mechanism's name.
    pub mechanism: String,
    /// The state of its sites.
    pub state: Option<State>,
}

impl Column {
    /// The columns of a mechanism.
    #[must_use]
    pub fn of(mechanism: &Mechanism) -> Vec<Column> {
        let column = |state| Column { mechanism: mechanism.name.to_owned(), state };
        match mechanism.states {
            [] => vec![column(None)],
            states => states.iter().map(|state| column(Some(*state))).collect(),
        }
    }
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.state {
            Some(state) => write!(f, "{} ({state})", self.mechanism),
            None => f.write_str(&self.mechanism),
        }
    }
}

/// The plan of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// How it came about.
    pub preset: Preset,
    /// Where everything random comes from.
    pub seed: u64,
    /// Every group, to be measured by every worker.
    pub groups: Vec<Group>,
    /// What is measured beside `inline`.
    pub columns: Vec<Column>,
    /// How many worker processes.
    pub workers: usize,
    /// Until when disturbed groups are measured again, from the start of the first worker.
    pub budget: Duration,
    /// Palindromic rounds per group and worker.
    pub rounds: usize,
    /// The least length of a window in core cycles.
    pub window_cycles: u64,
    /// The CPU to pin workers to.
    pub cpu: Option<usize>,
    /// What windows are timed with.
    pub clock: Clock,
}

/// The least length of a window: the clock may step by 26 ticks, and 100,000 cycles make that 0.03%.
pub const WINDOW_CYCLES: u64 = 100_000;
