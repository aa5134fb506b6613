//! `page_life`: pages are allocated, used for the first time, and freed, as one unit of work.
//!
//! Whether zeroing pages when they are freed costs more than zeroing them when they are allocated was argued in 2009
//! with cache hotness: a page that is zeroed for its first user is in the cache when that user comes. Here
//! `sanitize_mem` zeroes as many pages as the plain kernel does, only earlier, so what it costs above the plain kernel
//! is that hotness, with the test of its flag; `init_on_free` zeroes twice.
//!
//! A unit frees all of its pages before the next one allocates them again, the last freed first: a page was zeroed up
//! to 256 KiB of other zeroing ago, more than a first-level cache holds.
//!
//! Hooks: `save_fl`, `irq_disable`, `queued_spin_unlock`, `irq_enable` per page that is allocated or freed. 64 pages
//! fit into the list of the CPU, so that none goes back to the zone.

use super::{KernelWorkload, Random, WorkloadMeta};
use crate::dispatch::Dispatch;
use crate::kernel::{Config, Kernel, KernelError};

/// Pages of a unit.
const PAGES: usize = 64;

/// Allocation, first use and free.
pub struct PageLife;

impl KernelWorkload for PageLife {
    const META: WorkloadMeta = WorkloadMeta {
        name: "page_life",
        unit: "64 pages",
        summary: "64 zeroed pages are allocated, every cache line of each is written and read, all are freed",
        source: "the argument over zeroing pages when they are freed, LKML 2009-05",
    };
    type State = [u64; PAGES];

    fn prepare<D: Dispatch, C: Config>(_: &mut Kernel<'_, D, C>, _: Random) -> Result<Self::State, KernelError> {
        Ok([0; PAGES])
    }

    fn unit<D: Dispatch, C: Config>(
        kernel: &mut Kernel<'_, D, C>,
        pages: &mut Self::State,
    ) -> Result<u64, KernelError> {
        let mut sum = 0;
        for (place, frame) in pages.iter_mut().enumerate() {
            *frame = kernel.get_zeroed_page()?;
            sum += kernel.use_page(*frame, place as u64);
        }
        for frame in *pages {
            kernel.free_page(frame);
        }
        Ok(sum)
    }
}
