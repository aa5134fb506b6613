//! Workloads in palindromic rounds.
//!
//! A round is `C m1 .. mk mk .. m1 C` as in the [`sampler`](super::sampler), with runs of a workload in place of loops
//! and `inline` among the others. A run repeats its unit until `inline` takes a quarter of a millisecond. It is timed
//! in parts, on a machine that is put back to its state after boot. Every run of a round does the same work and must
//! end with the same checksum.
//!
//! Some effects shift results by percents whatever the mechanism is, so they are randomised and included in every
//! interval. Each round draws the seed of the work and the addresses to which every kernel is copied, with its
//! functions shuffled. Each half of a round draws the machine's frames. Each run draws the addresses of its stack and
//! of everything else that the machine consists of. `inline` has several copies, each at its own address: two are the
//! baseline, one is the repeat, the others are A/A comparisons.
//!
//! The reference run comes before, between and after the halves of a round. It is `inline` at its linked address, with
//! the same work in all rounds and all workers, on frames that an earlier run has touched. Independent adds are timed
//! beside it. When both take longer than at other times, something else had a part of the core in that half. A workload
//! that mostly waits does not slow down beside a busy hyperthread, but its dispatch cost still changes.

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
    COPIES, Events, FIRST_COPY, FIRST_VARIANT, HALVES, Instructions, KernelVariant, Parts, REPEAT, Turn, WorkSamples,
    WorkTask,
};
use crate::clock::Clock;
use crate::clock::calibration::{ADDS, chain, independent};
use crate::kernel::{Machine, MachineError};
use crate::op::BodyKind;
use crate::patch::site::SiteKind;
use crate::patch::{PatchError, State, Target, Text, rules};
use crate::relocate::{CodeImage, DecodeCache};
use crate::stats::location::median;
use crate::suite::OpEntry;
use crate::workload::{Failure, Outcome, PARTS, Run, WorkloadEntry, count_hooks};

/// The reason why a workload could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The build has no workload of this name.
    #[error("there is no workload '{0}' in this build; `pvbench list workloads` shows all")]
    Unknown(String),
    /// No such kernel.
    #[error("there is no kernel with '{0}' in this build; `pvbench list` shows all mechanisms and options")]
    UnknownKernel(String),
    /// The machine could not be made.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The sites could not be patched.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// A unit of the workload failed.
    #[error("{workload} with {kernel}: {failure}")]
    KernelError {
        /// The workload.
        workload: String,
        /// The kernel it ran on.
        kernel: String,
        /// The failure.
        failure: Failure,
    },
    /// Two kernels ended with different checksums.
    #[error(
        "{workload}: the checksum with {kernel} is {found:#018x}, with {other} {expected:#018x}; one of them is wrong"
    )]
    Checksum {
        /// The workload.
        workload: String,
        /// The kernel with the unexpected checksum.
        kernel: String,
        /// The kernel that ran before it.
        other: String,
        /// The checksum of the earlier kernel.
        expected: u64,
        /// The checksum of this kernel.
        found: u64,
    },
}

/// Rounds per round that includes kernel options; the first round has them. Options are only for comparison, so fewer
/// of their rounds are enough.
const ROUNDS_PER_OPTION_ROUND: usize = 4;

/// A worker for workloads, in this process.
pub struct Worker {
    entries: Vec<WorkloadEntry>,
    /// `None` before the first run, and after a rebuild that failed.
    machine: Option<Box<Machine>>,
    clock: Clock,
    seed: u64,
    rng: Pcg64Mcg,
    calibration: Window,
    /// The window of independent adds.
    adds: Window,
    text: Result<Text, PatchError>,
    targets: BTreeMap<usize, Target>,
    /// The current state of the sites of each kind.
    now: BTreeMap<SiteKind, State>,
    /// Functions that were decoded for the workloads measured so far.
    decoded: DecodeCache,
}

/// A kernel of a round.
struct PreparedWorkload {
    name: String,
    /// The compiled function.
    run: Run,
    /// Its copy at random addresses, with the sites in their state.
    relocated: Option<Run>,
    sites: Option<(SiteKind, State)>,
    is_option: bool,
}

impl PreparedWorkload {
    fn new(name: String, run: Run, sites: Option<(SiteKind, State)>, is_option: bool) -> Self {
        PreparedWorkload { name, run, relocated: None, sites, is_option }
    }
}

impl Worker {
    /// Makes this process ready. It must have no other `Text` and no other thread.
    ///
    /// # Errors
    /// [`WorkError::Machine`] without memory for the machine, or where the kernel refuses the segment base.
    pub fn new(ops: &[OpEntry], entries: Vec<WorkloadEntry>, seed: u64, clock: Clock) -> Result<Self, WorkError> {
        let calibration = Window { run: chain, copied: None, args: [0; 4], passes: 100_000 / ADDS, ops_per_pass: ADDS };
        // A kernel calls ops that may be missing from the suite.
        let on_kernel = entries.iter().any(|entry| !entry.options.is_empty());
        let mut targets = if on_kernel { rules::targets(BodyKind::Native) } else { BTreeMap::new() };
        targets.extend(ops.iter().map(|op| (op.slot, op.target(BodyKind::Native))));
        // These functions refer to the program's own tables, and must not be copied.
        let binding = entries.iter().flat_map(|entry| &entry.variants).map(|variant| variant.bind as usize);
        let decoded = DecodeCache::leaving(binding);
        Ok(Worker {
            entries,
            machine: None,
            clock,
            seed,
            rng: Pcg64Mcg::seed_from_u64(seed),
            adds: Window { run: independent, passes: ADDS_PER_SAMPLE / ADDS, ..calibration.clone() },
            calibration,
            // SAFETY: a worker has no other thread and makes one of these.
            text: unsafe { Text::own() },
            targets,
            now: BTreeMap::new(),
            decoded,
        })
    }

    /// Measures one workload on `variants`.
    ///
    /// # Errors
    /// [`WorkError`] where this build lacks a name, the workload fails, or its checksums differ between kernels.
    pub fn measure(&mut self, task: &WorkTask, variants: &[KernelVariant]) -> Result<WorkSamples, WorkError> {
        let index = self.entries.iter().position(|entry| entry.meta.name == task.workload);
        let index = index.ok_or_else(|| WorkError::Unknown(task.workload.clone()))?;
        let entry = &self.entries[index];
        let (inline, period, cycles) = (entry.variants[0].run, entry.period.max(1), entry.run_cycles);
        let data: Vec<(usize, usize)> = entry.variants.iter().filter_map(|variant| variant.data).collect();
        let mut kernels: Vec<PreparedWorkload> =
            (0..FIRST_VARIANT).map(|_| PreparedWorkload::new("inline".to_owned(), inline, None, false)).collect();
        let (mut present, mut missing) = (Vec::new(), Vec::new());
        let all: Vec<usize> = (0..variants.len()).collect();
        for &variant in task.variants.as_ref().unwrap_or(&all) {
            let Some(wanted) = variants.get(variant) else { continue };
            match self.prepare_kernel(&self.entries[index], wanted)? {
                Ok(prepared) => {
                    kernels.push(prepared);
                    present.push(variant);
                }
                Err(reason) => missing.push(UnavailableVariant { variant, reason, refused: false }),
            }
        }
        let reference = PreparedWorkload::new("inline".to_owned(), inline, None, false);
        let units = task.units.map_or_else(|| self.find_units(task, &reference, period, cycles), Ok)?;
        if !task.in_place {
            // The function that binds the hooks may be left uncopied, so the tables must be filled before they are
            // copied.
            for kernel in &kernels[FIRST_VARIANT..] {
                self.run_kernel(&task.workload, kernel, task.seed, 0)?;
            }
        }
        let mut placement =
            if task.in_place { Err(PlacementError::Unwanted) } else { self.decode_kernels(&kernels, &data) };
        let mut seeds = Pcg64Mcg::seed_from_u64(self.seed ^ task.seed);
        let mut results = RoundResults { turns: vec![Vec::new(); kernels.len()], ..RoundResults::default() };
        let began = self.clock.start();
        for number in 0..task.rounds {
            placement = placement.and_then(|mut placement| {
                // SAFETY: every image belongs to its `Run`, no copy runs now, and all later runs use the copies drawn
                // here.
                let copies = unsafe { placement.draw(&mut self.rng) }?;
                kernels.iter_mut().zip(copies).for_each(|(kernel, copy)| kernel.relocated = Some(copy));
                Ok(placement)
            });
            if placement.is_err() {
                kernels.iter_mut().for_each(|kernel| kernel.relocated = None);
            }
            // Options are only for comparison with the mechanisms, so fewer of their rounds are enough.
            let takes_part =
                |kernel: &PreparedWorkload| !kernel.is_option || number.is_multiple_of(ROUNDS_PER_OPTION_ROUND);
            let order = (0..kernels.len()).filter(|i| takes_part(&kernels[*i])).collect();
            let round =
                RoundSetup { workload: &task.workload, kernels: &kernels, reference: (&reference, task.seed), units };
            self.run_round(&round, seeds.random(), order, &mut results)?;
        }
        let ticks = self.clock.stop().saturating_sub(began);
        let mut calls = BTreeMap::new();
        if task.count {
            let machine = Self::rebuild_machine(&mut self.machine, &mut self.rng)?;
            let counted = count_hooks(&self.entries[index], machine, task.seed, HOOK_UNITS);
            let counted = counted.map_err(|failure| kernel_error(&task.workload, "counted hooks", failure))?;
            calls = counted
                .into_iter()
                .map(|(op, calls)| (op.to_owned(), calls as f64 / (HOOK_UNITS * (1 + PARTS as u64)) as f64))
                .collect();
        }
        let counted = std::iter::once(&kernels[0]).chain(&kernels[FIRST_VARIANT..]);
        let (counters, instructions) =
            if task.count { self.count_executed(task, units, counted)? } else { (Vec::new(), Vec::new()) };
        Ok(WorkSamples {
            units,
            ticks,
            ticks_per_cycle: results.ticks_per_cycle,
            reference_run: results.reference_run,
            adds: results.adds,
            kernels: results.turns,
            in_place: placement.err().map(|error| error.to_string()),
            variants: present,
            missing,
            calls,
            instructions,
            counters,
        })
    }

    /// Counts events and instructions per unit with each kernel, in their order. A list is empty where the machine
    /// cannot count.
    fn count_executed<'k>(
        &mut self,
        task: &WorkTask,
        units: u64,
        kernels: impl Iterator<Item = &'k PreparedWorkload>,
    ) -> Result<(Vec<Events>, Vec<Instructions>), WorkError> {
        let (mut events, mut instructions) = (Vec::new(), Vec::new());
        let (mut tracer, mut counters) = (Tracer::install().ok(), Counters::open().ok());
        // The first kernel decides the number of units for all.
        let mut traced = None;
        for kernel in kernels {
            self.set_state(kernel)?;
            let machine = Self::rebuild_machine(&mut self.machine, &mut self.rng)?;
            let mut unit = Unit { run: kernel.run, machine, seed: TRACED_SEED, units: 1 };
            if let Some(tracer) = &mut tracer {
                let counted = unit.instructions(tracer).and_then(|once| {
                    unit.units = *traced.get_or_insert(((TRACED_INSTRUCTIONS / once) as u64).max(1));
                    if unit.units == 1 { Ok(once) } else { unit.instructions(tracer) }
                });
                instructions.push(counted.map_err(|error| error.to_string()));
            }
            if let Some(counters) = &mut counters {
                (unit.seed, unit.units) = (task.seed, units);
                let counted = unit.events(counters);
                events.push(counted.map_err(|failure| kernel_error(&task.workload, &kernel.name, failure))?);
            }
        }
        Ok((events, instructions))
    }

    /// Prepares the kernel of a variant, or says why it is unavailable here.
    fn prepare_kernel(
        &self,
        entry: &WorkloadEntry,
        kernel: &KernelVariant,
    ) -> Result<Result<PreparedWorkload, String>, WorkError> {
        let mechanism = match kernel {
            KernelVariant::Option(name) => {
                let option = entry.options.iter().find(|option| option.name == name);
                if entry.options.is_empty() {
                    return Ok(Err("an option of the model kernel, which this workload does not run on".to_owned()));
                }
                let option = option.ok_or_else(|| WorkError::UnknownKernel(name.clone()))?;
                return Ok(Ok(PreparedWorkload::new(name.clone(), option.run, None, true)));
            }
            KernelVariant::Mechanism(mechanism) => mechanism,
        };
        let variant = entry.variants.iter().find(|variant| variant.mechanism.name == mechanism.mechanism);
        let variant = variant.ok_or_else(|| WorkError::UnknownKernel(mechanism.to_string()))?;
        if let Some(reason) = (variant.unavailable)() {
            return Ok(Err(reason));
        }
        let sites = match (mechanism.state, variant.mechanism.sites, &self.text) {
            (None, ..) => None,
            (Some(state), Some(kind), Ok(_)) => Some((kind, state)),
            (Some(_), Some(_), Err(error)) => return Ok(Err(error.to_string())),
            (Some(_), None, _) => return Err(WorkError::UnknownKernel(mechanism.to_string())),
        };
        Ok(Ok(PreparedWorkload::new(mechanism.to_string(), variant.run, sites, false)))
    }

    /// Decodes every kernel with its sites in its state, ready to be copied with its part of `data`. One failure fails
    /// all.
    fn decode_kernels(
        &mut self,
        kernels: &[PreparedWorkload],
        data: &[(usize, usize)],
    ) -> Result<KernelPlacement, PlacementError> {
        let (mut images, mut runs) = (Vec::new(), Vec::with_capacity(kernels.len()));
        let mut before = None;
        for kernel in kernels {
            self.set_state(kernel)?;
            let entry = kernel.run as *const () as usize;
            // All copies of `inline` share one image.
            if before.replace((entry, kernel.sites)) != Some((entry, kernel.sites)) {
                // SAFETY: a workload is a compiled function.
                let image = unsafe { CodeImage::of_known(entry, &mut self.decoded) }?;
                // SAFETY: mechanisms named this data as theirs, and bind it in functions that are not copied.
                images.push(unsafe { image.with_data(data, &mut self.decoded) }?);
            }
            runs.push((kernel.run, images.len() - 1));
        }
        Ok(KernelPlacement::new(images, runs, kernels[0].run))
    }

    /// Times an independent add, in ticks: the median of several samples.
    fn time_add(&self) -> f64 {
        self.median_ticks(&self.adds, THROUGHPUT_SAMPLES).max(f64::MIN_POSITIVE)
    }

    /// Times an op of a window, in ticks: the median of `samples` windows. An interrupt lengthens one sample, or
    /// shortens it where it falls into the short window that is subtracted.
    fn median_ticks(&self, window: &Window, samples: usize) -> f64 {
        let ticks: Vec<f64> = (0..samples).map(|_| window.ticks_per_op(self.clock)).collect();
        median(&ticks).unwrap_or(0.0)
    }

    /// Finds the units per part with which a run of `inline` takes `cycles` core cycles, in whole periods.
    fn find_units(
        &mut self,
        task: &WorkTask,
        inline: &PreparedWorkload,
        period: u64,
        cycles: u64,
    ) -> Result<u64, WorkError> {
        let wanted = cycles as f64 * self.median_ticks(&self.calibration, SIZING_RUNS);
        let mut units = 1;
        loop {
            // The first run touches new pages, and any run may be interrupted, so the shortest counts.
            let mut ticks = f64::INFINITY;
            for _ in 0..SIZING_RUNS {
                let took = self.run_kernel(&task.workload, inline, task.seed, units)?.ticks.iter().sum::<u64>().max(1);
                ticks = ticks.min(took as f64);
            }
            if ticks >= wanted / 4.0 || units >= 1 << 30 {
                return Ok(((units as f64 * wanted / ticks).ceil() as u64).max(1).next_multiple_of(period));
            }
            units *= if ticks < wanted / 16.0 { 4 } else { 2 };
        }
    }

    /// Sets the sites to a kernel's state.
    fn set_state(&mut self, kernel: &PreparedWorkload) -> Result<(), PatchError> {
        if let Some((kind, state)) = kernel.sites
            && self.now.get(&kind) != Some(&state)
            && let Ok(text) = &mut self.text
        {
            // SAFETY: there is no other thread, since a thread of a workload ends with its run. No site runs now, and
            // the targets belong to the ops.
            unsafe { text.set_first_supported(&self.targets, kind, whole_kernel(state)) }?;
            self.now.insert(kind, state);
        }
        Ok(())
    }

    /// Rebuilds the machine at new addresses for the next run; only its frames stay.
    fn rebuild_machine<'m>(
        machine: &'m mut Option<Box<Machine>>,
        rng: &mut Pcg64Mcg,
    ) -> Result<&'m mut Machine, MachineError> {
        let next = match machine.take() {
            Some(machine) => machine.rebuild_at_new_address(rng)?,
            None => Box::new(Machine::new()?),
        };
        Ok(machine.insert(next))
    }

    /// Runs a workload on a kernel. A copy keeps the site states that it was copied with.
    fn run_kernel(
        &mut self,
        workload: &str,
        kernel: &PreparedWorkload,
        seed: u64,
        units: u64,
    ) -> Result<Outcome, WorkError> {
        let run = match kernel.relocated {
            Some(copy) => copy,
            None => {
                self.set_state(kernel)?;
                kernel.run
            }
        };
        let clock = self.clock;
        let machine = Self::rebuild_machine(&mut self.machine, &mut self.rng)?;
        let outcome = stack::run_at_random_depth(&mut self.rng, &mut || run(machine, seed, units, clock));
        outcome.map_err(|failure| kernel_error(workload, &kernel.name, failure))
    }

    /// Makes one round over the kernels in `order`, and appends its results to `results`.
    fn run_round(
        &mut self,
        round: &RoundSetup,
        seed: u64,
        mut order: Vec<usize>,
        results: &mut RoundResults,
    ) -> Result<(), WorkError> {
        let RoundSetup { workload, kernels, reference: (reference, reference_seed), units } = *round;
        for i in (1..order.len()).rev() {
            order.swap(i, self.rng.random_range(0..=i));
        }
        order.iter().for_each(|i| results.turns[*i].push(Turn::default()));
        let mut expected = None;
        let calibration = self.calibration.ticks_per_op(self.clock);
        let (mut references, mut adds) = ([Parts::default(); HALVES + 1], [0.0; HALVES + 1]);
        for half in 0..HALVES {
            // All kernels of a half share the same frames, and are compared with `inline` on them. With new frames for
            // each run, many runs would touch memory that no cache holds.
            Self::rebuild_machine(&mut self.machine, &mut self.rng)?.draw_frames(&mut self.rng);
            // The first run on new frames finds no cache filled, so it is not timed: it would look like a contended
            // core.
            self.run_kernel(workload, reference, reference_seed, units)?;
            // This run also separates the two runs of the last kernel, so that no kernel follows itself.
            references[half] = to_parts(self.run_kernel(workload, reference, reference_seed, units)?.ticks);
            adds[half] = self.time_add();
            for &i in &order {
                let Outcome { ticks, checksum: found } = self.run_kernel(workload, &kernels[i], seed, units)?;
                let (other, expected) = *expected.get_or_insert((i, found));
                if found != expected {
                    let (kernel, other) = (kernels[i].name.clone(), kernels[other].name.clone());
                    return Err(WorkError::Checksum { workload: workload.to_owned(), kernel, other, expected, found });
                }
                if let Some(turn) = results.turns[i].last_mut() {
                    turn[half] = to_parts(ticks);
                }
            }
            order.reverse();
        }
        adds[HALVES] = self.time_add();
        references[HALVES] = to_parts(self.run_kernel(workload, reference, reference_seed, units)?.ticks);
        results.reference_run.push(references);
        results.adds.push(adds);
        results.ticks_per_cycle.push([calibration, self.calibration.ticks_per_op(self.clock)]);
        Ok(())
    }
}

/// The settings that all rounds share.
#[derive(Clone, Copy)]
struct RoundSetup<'r> {
    workload: &'r str,
    kernels: &'r [PreparedWorkload],
    /// The kernel of the reference run, and the seed of its work.
    reference: (&'r PreparedWorkload, u64),
    units: u64,
}

/// The results of the rounds so far; see [`WorkSamples`].
#[derive(Default)]
struct RoundResults {
    ticks_per_cycle: Vec<[f64; 2]>,
    reference_run: Vec<[Parts; HALVES + 1]>,
    adds: Vec<[f64; HALVES + 1]>,
    turns: Vec<Vec<Turn>>,
}

/// The site states of a whole kernel by preference, where one state is named; not every op has every state.
pub fn whole_kernel(state: State) -> &'static [State] {
    match state {
        // A kernel that booted on bare metal: native instructions where they fit, NOPs where there is nothing to do,
        // otherwise a direct call.
        State::Inline => &[State::Inline, State::Nop, State::Direct],
        State::Nop => &[State::Nop],
        State::Direct => &[State::Direct],
        State::Off => &[State::Off],
        State::On => &[State::On],
        State::Unpatched | State::Refused => &[State::Unpatched],
    }
}

/// Instructions per traced run: units are repeated until they execute this many. Tracing takes some hundred times as
/// long as running; twice the value takes twice that time. Number and seed of the units are independent of a run's, so
/// that one build gives one count.
const TRACED_INSTRUCTIONS: f64 = 60_000.0;
/// Seed of the traced runs.
const TRACED_SEED: u64 = 1;

/// Runs per step of sizing, of which the shortest counts, and samples of the core's cycle, of which the median counts.
const SIZING_RUNS: usize = 16;

/// Adds per sample of the core throughput, some microseconds, and samples per measurement. The median counts, since an
/// interrupt is no neighbour.
const ADDS_PER_SAMPLE: u64 = 16_000;
const THROUGHPUT_SAMPLES: usize = 3;

/// Units in which calls of hooks are counted.
const HOOK_UNITS: u64 = 64;

fn to_parts(ticks: [u64; PARTS]) -> Parts {
    ticks.map(|ticks| ticks as f32)
}

fn kernel_error(workload: &str, kernel: &str, failure: Failure) -> WorkError {
    WorkError::KernelError { workload: workload.to_owned(), kernel: kernel.to_owned(), failure }
}
