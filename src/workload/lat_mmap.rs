//! `lat_mmap`: a range is mapped, touched, unmapped, as lmbench's benchmark of that name does with a file (McVoy and
//! Staelin, "lmbench: Portable tools for performance analysis", USENIX 1996). The memory here is anonymous.
//!
//! 64 pages, every fourth of which is written. Hooks are those of [`mmap_perf`](super::MmapPerf), with all tables but
//! the root made and freed in every unit.

use super::{KernelWorkload, Random, WorkloadMeta};
use crate::dispatch::Dispatch;
use crate::kernel::{Config, Kernel, KernelError, Prot};

const PAGES: u64 = 64;
const STRIDE: u64 = 4;

/// Map, fault in, unmap.
pub struct LatMmap;

impl KernelWorkload for LatMmap {
    const META: WorkloadMeta = WorkloadMeta {
        name: "lat_mmap",
        unit: "map of 64 pages",
        summary: "a range is mapped, every fourth of its pages written, unmapped",
        source: "lmbench, lat_mmap",
    };
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
