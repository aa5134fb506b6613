//! `null_syscall`: kernel entry and exit, after lmbench's `lat_syscall null` (`getppid`).
//!
//! Hooks: `irq_enable`, `irq_disable`.

use super::{ModelKernel, RUN_CYCLES, Random, Workload, WorkloadMeta};
use crate::dispatch::Dispatch;
use crate::kernel::{Config, Kernel, KernelError};

/// `getppid`.
pub struct NullSyscall;

impl Workload for NullSyscall {
    const META: WorkloadMeta = WorkloadMeta {
        name: "null_syscall",
        unit: "call",
        summary: "getppid: kernel entry and exit, without the instruction that changes rings",
        source: "lmbench, lat_syscall null",
    };
    // The few cache lines are warm after some microseconds, and runs differ by the placement of the code.
    const RUN_CYCLES: u64 = RUN_CYCLES / 4;
    const OVERHEAD_PROBE_UNITS: u64 = 64;
    type On = ModelKernel;
    type State = ();

    fn prepare<D: Dispatch, C: Config>(_: &mut Kernel<'_, D, C>, _: Random) -> Result<(), KernelError> {
        Ok(())
    }

    fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, (): &mut ()) -> Result<u64, KernelError> {
        Ok(kernel.getppid())
    }
}
