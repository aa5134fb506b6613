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

mod block_timing;
mod counts;
mod error;
mod prepared_kernel;

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::clock::Clock;
use crate::kernel::{Machine, MachineError};
use crate::measure::block::palindrome;
use crate::measure::core_probe::CoreProbe;
use crate::measure::placement::PlacementError;
use crate::measure::samples::{JobSamples, WorkloadSamples};
use crate::measure::stack;
use crate::measure::variant::{TreatmentId, Treatments, Variant};
use crate::op::BodyKind;
use crate::patch::site::SiteKind;
use crate::patch::{PatchError, State, Target, Text, rules};
use crate::relocate::DecodeCache;
use crate::suite::OpEntry;
use crate::workload::{Outcome, WorkloadEntry};
use block_timing::BlockTiming;
pub use error::WorkloadError;
use prepared_kernel::PreparedKernel;
pub use prepared_kernel::whole_kernel;

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
    core: CoreProbe,
    text: Result<Text, PatchError>,
    targets: BTreeMap<usize, Target>,
    /// The current state of the sites of each kind.
    now: BTreeMap<SiteKind, State>,
    /// Functions that were decoded for the workloads measured so far.
    decoded: DecodeCache,
}

impl WorkloadBench {
    /// Makes this process ready. It must have no other `Text` and no other thread.
    ///
    /// # Errors
    /// [`WorkloadError::Machine`] without memory for the machine, or where the kernel refuses the segment base.
    pub fn new(ops: &[OpEntry], entries: Vec<WorkloadEntry>, seed: u64, clock: Clock) -> Result<Self, WorkloadError> {
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
            core: CoreProbe::new(clock),
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
        let (mut calls, mut counts, mut surroundings) = (BTreeMap::new(), Vec::new(), None);
        if job.count {
            calls = self.count_calls(index, job)?;
            (counts, surroundings) = self.count_executed(job, units, &kernels, treatments)?;
        }
        let variants = kernels.iter().map(|kernel| kernel.variant).collect();
        let in_place = placement.err().map(|error| error.to_string());
        Ok(WorkloadSamples {
            table: JobSamples { variants, blocks, unavailable, counts },
            units,
            ticks,
            in_place,
            calls,
            surroundings,
        })
    }

    /// Finds the units per part with which a run of `inline` takes `cycles` core cycles, in whole periods.
    fn find_units(
        &mut self,
        job: &WorkloadJob,
        inline: &PreparedKernel,
        period: u64,
        cycles: u64,
    ) -> Result<u64, WorkloadError> {
        let wanted = cycles as f64 * self.core.median_ticks_per_cycle(SIZING_RUNS);
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
        outcome.map_err(|failure| WorkloadError::of_kernel(workload, &kernel.name, failure))
    }
}

/// Runs per step of sizing, of which the shortest counts, and samples of the core's cycle, of which the median counts.
const SIZING_RUNS: usize = 16;
