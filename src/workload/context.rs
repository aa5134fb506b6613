//! `context_switch`: two processes that hand the CPU to each other, after lmbench's `lat_ctx`.
//!
//! Hooks of a unit: `irq_enable` and `irq_disable` of the system call; `irq_disable`, `queued_spin_unlock`,
//! `irq_enable` of `do_sched_yield`; `irq_disable`, `sched_clock`, `start_context_switch`, `write_cr3`, `load_tls`,
//! `end_context_switch`, `queued_spin_unlock`, `irq_enable` of `__schedule`.

use super::{ModelKernel, RUN_CYCLES, Random, Workload, WorkloadMeta};
use crate::dispatch::Dispatch;
use crate::kernel::{Config, Kernel, KernelError};

/// `sched_yield` among four processes.
pub struct ContextSwitch;

impl Workload for ContextSwitch {
    const META: WorkloadMeta = WorkloadMeta {
        name: "context_switch",
        unit: "switch",
        summary: "sched_yield among four processes, each with an address space of its own",
        source: "lmbench, lat_ctx",
    };
    // Warms up at once, like `spinlock`. The placement of the code decides between two costs of an indirect call, so
    // many short runs at different placements are better.
    const RUN_CYCLES: u64 = RUN_CYCLES / 12;
    type On = ModelKernel;
    type State = ();

    fn prepare<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, _: Random) -> Result<(), KernelError> {
        kernel.start_threads(3)
    }

    fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, (): &mut ()) -> Result<u64, KernelError> {
        Ok(kernel.sched_yield() as u64)
    }
}
