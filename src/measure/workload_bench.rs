//! Workloads as a bench: kernels with different mechanisms run the same workload in blocks.
//!
//! A block is a [palindrome](super::block), with runs of a workload in place of loops and `inline` among the others. A
//! run repeats its unit until `inline` takes a quarter of a millisecond. It is timed in parts, on a machine that is put
//! back to its state after boot. Every run of a block does the same work and must end with the same checksum.
//!
//! Some effects shift results by percents whatever the mechanism is, so they are randomised and included in every
//! interval. Each block draws the seed of the work and the addresses to which every kernel is copied, with its
//! functions shuffled. Each half of a block draws the machine's frames. Each run draws the addresses of its stack and
//! of everything else that the machine consists of. `inline` has several copies, each at its own address: two are the
//! reference, one is the repeat, the others are A/A comparisons.
//!
//! A probe before, between and after the halves of a block has a run of the reference: `inline` at its linked address,
//! with the same work in all blocks and all workers, on frames that an earlier run has touched. Independent adds are
//! timed beside it. When both take longer than at other times, something else had a part of the core in that half. A
//! workload that mostly waits does not slow down beside a busy hyperthread, but its dispatch cost still changes.

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::block::{Bench, palindrome};
use super::counters::Counters;
use super::executed::Unit;
use super::placement::{KernelPlacement, PlacementError};
use super::samples::{JobSamples, Parts, Probe, Unavailability, UnavailableTreatment, VariantCounts, WorkloadSamples};
use super::stack;
use super::trace::Tracer;
use super::variant::{Treatment, TreatmentId, Treatments, Variant};
use super::window::Window;
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
pub enum WorkloadError {
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

/// Blocks per block that includes kernel options; the first block has them. Options are only for comparison, so fewer
/// of their blocks are enough.
const BLOCKS_PER_OPTION_BLOCK: usize = 4;

/// The forms of `inline` in every job: the reference at two addresses, its repeat, and copies.
pub const INLINE: [Variant; 6] =
    [Variant::Reference, Variant::Reference, Variant::Repeat, Variant::Copy(1), Variant::Copy(2), Variant::Copy(3)];

/// A request to measure a workload.
#[derive(Clone, Copy, Debug)]
pub struct WorkloadJob<'a> {
    /// Name of the workload.
    pub workload: &'a str,
    /// The kernels to measure; one that is repeated gets as many placements in a block.
    pub treatments: &'a [TreatmentId],
    /// Seed of the reference run's work and of counted hooks, the same in all workers. The work of blocks is drawn from
    /// this and the worker's own seed.
    pub seed: u64,
    /// Number of blocks.
    pub blocks: usize,
    /// Units per part of a run, the same for all workers, so that all do the same work. The worker sizes the run where
    /// this is absent.
    pub units: Option<u64>,
    /// Whether to count the calls of hooks, instructions and events.
    pub count: bool,
    /// Whether to leave kernels at their linked addresses, for a profiler that knows functions by address.
    pub in_place: bool,
}

/// A bench for workloads, in this process.
pub struct WorkloadBench {
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

/// A kernel of a block.
struct PreparedKernel {
    variant: Variant,
    name: String,
    /// The compiled function.
    run: Run,
    /// Its copy at random addresses, with the sites in their state.
    relocated: Option<Run>,
    sites: Option<(SiteKind, State)>,
    is_option: bool,
}

impl PreparedKernel {
    fn inline(variant: Variant, run: Run) -> Self {
        PreparedKernel { variant, name: "inline".to_owned(), run, relocated: None, sites: None, is_option: false }
    }
}

impl WorkloadBench {
    /// Makes this process ready. It must have no other `Text` and no other thread.
    ///
    /// # Errors
    /// [`WorkloadError::Machine`] without memory for the machine, or where the kernel refuses the segment base.
    pub fn new(ops: &[OpEntry], entries: Vec<WorkloadEntry>, seed: u64, clock: Clock) -> Result<Self, WorkloadError> {
        let calibration = Window { run: chain, copied: None, args: [0; 4], passes: 100_000 / ADDS, ops_per_pass: ADDS };
        // A kernel calls ops that may be missing from the suite.
        let on_kernel = entries.iter().any(|entry| !entry.options.is_empty());
        let mut targets = if on_kernel { rules::targets(BodyKind::Native) } else { BTreeMap::new() };
        targets.extend(ops.iter().map(|op| (op.slot, op.target(BodyKind::Native))));
        // These functions refer to the program's own tables, and must not be copied.
        let binding = entries.iter().flat_map(|entry| &entry.variants).map(|variant| variant.bind as usize);
        let decoded = DecodeCache::leaving(binding);
        Ok(WorkloadBench {
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

    /// Measures one workload. `treatments` says what the job's ids stand for.
    ///
    /// # Errors
    /// [`WorkloadError`] where this build lacks a name, the workload fails, or its checksums differ between kernels.
    pub fn measure(&mut self, job: &WorkloadJob, treatments: &Treatments) -> Result<WorkloadSamples, WorkloadError> {
        let index = self.entries.iter().position(|entry| entry.meta.name == job.workload);
        let index = index.ok_or_else(|| WorkloadError::Unknown(job.workload.to_owned()))?;
        let entry = &self.entries[index];
        let (inline, period, cycles) = (entry.variants[0].run, entry.period.max(1), entry.run_cycles);
        let data: Vec<(usize, usize)> = entry.variants.iter().filter_map(|variant| variant.data).collect();
        let (mut kernels, unavailable) = self.prepare(entry, job, treatments)?;
        let reference = PreparedKernel::inline(Variant::Reference, inline);
        let units = job.units.map_or_else(|| self.find_units(job, &reference, period, cycles), Ok)?;
        let mut placement = if job.in_place {
            Err(PlacementError::Unwanted)
        } else {
            // The function that binds the hooks may be left uncopied, so the tables must be filled before they are
            // copied.
            for kernel in kernels.iter().filter(|kernel| kernel.variant.treatment().is_some()) {
                self.run_kernel(job.workload, kernel, job.seed, 0)?;
            }
            self.decode_kernels(&kernels, &data)
        };
        let mut seeds = Pcg64Mcg::seed_from_u64(self.seed ^ job.seed);
        let mut blocks = Vec::with_capacity(job.blocks);
        let began = self.clock.start();
        for number in 0..job.blocks {
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
            let takes_part =
                |kernel: &PreparedKernel| !kernel.is_option || number.is_multiple_of(BLOCKS_PER_OPTION_BLOCK);
            let mut order: Vec<usize> = (0..kernels.len()).filter(|i| takes_part(&kernels[*i])).collect();
            order.shuffle(&mut self.rng);
            let mut timing = BlockTiming {
                bench: &mut *self,
                job,
                kernels: &kernels,
                reference: &reference,
                units,
                seed: seeds.random(),
                expected: None,
            };
            blocks.extend(palindrome(&mut timing, &order, kernels.len())?);
        }
        let ticks = self.clock.stop().saturating_sub(began);
        let (mut calls, mut counts) = (BTreeMap::new(), Vec::new());
        if job.count {
            calls = self.count_calls(index, job)?;
            counts = self.count_executed(job, units, &kernels)?;
        }
        let variants = kernels.iter().map(|kernel| kernel.variant).collect();
        let in_place = placement.err().map(|error| error.to_string());
        Ok(WorkloadSamples {
            table: JobSamples { variants, blocks, unavailable, counts },
            units,
            ticks,
            in_place,
            calls,
        })
    }

    /// Prepares the kernels of a job: `inline` in its forms, then the treatments.
    fn prepare(
        &self,
        entry: &WorkloadEntry,
        job: &WorkloadJob,
        treatments: &Treatments,
    ) -> Result<(Vec<PreparedKernel>, Vec<UnavailableTreatment>), WorkloadError> {
        let inline = |variant: Variant| PreparedKernel::inline(variant, entry.variants[0].run);
        let (mut kernels, mut unavailable) = (INLINE.map(inline).into_iter().collect::<Vec<_>>(), Vec::new());
        for &treatment in job.treatments {
            let Some(wanted) = treatments.get(treatment) else { continue };
            match self.prepare_kernel(entry, treatment, wanted)? {
                Ok(kernel) => kernels.push(kernel),
                Err(reason) => {
                    unavailable.push(UnavailableTreatment { treatment, why: Unavailability::Unsupported(reason) })
                }
            }
        }
        Ok((kernels, unavailable))
    }

    /// Counts the calls of hooks per unit, by op.
    fn count_calls(&mut self, index: usize, job: &WorkloadJob) -> Result<BTreeMap<String, f64>, WorkloadError> {
        let machine = Self::rebuild_machine(&mut self.machine, &mut self.rng)?;
        let counted = count_hooks(&self.entries[index], machine, job.seed, HOOK_UNITS);
        let counted = counted.map_err(|failure| kernel_error(job.workload, "counted hooks", failure))?;
        let per_unit = |calls: u64| calls as f64 / (HOOK_UNITS * (1 + PARTS as u64)) as f64;
        Ok(counted.into_iter().map(|(op, calls)| (op.to_owned(), per_unit(calls))).collect())
    }

    /// Counts events and instructions per unit of the reference and of the treatments, where the machine can.
    fn count_executed(
        &mut self,
        job: &WorkloadJob,
        units: u64,
        kernels: &[PreparedKernel],
    ) -> Result<Vec<VariantCounts>, WorkloadError> {
        let (mut tracer, mut counters) = (Tracer::install().ok(), Counters::open().ok());
        let mut counts: Vec<VariantCounts> = Vec::new();
        // The first kernel decides the number of units for all.
        let mut traced = None;
        for kernel in kernels {
            let PreparedKernel { variant, .. } = *kernel;
            let is_counted = matches!(variant, Variant::Reference | Variant::Treatment(_));
            if !is_counted || counts.iter().any(|count| count.variant == variant) {
                continue;
            }
            self.set_state(kernel)?;
            let machine = Self::rebuild_machine(&mut self.machine, &mut self.rng)?;
            let mut unit = Unit { run: kernel.run, machine, seed: TRACED_SEED, units: 1 };
            let mut count = VariantCounts { variant, instructions: None, events: None };
            if let Some(tracer) = &mut tracer {
                let counted = unit.instructions(tracer).and_then(|once| {
                    unit.units = *traced.get_or_insert(((TRACED_INSTRUCTIONS / once) as u64).max(1));
                    if unit.units == 1 { Ok(once) } else { unit.instructions(tracer) }
                });
                count.instructions = Some(counted.map_err(|error| error.to_string()));
            }
            if let Some(counters) = &mut counters {
                (unit.seed, unit.units) = (job.seed, units);
                let counted = unit.events(counters);
                let counted = counted.map_err(|failure| kernel_error(job.workload, &kernel.name, failure))?;
                count.events = Some(counted.into_iter().collect());
            }
            counts.push(count);
        }
        Ok(counts)
    }

    /// Prepares the kernel of a treatment, or says why it is unavailable here.
    fn prepare_kernel(
        &self,
        entry: &WorkloadEntry,
        id: TreatmentId,
        treatment: &Treatment,
    ) -> Result<Result<PreparedKernel, String>, WorkloadError> {
        let prepared = |name: String, run, sites, is_option| PreparedKernel {
            variant: Variant::Treatment(id),
            name,
            run,
            relocated: None,
            sites,
            is_option,
        };
        let mechanism = match treatment {
            Treatment::Option(name) => {
                let option = entry.options.iter().find(|option| option.name == name);
                if entry.options.is_empty() {
                    return Ok(Err("an option of the model kernel, which this workload does not run on".to_owned()));
                }
                let option = option.ok_or_else(|| WorkloadError::UnknownKernel(name.clone()))?;
                return Ok(Ok(prepared(name.clone(), option.run, None, true)));
            }
            Treatment::Mechanism(mechanism) => mechanism,
        };
        let variant = entry.variants.iter().find(|variant| variant.mechanism.name == mechanism.mechanism);
        let variant = variant.ok_or_else(|| WorkloadError::UnknownKernel(mechanism.to_string()))?;
        if let Some(reason) = (variant.unavailable)() {
            return Ok(Err(reason));
        }
        let sites = match (mechanism.state, variant.mechanism.sites, &self.text) {
            (None, ..) => None,
            (Some(state), Some(kind), Ok(_)) => Some((kind, state)),
            (Some(_), Some(_), Err(error)) => return Ok(Err(error.to_string())),
            (Some(_), None, _) => return Err(WorkloadError::UnknownKernel(mechanism.to_string())),
        };
        Ok(Ok(prepared(mechanism.to_string(), variant.run, sites, false)))
    }

    /// Decodes every kernel with its sites in its state, ready to be copied with its part of `data`. One failure fails
    /// all.
    fn decode_kernels(
        &mut self,
        kernels: &[PreparedKernel],
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
        job: &WorkloadJob,
        inline: &PreparedKernel,
        period: u64,
        cycles: u64,
    ) -> Result<u64, WorkloadError> {
        let wanted = cycles as f64 * self.median_ticks(&self.calibration, SIZING_RUNS);
        let mut units = 1;
        loop {
            // The first run touches new pages, and any run may be interrupted, so the shortest counts.
            let mut ticks = f64::INFINITY;
            for _ in 0..SIZING_RUNS {
                let took = self.run_kernel(job.workload, inline, job.seed, units)?.ticks.iter().sum::<u64>().max(1);
                ticks = ticks.min(took as f64);
            }
            if ticks >= wanted / 4.0 || units >= 1 << 30 {
                return Ok(((units as f64 * wanted / ticks).ceil() as u64).max(1).next_multiple_of(period));
            }
            units *= if ticks < wanted / 16.0 { 4 } else { 2 };
        }
    }

    /// Sets the sites to a kernel's state.
    fn set_state(&mut self, kernel: &PreparedKernel) -> Result<(), PatchError> {
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
        kernel: &PreparedKernel,
        seed: u64,
        units: u64,
    ) -> Result<Outcome, WorkloadError> {
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
}

/// One block of a workload.
struct BlockTiming<'a> {
    bench: &'a mut WorkloadBench,
    job: &'a WorkloadJob<'a>,
    kernels: &'a [PreparedKernel],
    reference: &'a PreparedKernel,
    units: u64,
    /// Seed of the block's work.
    seed: u64,
    /// The checksum of the block's work, and the kernel that found it.
    expected: Option<(usize, u64)>,
}

impl Bench for BlockTiming<'_> {
    type Ticks = Parts;
    type Error = WorkloadError;

    const PROBE_BETWEEN_HALVES: bool = true;

    fn begin_half(&mut self) -> Result<(), WorkloadError> {
        // All kernels of a half share the same frames, and are compared with `inline` on them. With new frames for each
        // run, many runs would touch memory that no cache holds.
        let bench = &mut *self.bench;
        WorkloadBench::rebuild_machine(&mut bench.machine, &mut bench.rng)?.draw_frames(&mut bench.rng);
        // The first run on new frames finds no cache filled, so it is not timed: it would look like a contended core.
        bench.run_kernel(self.job.workload, self.reference, self.job.seed, self.units)?;
        Ok(())
    }

    /// A probe also separates the two runs of the last kernel, so that no kernel follows itself.
    fn probe(&mut self) -> Result<Probe<Parts>, WorkloadError> {
        let ticks_per_cycle = self.bench.calibration.ticks_per_op(self.bench.clock);
        let run = self.bench.run_kernel(self.job.workload, self.reference, self.job.seed, self.units)?;
        let ticks_per_add = self.bench.time_add();
        Ok(Probe { ticks_per_cycle, ticks_per_add, reference_run: Some(to_parts(run.ticks)) })
    }

    fn goes_on(&self, _: &Probe<Parts>) -> bool {
        true
    }

    fn time(&mut self, column: usize) -> Result<Parts, WorkloadError> {
        let (workload, kernel) = (self.job.workload, &self.kernels[column]);
        let Outcome { ticks, checksum: found } = self.bench.run_kernel(workload, kernel, self.seed, self.units)?;
        let (other, expected) = *self.expected.get_or_insert((column, found));
        if found != expected {
            let (kernel, other) = (kernel.name.clone(), self.kernels[other].name.clone());
            return Err(WorkloadError::Checksum { workload: workload.to_owned(), kernel, other, expected, found });
        }
        Ok(to_parts(ticks))
    }
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

fn kernel_error(workload: &str, kernel: &str, failure: Failure) -> WorkloadError {
    WorkloadError::KernelError { workload: workload.to_owned(), kernel: kernel.to_owned(), failure }
}
