//! `lat_mmap`: maps a range, touches it and unmaps it, like lmbench's benchmark of that name (McVoy and Staelin,
//! "lmbench: Portable tools for performance analysis", USENIX 1996). lmbench maps a file; the memory here is anonymous.
//!
//! The range has 64 pages, every fourth of which is written. The hooks are those of [`mmap_perf`](super::MmapPerf).
//! Every unit makes and frees all tables but the root.

use super::{ModelKernel, Random, Workload, WorkloadMeta};
use crate::dispatch::Dispatch;
use crate::kernel::{Config, Kernel, KernelError, Prot};

/// Pages of the range.
const PAGES: u64 = 64;
/// Distance between written pages, in pages.
const STRIDE: u64 = 4;

/// Map, fault in, unmap.
pub struct LatMmap;

impl Workload for LatMmap {
    const META: WorkloadMeta = WorkloadMeta {
        name: "lat_mmap",
        unit: "map of 64 pages",
        summary: "a range is mapped, every fourth of its pages is written, and the range is unmapped",
        source: "lmbench, lat_mmap",
    };
    type On = ModelKernel;
    type State = ();

    fn prepare<D: Dispatch, C: Config>(_: &mut Kernel<'_, D, C>, _: Random) -> Result<(), KernelError> {
        Ok(())
    }

    fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, (): &mut ()) -> Result<u64, KernelError> {
        let at = kernel.mmap(PAGES * 4096, Prot::Write)?;
        for page in (0..PAGES).step_by(STRIDE as usize) {
            kernel.store(at + page * 4096, page)?;
        }
        kernel.munmap(at, PAGES * 4096)?;
        Ok(at)
    }
}
