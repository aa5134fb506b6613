//! `null_syscall`: the way into the kernel and back, after lmbench's `lat_syscall null` (`getppid`).
//!
//! Hooks: `irq_enable`, `irq_disable`.

use super::{KernelWorkload, RUN_CYCLES, Random, WorkloadMeta};
use crate::dispatch::Dispatch;
use crate::kernel::{Config, Kernel, KernelError};

/// `getppid`.
pub struct NullSyscall;

impl KernelWorkload for NullSyscall {
    const META: WorkloadMeta = WorkloadMeta {
        name: "null_syscall",
        unit: "call",
        summary: "getppid: the way into the kernel and back, without the instruction that changes rings",
        source: "lmbench, lat_syscall null",
    };
    // A few lines are as warm after some microseconds as they get, and what differs between runs is where the code is.
    const RUN_CYCLES: u64 = RUN_CYCLES / 4;
    const OVERHEAD_PROBE_UNITS: u64 = 64;
    type State = ();

    fn prepare<D: Dispatch, C: Config>(_: &mut Kernel<'_, D, C>, _: Random) -> Result<(), KernelError> {
        Ok(())
    }

    fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, (): &mut ()) -> Result<u64, KernelError> {
        Ok(kernel.getppid())
    }
}
