//! `page_life`: pages are allocated, used for the first time, and freed, as one unit of work.
//!
//! In 2009, cache hotness was an argument against zeroing pages when they are freed instead of when they are allocated.
//! A page that is zeroed at allocation is in the cache when its first user comes. Here `sanitize_mem` zeroes as many
//! pages as the plain kernel, only earlier. Its cost above the plain kernel is therefore the lost hotness and the test
//! of its flag. `init_on_free` zeroes twice.
//!
//! A unit frees all of its pages before the next one allocates them again, the last freed first. Up to 256 KiB of other
//! zeroing lie between the zeroing of a page and its use, more than a first-level cache holds.
//!
//! Hooks: `save_fl`, `irq_disable`, `queued_spin_unlock`, `irq_enable` per allocated and per freed page. 64 pages fit
//! into the list of the CPU, so that none returns to the zone.

use super::{ModelKernel, Random, Workload, WorkloadMeta};
use crate::dispatch::Dispatch;
use crate::kernel::{Config, Kernel, KernelError};

/// Pages per unit.
const PAGES: usize = 64;

/// Allocation, first use and free.
pub struct PageLife;

impl Workload for PageLife {
    const META: WorkloadMeta = WorkloadMeta {
        name: "page_life",
        unit: "64 pages",
        summary: "64 zeroed pages are allocated, every cache line of each is written and read, all are freed",
        source: "the argument over zeroing pages when they are freed, LKML 2009-05",
    };
    type On = ModelKernel;
    type State = [u64; PAGES];

    fn prepare<D: Dispatch, C: Config>(_: &mut Kernel<'_, D, C>, _: Random) -> Result<Self::State, KernelError> {
        Ok([0; PAGES])
    }

    fn unit<D: Dispatch, C: Config>(
        kernel: &mut Kernel<'_, D, C>,
        pages: &mut Self::State,
    ) -> Result<u64, KernelError> {
        let mut sum = 0;
        for (index, frame) in pages.iter_mut().enumerate() {
            *frame = kernel.get_zeroed_page()?;
            sum += kernel.use_page(*frame, index as u64);
        }
        for frame in *pages {
            kernel.free_page(frame);
        }
        Ok(sum)
    }
}
