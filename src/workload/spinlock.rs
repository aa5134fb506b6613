//! `spinlock`: takes an uncontended lock with interrupts off, changes the data that it guards, and releases it.
//!
//! Hooks: `save_fl`, `irq_disable`, `queued_spin_unlock`, `irq_enable`.

use super::{ModelKernel, RUN_CYCLES, Random, Workload, WorkloadMeta};
use crate::dispatch::Dispatch;
use crate::kernel::{Config, Kernel, KernelError};

/// `spin_lock_irqsave`, a change of a list, `spin_unlock_irqrestore`.
pub struct Spinlock;

impl Workload for Spinlock {
    const META: WorkloadMeta = WorkloadMeta {
        name: "spinlock",
        unit: "critical section",
        summary: "spin_lock_irqsave, a page moves from one list to another, spin_unlock_irqrestore",
        source: "mmperf with paravirt spinlocks, LKML 2009-05-13",
    };
    // The few cache lines are warm after some microseconds, and runs differ by the placement of the code.
    const RUN_CYCLES: u64 = RUN_CYCLES / 4;
    const OVERHEAD_PROBE_UNITS: u64 = 64;
    type On = ModelKernel;
    type State = u64;

    fn prepare<D: Dispatch, C: Config>(_: &mut Kernel<'_, D, C>, _: Random) -> Result<u64, KernelError> {
        Ok(0)
    }

    fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, count: &mut u64) -> Result<u64, KernelError> {
        *count += 1;
        Ok(kernel.move_page(*count))
    }
}
