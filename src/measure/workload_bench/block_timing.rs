//! The runs of one block of a workload.

use super::prepared_kernel::PreparedKernel;
use super::{WorkloadBench, WorkloadError, WorkloadJob};
use crate::measure::block::Bench;
use crate::measure::samples::{Parts, Probe};
use crate::workload::{Outcome, PARTS};

/// One block of a workload.
pub(super) struct BlockTiming<'a> {
    pub bench: &'a mut WorkloadBench,
    pub job: &'a WorkloadJob<'a>,
    pub kernels: &'a [PreparedKernel],
    pub reference: &'a PreparedKernel,
    pub units: u64,
    /// Seed of the block's work.
    pub seed: u64,
    /// The checksum of the block's work, and the kernel that found it.
    pub expected: Option<(usize, u64)>,
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
        let ticks_per_cycle = self.bench.core.ticks_per_cycle();
        let run = self.bench.run_kernel(self.job.workload, self.reference, self.job.seed, self.units)?;
        let ticks_per_add = self.bench.core.ticks_per_add();
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

fn to_parts(ticks: [u64; PARTS]) -> Parts {
    ticks.map(|ticks| ticks as f32)
}
