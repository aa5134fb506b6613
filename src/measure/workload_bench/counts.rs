//! What the kernels of a workload execute: calls of hooks, instructions and events per unit.

use std::collections::BTreeMap;

use super::prepared_kernel::PreparedKernel;
use super::{WorkloadBench, WorkloadError, WorkloadJob};
use crate::dispatch::{Dispatch, PV_OPS, Table};
use crate::measure::counters::Counters;
use crate::measure::executed::Unit;
use crate::measure::samples::VariantCounts;
use crate::measure::trace::Tracer;
use crate::measure::trace::touched::Touched;
use crate::measure::variant::{Treatment, Treatments, Variant};
use crate::stats::surroundings::Surroundings;
use crate::workload::{PARTS, count_hooks};

/// Instructions per traced run: units are repeated until they execute this many. Tracing takes some hundred times as
/// long as running; twice the value takes twice that time. Number and seed of the units are independent of a run's, so
/// that one build gives one count.
const TRACED_INSTRUCTIONS: f64 = 60_000.0;
/// Seed of the traced runs.
const TRACED_SEED: u64 = 1;

/// Units in which calls of hooks are counted.
const HOOK_UNITS: u64 = 64;

/// Addresses of the words of `table`.
fn words_of_table() -> std::ops::Range<u64> {
    let (start, bytes) = PV_OPS.extent();
    start as u64..(start + bytes) as u64
}

/// Whether every hook of a kernel is a call through the table.
fn is_table(kernel: &PreparedKernel, treatments: &Treatments) -> bool {
    let treatment = kernel.variant.treatment().and_then(|id| treatments.get(id));
    matches!(treatment, Some(Treatment::Mechanism(mechanism)) if mechanism.mechanism == Table::META.name)
}

impl WorkloadBench {
    /// Records every instruction and access of about `instructions` instructions of a workload, with its hooks behind
    /// the table. Returns the units per part of the recorded run, too.
    ///
    /// # Errors
    /// [`WorkloadError`] where this build lacks the workload or it fails, and a message where it cannot be traced.
    pub(crate) fn record(
        &mut self,
        workload: &str,
        instructions: u64,
    ) -> Result<Result<(Touched, u64), String>, WorkloadError> {
        let index = self.entries.iter().position(|entry| entry.meta.name == workload);
        let index = index.ok_or_else(|| WorkloadError::Unknown(workload.to_owned()))?;
        let variant = self.entries[index].variants.iter().find(|it| it.mechanism.name == Table::META.name);
        let Some(run) = variant.map(|variant| variant.run) else { return Ok(Err("it has no table".to_owned())) };
        let machine = Self::rebuild_machine(&mut self.machine, &mut self.rng)?;
        let mut tracer = match Tracer::install() {
            Ok(tracer) => tracer,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut unit = Unit { run, machine, seed: TRACED_SEED, units: 1 };
        let recorded = unit.instructions(&mut tracer).and_then(|once| {
            // A run repeats its units once more than it has parts.
            let wanted = instructions as f64 / once / (1 + PARTS) as f64;
            unit.units = (wanted.round() as u64).max(1);
            unit.record(&mut tracer, words_of_table()).map(|touched| (touched, unit.units))
        });
        Ok(recorded.map_err(|error| error.to_string()))
    }

    /// Counts the calls of hooks per unit, by op.
    pub(super) fn count_calls(
        &mut self,
        index: usize,
        job: &WorkloadJob,
    ) -> Result<BTreeMap<String, f64>, WorkloadError> {
        let machine = Self::rebuild_machine(&mut self.machine, &mut self.rng)?;
        let counted = count_hooks(&self.entries[index], machine, job.seed, HOOK_UNITS);
        let counted = counted.map_err(|failure| WorkloadError::of_kernel(job.workload, "counted hooks", failure))?;
        let per_unit = |calls: u64| calls as f64 / (HOOK_UNITS * (1 + PARTS as u64)) as f64;
        Ok(counted.into_iter().map(|(op, calls)| (op.to_owned(), per_unit(calls))).collect())
    }

    /// Counts events and instructions per unit of the reference and of the treatments, where the machine can.
    pub(super) fn count_executed(
        &mut self,
        job: &WorkloadJob,
        units: u64,
        kernels: &[PreparedKernel],
        treatments: &Treatments,
    ) -> Result<(Vec<VariantCounts>, Option<Surroundings>), WorkloadError> {
        let (mut tracer, mut counters) = (Tracer::install().ok(), Counters::open().ok());
        let (mut counts, mut surroundings) = (Vec::<VariantCounts>::new(), None);
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
            let mut count = VariantCounts { variant, instructions: None, mix: None, code: None, events: None };
            if let Some(tracer) = &mut tracer {
                let counted = unit.instructions(tracer).and_then(|once| {
                    unit.units = *traced.get_or_insert(((TRACED_INSTRUCTIONS / once) as u64).max(1));
                    if unit.units == 1 { Ok(once) } else { unit.instructions(tracer) }
                });
                count.instructions = Some(counted.map_err(|error| error.to_string()));
                if is_table(kernel, treatments) {
                    // The count has another reason to be absent, which it names.
                    surroundings = unit.surroundings(tracer, words_of_table()).ok().flatten();
                }
            }
            if let Some(counters) = &mut counters {
                (unit.seed, unit.units) = (job.seed, units);
                let counted = unit.events(counters);
                let counted =
                    counted.map_err(|failure| WorkloadError::of_kernel(job.workload, &kernel.name, failure))?;
                count.events = Some(counted.into_iter().collect());
            }
            counts.push(count);
        }
        Ok((counts, surroundings))
    }
}
