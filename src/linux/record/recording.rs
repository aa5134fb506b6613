//! A recording: what a window of a workload executed, instruction by instruction.
//!
//! ```text
//! code       every instruction that was executed: address, length, class
//! runs       rows of instructions that follow each other
//! sequence   the runs, in the order of execution
//! rounds     iterations of each executed `rep`
//! touches    lines of data, in the order of execution
//! ```
//!
//! A recording has no machine code and no data of the kernel: addresses, classes and lines only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the format.
pub const VERSION: u32 = 1;
pub use crate::stats::surroundings::LINE_BITS;

/// The kind of an instruction. Each has one; an instruction that fits several has the first of this list that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A call of a hook, with the index of its op in [`About::ops`].
    Hook(u16),
    /// An instruction that only the kernel may execute, or a system call; with its index in [`About::privileged`].
    Privileged(u16),
    /// A return.
    Return,
    /// A call of an address that the instruction names.
    Call,
    /// A call or jump through a register or memory.
    Indirect,
    /// A conditional branch.
    Branch,
    /// A jump.
    Jump,
    /// An instruction that writes memory.
    Store,
    /// An instruction that reads memory.
    Load,
    /// Any other.
    Other,
}

impl Class {
    /// Names in output, in the order of [`Class::index`].
    pub const NAMES: [&'static str; 10] =
        ["hook", "privileged", "return", "call", "indirect", "branch", "jump", "store", "load", "other"];

    /// The index of its name.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Class::Hook(_) => 0,
            Class::Privileged(_) => 1,
            Class::Return => 2,
            Class::Call => 3,
            Class::Indirect => 4,
            Class::Branch => 5,
            Class::Jump => 6,
            Class::Store => 7,
            Class::Load => 8,
            Class::Other => 9,
        }
    }
}

/// An instruction of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Its address.
    pub address: u64,
    /// Its length in bytes.
    pub length: u8,
    /// Its class.
    pub class: Class,
    /// Whether it repeats itself (`rep`).
    pub is_rep: bool,
}

impl Instruction {
    /// The line of its first byte.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.address >> LINE_BITS
    }

    /// The line of its last byte.
    #[must_use]
    pub fn last_line(&self) -> u64 {
        self.address.wrapping_add(u64::from(self.length.max(1) - 1)) >> LINE_BITS
    }

    /// Whether it belongs to a process.
    #[must_use]
    pub fn is_user(&self) -> bool {
        self.address >> 47 == 0
    }
}

/// A row of instructions: `length` of the code from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Index of the first.
    pub first: u32,
    /// Their number.
    pub length: u32,
}

/// An access to a line of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The line.
    pub line: u64,
    /// Whether it was written.
    pub is_store: bool,
}

/// What was recorded, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// Name of the workload.
    pub workload: String,
    /// Name of its unit.
    pub unit: String,
    /// Units in the window.
    pub units: u64,
    /// The kernel.
    pub kernel: Kernel,
    /// Names of ops, in the order of [`Class::Hook`].
    pub ops: Vec<String>,
    /// Names of instructions, in the order of [`Class::Privileged`].
    pub privileged: Vec<String>,
    /// Executed instructions of the window outside of interrupts; a `rep` counts once, and once an iteration.
    pub instructions: u64,
    /// Executed instructions of interrupts, which the window leaves out.
    pub interrupts: u64,
    /// The repetitions that the window is a part of.
    pub whole: Whole,
}

/// A kernel and the emulator that ran it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Version line.
    pub release: Option<String>,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Description of the layout of its pv_ops.
    pub layout: String,
    /// Boot parameters that were added.
    pub append: String,
    /// Version of QEMU.
    pub qemu: String,
    /// CPU model of the guest.
    pub cpu: String,
    /// SHA-256 of the guest's init process.
    pub init_sha256: String,
}

/// The repetitions of a workload, without the first: the same as `pvbench linux ab` counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whole {
    /// Repetitions with the first, which is a quarter as long and left out.
    pub reps: u64,
    /// Units, in percent of the usual number.
    pub scale_percent: u64,
    /// Units.
    pub units: u64,
    /// Executed instructions, by the clock of the guest.
    pub instructions: u64,
    /// Those of interrupts, by the recorder.
    pub interrupts: u64,
    /// Instructions of the guest's clock that the recorder did not see; negative if it saw more. 0 in a good recording.
    pub unexplained: i64,
    /// Calls of hooks by op, outside of interrupts.
    pub calls: BTreeMap<String, u64>,
    /// Calls of hooks by op, within interrupts.
    pub calls_in_interrupts: BTreeMap<String, u64>,
}

/// A recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// What was recorded, and where.
    pub about: About,
    /// The executed instructions, by address.
    pub code: Vec<Instruction>,
    /// The rows of instructions.
    pub runs: Vec<Run>,
    /// Indexes of the executed runs.
    pub sequence: Vec<u32>,
    /// Iterations of each executed `rep`.
    pub rounds: Vec<u64>,
    /// Number of touches in each executed run.
    pub touch_counts: Vec<u32>,
    /// The touches of all executed runs.
    pub touches: Vec<Touch>,
}

/// An executed run.
#[derive(Clone, Copy, Debug)]
pub struct Execution<'a> {
    /// Its instructions.
    pub code: &'a [Instruction],
    /// Iterations of its `rep` instructions, in order.
    pub rounds: &'a [u64],
    /// The lines of data that it touched, in order.
    pub touches: &'a [Touch],
}

impl Recording {
    /// The instructions of a run.
    #[must_use]
    pub fn code_of(&self, run: u32) -> &[Instruction] {
        let run = self.runs.get(run as usize);
        let range = run.map(|run| run.first as usize..(run.first as usize).saturating_add(run.length as usize));
        range.and_then(|range| self.code.get(range)).unwrap_or_default()
    }

    /// The executed runs, in order.
    pub fn executions(&self) -> impl Iterator<Item = Execution<'_>> {
        let reps: Vec<usize> = (0..self.runs.len() as u32)
            .map(|run| self.code_of(run).iter().filter(|instruction| instruction.is_rep).count())
            .collect();
        let (mut round, mut touch) = (0usize, 0usize);
        self.sequence.iter().zip(&self.touch_counts).map(move |(run, touches)| {
            let reps = reps.get(*run as usize).copied().unwrap_or(0);
            let rounds = self.rounds.get(round..round.saturating_add(reps)).unwrap_or_default();
            let touches = *touches as usize;
            let touched = self.touches.get(touch..touch.saturating_add(touches)).unwrap_or_default();
            round = round.saturating_add(reps);
            touch = touch.saturating_add(touches);
            Execution { code: self.code_of(*run), rounds, touches: touched }
        })
    }

    /// Executed instructions, with every iteration of a `rep`.
    #[must_use]
    pub fn count_instructions(&self) -> u64 {
        let rounds: u64 = self.rounds.iter().fold(0, |sum, rounds| sum.saturating_add(*rounds));
        self.sequence.iter().map(|run| self.code_of(*run).len() as u64).sum::<u64>().saturating_add(rounds)
    }
}
