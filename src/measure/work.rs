//! Workloads in palindromic rounds.
//!
//! A round is `C m1 .. mk mk .. m1 C` in the words of the [`sampler`](super::sampler), with runs of a workload in place
//! of loops and `inline` among the others: a run is so many units that `inline` takes a quarter of a millisecond, in
//! parts, on a machine put back to what it was after boot before each. Every run of a round does the same work and must
//! come to the same checksum.
//!
//! What has nothing to do with the mechanisms and moves a measurement by percents all the same is drawn anew: for each
//! round the seed of the work, and the places in memory to which every kernel is copied, functions shuffled; for each
//! half of it the machine's frames; for each run where its stack and all else lie that the machine consists of. So all
//! of it is a part of every interval. `inline` is there several times, at as many places: twice as what all is held
//! against, again, and some more.
//!
//! Before, between and after the halves of a round runs the pace: `inline` where the linker put it, with the same work
//! in all rounds and all workers, on frames that a run before it has met; and beside it adds that wait for nothing.
//! What these take longer than at other times tells how much of the core a half had: one that waits most of the time is
//! none the slower for a neighbour, and yet an indirection then costs something else.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::counters::Counters;
use super::executed::Unit;
use super::placement::{KernelPlacement, PlacementError};
use super::stack;
use super::trace::Tracer;
use super::window::Window;
use super::wire::UnavailableVariant;
pub use super::work_wire::{
    AGAIN, COPIES, Events, FIRST_COLUMN, FIRST_COPY, HALVES, Instructions, KernelVariant, Parts, Turn, WorkSamples,
    WorkTask,
};
use crate::clock::Clock;
use crate::clock::calibration::{ADDS, chain, independent};
use crate::kernel::{Machine, MachineError};
use crate::op::BodyKind;
use crate::patch::site::SiteKind;
use crate::patch::{CodeImage, DecodeCache, PatchError, State, Target, Text, rules};
use crate::stats::location::median;
use crate::suite::OpEntry;
use crate::workload::{Failure, Outcome, PARTS, Run, WorkloadEntry, count_hooks};

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
    KernelError {
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

/// Kernel options are in one of so many rounds, the first.
const OPTIONS_EVERY: usize = 4;

/// Measures workloads in this process.
pub struct Worker {
    entries: Vec<WorkloadEntry>,
    /// None before the first run, and where it was lost.
    machine: Option<Box<Machine>>,
    clock: Clock,
    seed: u64,
    rng: Pcg64Mcg,
    calibration: Window,
    /// Adds that wait for nothing.
    adds: Window,
    text: Result<Text, PatchError>,
    targets: BTreeMap<usize, Target>,
    /// What the sites of each kind are now.
    now: BTreeMap<SiteKind, State>,
    /// What was decoded for the workloads so far.
    decoded: DecodeCache,
}

/// A kernel of a round.
struct PreparedWorkload {
    name: String,
    /// As compiled.
    run: Run,
    /// The same at random places, with its sites as they are to be.
    placed: Option<Run>,
    sites: Option<(SiteKind, State)>,
    is_option: bool,
}

impl PreparedWorkload {
    fn new(name: String, run: Run, sites: Option<(SiteKind, State)>, is_option: bool) -> Self {
        PreparedWorkload { name, run, placed: None, sites, is_option }
    }
}

impl Worker {
    /// Gets this process ready. There is no other `Text` in it, and no other thread.
    ///
    /// # Errors
    /// Where there is no memory for the machine, or no segment base.
    pub fn new(ops: &[OpEntry], entries: Vec<WorkloadEntry>, seed: u64, clock: Clock) -> Result<Self, WorkError> {
        let calibration = Window { run: chain, copied: None, args: [0; 4], passes: 100_000 / ADDS, ops_per_pass: ADDS };
        // A kernel calls ops that the suite need not have.
        let on_kernel = entries.iter().any(|entry| !entry.options.is_empty());
        let mut targets = if on_kernel { rules::targets(BodyKind::Native) } else { BTreeMap::new() };
        targets.extend(ops.iter().map(|op| (op.slot, op.target(BodyKind::Native))));
        // They know where the program's own tables are, and no copies of them.
        let binding = entries.iter().flat_map(|entry| &entry.variants).map(|variant| variant.bind as usize);
        let decoded = DecodeCache::leaving(binding);
        Ok(Worker {
            entries,
            machine: None,
            clock,
            seed,
            rng: Pcg64Mcg::seed_from_u64(seed),
            adds: Window { run: independent, passes: LOOK / ADDS, ..calibration.clone() },
            calibration,
            // SAFETY: a worker has no other thread and makes one of these.
            text: unsafe { Text::own() },
            targets,
            now: BTreeMap::new(),
            decoded,
        })
    }

    /// Measures one workload on `columns`.
    ///
    /// # Errors
    /// Where a name is of nothing in this build, the workload fails, or its checksum is not the same on all kernels.
    pub fn measure(&mut self, task: &WorkTask, columns: &[KernelVariant]) -> Result<WorkSamples, WorkError> {
        let index = self.entries.iter().position(|entry| entry.meta.name == task.workload);
        let index = index.ok_or_else(|| WorkError::Unknown(task.workload.clone()))?;
        let entry = &self.entries[index];
        let (inline, period, cycles) = (entry.variants[0].run, entry.period.max(1), entry.run_cycles);
        let data: Vec<(usize, usize)> = entry.variants.iter().filter_map(|variant| variant.data).collect();
        let mut kernels: Vec<PreparedWorkload> =
            (0..FIRST_COLUMN).map(|_| PreparedWorkload::new("inline".to_owned(), inline, None, false)).collect();
        let (mut present, mut missing) = (Vec::new(), Vec::new());
        let all: Vec<usize> = (0..columns.len()).collect();
        for &column in task.only.as_ref().unwrap_or(&all) {
            let Some(wanted) = columns.get(column) else { continue };
            match self.ready(&self.entries[index], wanted)? {
                Ok(ready) => {
                    kernels.push(ready);
                    present.push(column);
                }
                Err(reason) => missing.push(UnavailableVariant { column, reason, refused: false }),
            }
        }
        let pace = PreparedWorkload::new("inline".to_owned(), inline, None, false);
        let units = task.units.map_or_else(|| self.size(task, &pace, period, cycles), Ok)?;
        if !task.in_place {
            // Whoever binds the hooks may be no function that is copied: tables are to hold them before they are.
            for kernel in &kernels[FIRST_COLUMN..] {
                self.outcome(&task.workload, kernel, task.seed, 0)?;
            }
        }
        let mut places = if task.in_place { Err(PlacementError::Unwanted) } else { self.places(&kernels, &data) };
        let mut seeds = Pcg64Mcg::seed_from_u64(self.seed ^ task.seed);
        let mut samples = Rounds { turns: vec![Vec::new(); kernels.len()], ..Rounds::default() };
        let began = self.clock.start();
        for number in 0..task.rounds {
            places = places.and_then(|mut places| {
                // SAFETY: every tree is of a `Run`, none is run now, and all that are run later are drawn here.
                let copies = unsafe { places.draw(&mut self.rng) }?;
                kernels.iter_mut().zip(copies).for_each(|(kernel, copy)| kernel.placed = Some(copy));
                Ok(places)
            });
            if places.is_err() {
                kernels.iter_mut().for_each(|kernel| kernel.placed = None);
            }
            // Mechanisms are what is asked for, options what they are compared with: fewer rounds do for those.
            let taking_part = |kernel: &PreparedWorkload| !kernel.is_option || number.is_multiple_of(OPTIONS_EVERY);
            let order = (0..kernels.len()).filter(|i| taking_part(&kernels[*i])).collect();
            let round = Round { workload: &task.workload, kernels: &kernels, pace: (&pace, task.seed), units };
            self.round(&round, seeds.random(), order, &mut samples)?;
        }
        let ticks = self.clock.stop().saturating_sub(began);
        let mut calls = BTreeMap::new();
        if task.count {
            let machine = Self::machine(&mut self.machine, &mut self.rng)?;
            let counted = count_hooks(&self.entries[index], machine, task.seed, COUNTED);
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
            ticks,
            ticks_per_cycle: samples.ticks_per_cycle,
            pace: samples.pace,
            adds: samples.adds,
            kernels: samples.turns,
            in_place: places.err().map(|error| error.to_string()),
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
        kernels: impl Iterator<Item = &'k PreparedWorkload>,
    ) -> Result<(Vec<Events>, Vec<Instructions>), WorkError> {
        let (mut events, mut instructions) = (Vec::new(), Vec::new());
        let (mut tracer, mut counters) = (Tracer::install().ok(), Counters::open().ok());
        // As many for all kernels as the first says.
        let mut traced = None;
        for kernel in kernels {
            self.set_state(kernel)?;
            let machine = Self::machine(&mut self.machine, &mut self.rng)?;
            let mut unit = Unit { run: kernel.run, machine, seed: TRACED_SEED, units: 1 };
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
    fn ready(
        &self,
        entry: &WorkloadEntry,
        column: &KernelVariant,
    ) -> Result<Result<PreparedWorkload, String>, WorkError> {
        let column = match column {
            KernelVariant::Option(name) => {
                let option = entry.options.iter().find(|option| option.name == name);
                if entry.options.is_empty() {
                    return Ok(Err("an option of the model kernel, which this workload does not run on".to_owned()));
                }
                let option = option.ok_or_else(|| WorkError::UnknownKernel(name.clone()))?;
                return Ok(Ok(PreparedWorkload::new(name.clone(), option.run, None, true)));
            }
            KernelVariant::Mechanism(column) => column,
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
        Ok(Ok(PreparedWorkload::new(column.to_string(), variant.run, sites, false)))
    }

    /// Decodes every kernel with its sites in its state, to be copied, with what it reads of `data`: all of them or
    /// none.
    fn places(
        &mut self,
        kernels: &[PreparedWorkload],
        data: &[(usize, usize)],
    ) -> Result<KernelPlacement, PlacementError> {
        let (mut trees, mut runs) = (Vec::new(), Vec::with_capacity(kernels.len()));
        let mut before = None;
        for kernel in kernels {
            self.set_state(kernel)?;
            let entry = kernel.run as *const () as usize;
            // The copies of `inline` are all of one tree.
            if before.replace((entry, kernel.sites)) != Some((entry, kernel.sites)) {
                // SAFETY: a workload is a compiled function.
                let tree = unsafe { CodeImage::of_known(entry, &mut self.decoded) }?;
                // SAFETY: mechanisms gave the data as theirs, and bind it in functions that are left.
                trees.push(unsafe { tree.with_data(data, &mut self.decoded) }?);
            }
            runs.push((kernel.run, trees.len() - 1));
        }
        Ok(KernelPlacement::new(trees, runs, kernels[0].run))
    }

    /// What adds take now that wait for nothing, in ticks.
    fn of_core(&self) -> f64 {
        self.usual(&self.adds, LOOKS).max(f64::MIN_POSITIVE)
    }

    /// What an op of a window takes in the middle of so many: an interrupt makes one longer, and another shorter where
    /// it comes in what is taken off for the ends.
    fn usual(&self, window: &Window, looks: usize) -> f64 {
        let looks: Vec<f64> = (0..looks).map(|_| window.ticks_per_op(self.clock)).collect();
        median(&looks).unwrap_or(0.0)
    }

    /// How many units fill a window with `inline`: whole periods of the workload.
    fn size(&mut self, task: &WorkTask, inline: &PreparedWorkload, period: u64, cycles: u64) -> Result<u64, WorkError> {
        let wanted = cycles as f64 * self.usual(&self.calibration, TRIES);
        let mut units = 1;
        loop {
            // The first run of all finds pages that were never touched, and any may be interrupted.
            let mut ticks = f64::INFINITY;
            for _ in 0..TRIES {
                let took = self.outcome(&task.workload, inline, task.seed, units)?.ticks.iter().sum::<u64>().max(1);
                ticks = ticks.min(took as f64);
            }
            if ticks >= wanted / 4.0 || units >= 1 << 30 {
                return Ok(((units as f64 * wanted / ticks).ceil() as u64).max(1).next_multiple_of(period));
            }
            units *= if ticks < wanted / 16.0 { 4 } else { 2 };
        }
    }

    /// Brings the sites into a kernel's state.
    fn set_state(&mut self, kernel: &PreparedWorkload) -> Result<(), PatchError> {
        if let Some((kind, state)) = kernel.sites
            && self.now.get(&kind) != Some(&state)
            && let Ok(text) = &mut self.text
        {
            // SAFETY: no other thread, for one that a workload has ends with its run, and no site is being run; the
            // targets are those of the ops.
            unsafe { text.set_first_supported(&self.targets, kind, whole_kernel(state)) }?;
            self.now.insert(kind, state);
        }
        Ok(())
    }

    /// The machine for the next run, with all but its frames elsewhere than before.
    fn machine<'m>(machine: &'m mut Option<Box<Machine>>, rng: &mut Pcg64Mcg) -> Result<&'m mut Machine, MachineError> {
        let next = match machine.take() {
            Some(machine) => machine.rebuild_at_new_address(rng)?,
            None => Box::new(Machine::new()?),
        };
        Ok(machine.insert(next))
    }

    /// Runs a workload on a kernel. A copy has its sites as they were when it was made.
    fn outcome(
        &mut self,
        workload: &str,
        kernel: &PreparedWorkload,
        seed: u64,
        units: u64,
    ) -> Result<Outcome, WorkError> {
        let run = match kernel.placed {
            Some(copy) => copy,
            None => {
                self.set_state(kernel)?;
                kernel.run
            }
        };
        let clock = self.clock;
        let machine = Self::machine(&mut self.machine, &mut self.rng)?;
        let outcome = stack::drawn(&mut self.rng, &mut || run(machine, seed, units, clock));
        outcome.map_err(|trouble| failed(workload, &kernel.name, trouble))
    }

    /// One round over the kernels in `order`, noted behind the earlier ones.
    fn round(
        &mut self,
        round: &Round,
        seed: u64,
        mut order: Vec<usize>,
        samples: &mut Rounds,
    ) -> Result<(), WorkError> {
        let Round { workload, kernels, pace: (pace, pace_seed), units } = *round;
        for i in (1..order.len()).rev() {
            order.swap(i, self.rng.random_range(0..=i));
        }
        order.iter().for_each(|i| samples.turns[*i].push(Turn::default()));
        let mut expected = None;
        let calibration = self.calibration.ticks_per_op(self.clock);
        let (mut paces, mut adds) = ([Parts::default(); HALVES + 1], [0.0; HALVES + 1]);
        for half in 0..HALVES {
            // All kernels of a half have the same, and are held against `inline` on them: with others for each run,
            // many would meet frames that no cache knows.
            Self::machine(&mut self.machine, &mut self.rng)?.draw_frames(&mut self.rng);
            // They are new to every cache: who meets them first is not timed, or it would look as if the core was
            // shared.
            self.outcome(workload, pace, pace_seed, units)?;
            // It also stands between the two runs of the last kernel: none follows itself.
            paces[half] = parts(self.outcome(workload, pace, pace_seed, units)?.ticks);
            adds[half] = self.of_core();
            for &i in &order {
                let Outcome { ticks, checksum: found } = self.outcome(workload, &kernels[i], seed, units)?;
                let (other, expected) = *expected.get_or_insert((i, found));
                if found != expected {
                    let (kernel, other) = (kernels[i].name.clone(), kernels[other].name.clone());
                    return Err(WorkError::Checksum { workload: workload.to_owned(), kernel, other, expected, found });
                }
                if let Some(turn) = samples.turns[i].last_mut() {
                    turn[half] = parts(ticks);
                }
            }
            order.reverse();
        }
        adds[HALVES] = self.of_core();
        paces[HALVES] = parts(self.outcome(workload, pace, pace_seed, units)?.ticks);
        samples.pace.push(paces);
        samples.adds.push(adds);
        samples.ticks_per_cycle.push([calibration, self.calibration.ticks_per_op(self.clock)]);
        Ok(())
    }
}

/// What does not change from round to round.
#[derive(Clone, Copy)]
struct Round<'r> {
    workload: &'r str,
    kernels: &'r [PreparedWorkload],
    /// The kernel of the pace, and the seed of its work.
    pace: (&'r PreparedWorkload, u64),
    units: u64,
}

/// What came of the rounds so far; see [`WorkSamples`].
#[derive(Default)]
struct Rounds {
    ticks_per_cycle: Vec<[f64; 2]>,
    pace: Vec<[Parts; HALVES + 1]>,
    adds: Vec<[f64; HALVES + 1]>,
    turns: Vec<Vec<Turn>>,
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

/// Instructions are counted in units that execute so many together: following them takes some hundred times as long.
/// Their number and their seed are not a run's, so that one build gives one count.
const TRACED: f64 = 60_000.0;
/// What they draw from.
const TRACED_SEED: u64 = 1;

/// A run is sized by the quickest of so many, in cycles of the middle of so many looks.
const TRIES: usize = 16;

/// So many adds are a look at what there is of the core, some microseconds; of so many looks that in the middle counts,
/// for an interrupt is none of a neighbour's.
const LOOK: u64 = 16_000;
const LOOKS: usize = 3;

/// Units in which the calls of hooks are counted.
const COUNTED: u64 = 64;

fn parts(ticks: [u64; PARTS]) -> Parts {
    ticks.map(|ticks| ticks as f32)
}

fn failed(workload: &str, kernel: &str, trouble: Failure) -> WorkError {
    WorkError::KernelError { workload: workload.to_owned(), kernel: kernel.to_owned(), trouble }
}
