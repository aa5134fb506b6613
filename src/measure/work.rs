//! Workloads in palindromic rounds.
//!
//! A round is `C m1 .. mk mk .. m1 C` in the words of the [`sampler`](super::sampler), with runs of a workload in place of
//! loops and `inline` among the others: a run is so many units that `inline` takes half a millisecond, timed in parts, on a
//! machine put back to what it was after boot before each. Every run does the same work, in all rounds and all workers, and
//! must come to the same checksum; so the same part of it takes the same time whenever nothing comes in between.
//!
//! Every kernel is copied to random places before it is measured, functions shuffled, in each worker anew: what their place
//! in memory does to them differs between workers, and so is a part of every interval. `inline` is there several times, at
//! as many places: twice as what all is held against, again, and some more.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use super::calibration::{ADDS, chain};
use super::clock::Clock;
use super::counters::Counters;
use super::executed::Unit;
use super::plan::Column;
use super::trace::Tracer;
use super::window::Window;
use super::wire::Missing;
use crate::dispatch::Platform;
use crate::kernel::{Machine, MachineError};
use crate::patch::site::Kind;
use crate::patch::{CallTree, CodeMemory, FunctionError, PatchError, State, Target, Text, rules, text};
use crate::suite::OpEntry;
use crate::workload::{Entry, Failure, Outcome, PARTS, Run, count_hooks};

/// A kernel that workloads run on, beside that with `inline` and no options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum KernelColumn {
    /// The hooks behind a mechanism.
    Mechanism(Column),
    /// `inline`, with a kernel option.
    Option(String),
}

/// A workload, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkTask {
    /// Its name.
    pub workload: String,
    /// What it does it draws from this: the same in all workers.
    pub seed: u64,
    /// Rounds to make.
    pub rounds: usize,
    /// Units of a part of a run: the same for all workers, so that all do the same work. Sized where it is absent.
    pub units: Option<u64>,
    /// Whether to count the calls of hooks, too.
    pub count: bool,
    /// Whether to leave kernels where the linker put them, for a profiler that knows functions by their place.
    #[serde(default)]
    pub in_place: bool,
}

/// A workload's samples from one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkSamples {
    /// Units of a part of a run.
    pub units: u64,
    /// Ticks per core cycle before and after each round.
    pub ticks_per_cycle: Vec<[f64; 2]>,
    /// `inline` twice, then again, then some times more, then those of `columns`; each at places of its own.
    pub kernels: Vec<Vec<Turn>>,
    /// Why kernels were measured where the linker had put them, and not at random places; absent where they were not.
    pub in_place: Option<String>,
    /// The columns that were measured, by their place in the assignment.
    pub columns: Vec<usize>,
    /// Columns that could not be.
    pub missing: Vec<Missing>,
    /// Calls per unit by op, where they were to be counted.
    pub calls: BTreeMap<String, f64>,
    /// Instructions per unit of `inline` and each of `columns`, or why they could not be counted; empty where none were to be.
    pub instructions: Vec<Instructions>,
    /// Events per unit by counter name, of the same; empty without counters.
    pub counters: Vec<Events>,
}

/// A kernel's two runs in a round, in ticks, part by part.
pub type Turn = [[u64; PARTS]; 2];

/// In [`WorkSamples::kernels`]: `inline` again.
pub const AGAIN: usize = 2;
/// In [`WorkSamples::kernels`]: `inline` at more places.
pub const FIRST_COPY: usize = 3;
/// How many of those.
pub const COPIES: usize = 3;
/// In [`WorkSamples::kernels`]: the first of the columns.
pub const FIRST_COLUMN: usize = FIRST_COPY + COPIES;

/// Why a workload could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// No such workload.
    #[error("there is no workload '{0}' in this build")]
    Unknown(String),
    /// No such kernel.
    #[error("there is no kernel with '{0}' in this build")]
    UnknownKernel(String),
    /// The machine.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Patching.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// A unit of it failed.
    #[error("{workload} with {kernel}: {trouble}")]
    Trouble {
        /// The workload.
        workload: String,
        /// The kernel it ran on.
        kernel: String,
        /// What it came to.
        trouble: Failure,
    },
    /// Two kernels came to different ends.
    #[error(
        "{workload}: the checksum with {kernel} is {found:#018x}, with {other} {expected:#018x}; one of them is wrong"
    )]
    Checksum {
        /// The workload.
        workload: String,
        /// A kernel.
        kernel: String,
        /// Another one, that ran before it.
        other: String,
        /// What that came to.
        expected: u64,
        /// What the kernel came to.
        found: u64,
    },
}

/// `inline` takes so many cycles in a run: half a millisecond at 3 GHz. What caches and predictors hold when a run begins
/// moves all of it by a percent, so many short runs say more than few long ones.
pub const WINDOW_CYCLES: u64 = 1_500_000;

/// Kernel options are in one of so many rounds, the first.
const OPTIONS_EVERY: usize = 4;

/// Measures workloads in this process.
pub struct Worker {
    entries: Vec<Entry>,
    machine: Machine,
    clock: Clock,
    rng: Pcg64Mcg,
    calibration: Window,
    text: Result<Text, PatchError>,
    targets: BTreeMap<usize, Target>,
    /// What the sites of each kind are now.
    now: BTreeMap<Kind, State>,
}

/// A kernel of a round.
struct Ready {
    name: String,
    /// As compiled.
    run: Run,
    /// As it is measured: the same at random places.
    placed: Run,
    sites: Option<(Kind, State)>,
    is_option: bool,
}

impl Ready {
    fn new(name: String, run: Run, sites: Option<(Kind, State)>, is_option: bool) -> Self {
        Ready { name, run, placed: run, sites, is_option }
    }
}

/// Why kernels stay where they are.
#[derive(Debug, thiserror::Error)]
enum PlaceError {
    /// Nobody wants copies.
    #[error("it was asked for")]
    Unwanted,
    /// A copy.
    #[error(transparent)]
    Function(#[from] FunctionError),
    /// A state.
    #[error(transparent)]
    Patch(#[from] PatchError),
}

impl Worker {
    /// Gets this process ready. There is no other `Text` in it, and no other thread.
    ///
    /// # Errors
    /// Where there is no memory for the machine, or no segment base.
    pub fn new(ops: &[OpEntry], entries: Vec<Entry>, seed: u64, clock: Clock) -> Result<Self, WorkError> {
        let calibration = Window { run: chain, copied: None, args: [0; 4], passes: 100_000 / ADDS, ops_per_pass: ADDS };
        // A kernel calls ops that the suite need not have.
        let on_kernel = entries.iter().any(|entry| !entry.options.is_empty());
        let mut targets = if on_kernel { rules::targets(Platform::Native) } else { BTreeMap::new() };
        targets.extend(ops.iter().map(|op| (op.slot, op.target(Platform::Native))));
        Ok(Worker {
            entries,
            machine: Machine::new()?,
            clock,
            rng: Pcg64Mcg::seed_from_u64(seed),
            calibration,
            // SAFETY: a worker has no other thread and makes one of these.
            text: unsafe { Text::own() },
            targets,
            now: BTreeMap::new(),
        })
    }

    /// Measures one workload on `columns`.
    ///
    /// # Errors
    /// Where a name is of nothing in this build, the workload fails, or its checksum is not the same on all kernels.
    pub fn measure(&mut self, task: &WorkTask, columns: &[KernelColumn]) -> Result<WorkSamples, WorkError> {
        let index = self.entries.iter().position(|entry| entry.meta.name == task.workload);
        let index = index.ok_or_else(|| WorkError::Unknown(task.workload.clone()))?;
        let entry = &self.entries[index];
        let inline = entry.variants[0].run;
        let mut kernels: Vec<Ready> =
            (0..FIRST_COLUMN).map(|_| Ready::new("inline".to_owned(), inline, None, false)).collect();
        let (mut present, mut missing) = (Vec::new(), Vec::new());
        for (column, wanted) in columns.iter().enumerate() {
            match self.ready(&self.entries[index], wanted)? {
                Ok(ready) => {
                    kernels.push(ready);
                    present.push(column);
                }
                Err(reason) => missing.push(Missing { column, reason, refused: false }),
            }
        }
        // Kept while the copies are used.
        let placed = if task.in_place { Err(PlaceError::Unwanted) } else { self.place(&mut kernels) };
        let in_place = placed.as_ref().err().map(ToString::to_string);
        let units = task.units.map_or_else(|| self.size(task, &kernels[0]), Ok)?;
        let mut turns = vec![Vec::with_capacity(task.rounds); kernels.len()];
        let mut rounds = Vec::with_capacity(task.rounds);
        for number in 0..task.rounds {
            // Mechanisms are what is asked for, options what they are compared with: fewer rounds do for those.
            rounds.push(self.round(task, units, &kernels, number.is_multiple_of(OPTIONS_EVERY), &mut turns)?);
        }
        let mut calls = BTreeMap::new();
        if task.count {
            let counted = count_hooks(&self.entries[index], &mut self.machine, task.seed, COUNTED);
            let counted = counted.map_err(|trouble| failed(&task.workload, "counted hooks", trouble))?;
            calls = counted
                .into_iter()
                .map(|(op, calls)| (op.to_owned(), calls as f64 / (COUNTED * (1 + PARTS as u64)) as f64))
                .collect();
        }
        let counted = std::iter::once(&kernels[0]).chain(&kernels[FIRST_COLUMN..]);
        let (counters, instructions) =
            if task.count { self.executed(task, units, counted)? } else { (Vec::new(), Vec::new()) };
        Ok(WorkSamples {
            units,
            ticks_per_cycle: rounds,
            kernels: turns,
            in_place,
            columns: present,
            missing,
            calls,
            instructions,
            counters,
        })
    }

    /// Events and instructions per unit with each kernel, in their order; none of what cannot be counted here.
    fn executed<'k>(
        &mut self,
        task: &WorkTask,
        units: u64,
        kernels: impl Iterator<Item = &'k Ready>,
    ) -> Result<(Vec<Events>, Vec<Instructions>), WorkError> {
        let (mut events, mut instructions) = (Vec::new(), Vec::new());
        let (mut tracer, mut counters) = (Tracer::install().ok(), Counters::open().ok());
        // As many for all kernels as the first says.
        let mut traced = None;
        for kernel in kernels {
            self.bring(kernel)?;
            let mut unit = Unit { run: kernel.run, machine: &mut self.machine, seed: TRACED_SEED, units: 1 };
            if let Some(tracer) = &mut tracer {
                let counted = unit.instructions(tracer).and_then(|once| {
                    unit.units = *traced.get_or_insert(((TRACED / once) as u64).max(1));
                    if unit.units == 1 { Ok(once) } else { unit.instructions(tracer) }
                });
                instructions.push(counted.map_err(|error| error.to_string()));
            }
            if let Some(counters) = &mut counters {
                (unit.seed, unit.units) = (task.seed, units);
                let counted = unit.events(counters);
                events.push(counted.map_err(|trouble| failed(&task.workload, &kernel.name, trouble))?);
            }
        }
        Ok((events, instructions))
    }

    /// A column's kernel, or why it cannot be had here.
    fn ready(&self, entry: &Entry, column: &KernelColumn) -> Result<Result<Ready, String>, WorkError> {
        let column = match column {
            KernelColumn::Option(name) => {
                let option = entry.options.iter().find(|option| option.name == name);
                if entry.options.is_empty() {
                    return Ok(Err("an option of the model kernel, which this workload does not run on".to_owned()));
                }
                let option = option.ok_or_else(|| WorkError::UnknownKernel(name.clone()))?;
                return Ok(Ok(Ready::new(name.clone(), option.run, None, true)));
            }
            KernelColumn::Mechanism(column) => column,
        };
        let variant = entry.variants.iter().find(|variant| variant.mechanism.name == column.mechanism);
        let variant = variant.ok_or_else(|| WorkError::UnknownKernel(column.to_string()))?;
        if let Some(reason) = (variant.unavailable)() {
            return Ok(Err(reason));
        }
        let sites = match (column.state, variant.mechanism.sites, &self.text) {
            (None, ..) => None,
            (Some(state), Some(kind), Ok(_)) => Some((kind, state)),
            (Some(_), Some(_), Err(error)) => return Ok(Err(error.to_string())),
            (Some(_), None, _) => return Err(WorkError::UnknownKernel(column.to_string())),
        };
        Ok(Ok(Ready::new(column.to_string(), variant.run, sites, false)))
    }

    /// Copies every kernel, with its sites in its state, to random places: all of them or none.
    fn place(&mut self, kernels: &mut [Ready]) -> Result<CodeMemory, PlaceError> {
        let mut trees = Vec::with_capacity(kernels.len());
        for kernel in kernels.iter() {
            self.bring(kernel)?;
            // SAFETY: a workload is a compiled function.
            trees.push(unsafe { CallTree::of(kernel.run as *const () as usize) }?);
        }
        let near = kernels.first().map_or(0, |kernel| kernel.run as *const () as usize);
        let mut memory = CodeMemory::new(near, trees.iter().map(CallTree::room).sum()).map_err(FunctionError::from)?;
        let mut places = Vec::with_capacity(kernels.len());
        for tree in &trees {
            places.push(tree.place(&mut memory, &mut self.rng)?);
        }
        text::serialise();
        for (kernel, place) in kernels.iter_mut().zip(places) {
            // SAFETY: a copy of this very function, checked by decoding it, in memory that is kept while it is run.
            kernel.placed = unsafe { std::mem::transmute::<usize, Run>(place) };
        }
        Ok(memory)
    }

    /// How many units fill a window with `inline`.
    fn size(&mut self, task: &WorkTask, inline: &Ready) -> Result<u64, WorkError> {
        let cycle = self.calibration.ticks_per_op(self.clock);
        let wanted = WINDOW_CYCLES as f64 * cycle;
        let mut units = 1;
        loop {
            let ticks = self.outcome(task, inline, units)?.ticks.iter().sum::<u64>().max(1) as f64;
            if ticks >= wanted / 4.0 || units >= 1 << 30 {
                return Ok(((units as f64 * wanted / ticks).ceil() as u64).max(1));
            }
            units *= if ticks < wanted / 16.0 { 4 } else { 2 };
        }
    }

    /// Brings the sites into a kernel's state.
    fn bring(&mut self, kernel: &Ready) -> Result<(), PatchError> {
        if let Some((kind, state)) = kernel.sites
            && self.now.get(&kind) != Some(&state)
            && let Ok(text) = &mut self.text
        {
            // SAFETY: no other thread, for one that a workload has ends with its run, and no site is being run; the targets
            // are those of the ops.
            unsafe { text.bring_to_first(&self.targets, kind, whole_kernel(state)) }?;
            self.now.insert(kind, state);
        }
        Ok(())
    }

    /// Runs the workload on a kernel.
    fn outcome(&mut self, task: &WorkTask, kernel: &Ready, units: u64) -> Result<Outcome, WorkError> {
        self.bring(kernel)?;
        (kernel.placed)(&mut self.machine, task.seed, units, self.clock)
            .map_err(|trouble| failed(&task.workload, &kernel.name, trouble))
    }

    /// One round: two runs of each kernel, noted behind its earlier ones.
    fn round(
        &mut self,
        task: &WorkTask,
        units: u64,
        kernels: &[Ready],
        options_too: bool,
        turns: &mut [Vec<Turn>],
    ) -> Result<[f64; 2], WorkError> {
        let mut order: Vec<usize> = (0..kernels.len()).filter(|i| options_too || !kernels[*i].is_option).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, self.rng.random_range(0..=i));
        }
        order.iter().for_each(|i| turns[*i].push([[0; PARTS]; 2]));
        let mut expected = None;
        let calibration = self.calibration.ticks_per_op(self.clock);
        for (half, order) in [order.clone(), order.iter().rev().copied().collect()].into_iter().enumerate() {
            // No kernel follows itself.
            self.outcome(task, &kernels[order[order.len() / 2]], units)?;
            for i in order {
                let Outcome { ticks, checksum: found } = self.outcome(task, &kernels[i], units)?;
                let (other, expected) = *expected.get_or_insert((i, found));
                if found != expected {
                    let (workload, kernel) = (task.workload.clone(), kernels[i].name.clone());
                    let other = kernels[other].name.clone();
                    return Err(WorkError::Checksum { workload, kernel, other, expected, found });
                }
                if let Some(turn) = turns[i].last_mut() {
                    turn[half] = ticks;
                }
            }
        }
        Ok([calibration, self.calibration.ticks_per_op(self.clock)])
    }
}

/// What the sites of a whole kernel are, where one state is named: not every op has every state.
pub fn whole_kernel(state: State) -> &'static [State] {
    match state {
        // Native instructions where they fit, nothing where there is nothing to do, a direct call else: a kernel that
        // booted on bare metal.
        State::Inline => &[State::Inline, State::Nop, State::Direct],
        State::Nop => &[State::Nop],
        State::Direct => &[State::Direct],
        State::Off => &[State::Off],
        State::On => &[State::On],
        State::Unpatched | State::Refused => &[State::Unpatched],
    }
}

/// Executed instructions of a unit, or why they could not be counted.
pub type Instructions = Result<f64, String>;

/// Events of a kernel by counter name.
pub type Events = Vec<(String, f64)>;

/// Instructions are counted in units that execute so many together: following them takes some hundred times as long. Their
/// number and their seed are not a run's, so that one build gives one count.
const TRACED: f64 = 60_000.0;
/// What they draw from.
const TRACED_SEED: u64 = 1;

/// Units in which the calls of hooks are counted.
const COUNTED: u64 = 64;

fn failed(workload: &str, kernel: &str, trouble: Failure) -> WorkError {
    WorkError::Trouble { workload: workload.to_owned(), kernel: kernel.to_owned(), trouble }
}
