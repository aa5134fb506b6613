//! `mmap_perf`: pseudo-random `mmap`, `munmap` and `mremap` calls with touches, after the benchmark with which the cost of
//! paravirt_ops was measured in 2009 (LKML 2009-01-20, `mmap-perf.c`).
//!
//! 64 areas of up to 16 pages. A call maps an area that is not there, or, half and half, unmaps one or changes its length;
//! then one of its pages is written, or, one time in four, read. The original touched less (about one fault in 18 calls,
//! from its published counts); here the share of faults is what a process has that uses what it maps.
//!
//! Hooks of a `mmap`: `irq_enable` and `irq_disable` (the way in and out). Of a fault: `read_cr2`, `irq_enable`,
//! `irq_disable`; `p4d_val` and `pud_val` in the walk, `pmd_val` for the entry and twice for its lock and table; `make_pte`,
//! `set_pte`; `queued_spin_unlock` for the table's lock; for its page `save_fl`, `irq_disable`, `queued_spin_unlock`,
//! `irq_enable`; where a table is missing, the same for its frame, `alloc_pte`, `make_pmd`, `set_pmd`,
//! `queued_spin_unlock`. Of a `munmap`: per table `p4d_val`, `pud_val`, `pmd_val` twice, `lazy_enter`, `lazy_leave`,
//! `queued_spin_unlock`; per page `pte_val`, and the allocator's four; a flush is `irq_disable`, `flush_tlb_one_user` per
//! page, `irq_enable`; per table that goes `pmd_val`, `set_pmd`, `release_pte`, `tlb_remove_table`.

use super::{KernelWorkload, Meta, Random};
use crate::dispatch::Dispatch;
use crate::kernel::{Config, Kernel, Prot, Trouble};

const AREAS: usize = 64;
const MOST_PAGES: u64 = 16;
const PAGE: u64 = 4096;

/// Pseudo-random mmap, munmap and mremap.
pub struct MmapPerf;

/// The areas: where and how many pages; none where that is 0.
pub struct Areas {
    random: Random,
    areas: [(u64, u64); AREAS],
}

impl Areas {
    /// None mapped.
    pub(super) fn new(random: Random) -> Self {
        Areas { random, areas: [(0, 0); AREAS] }
    }

    /// One call and a touch.
    #[inline(never)]
    pub(super) fn step<D: Dispatch, C: Config>(&mut self, kernel: &mut Kernel<'_, D, C>) -> Result<u64, Trouble> {
        let place = self.random.below(AREAS as u64) as usize;
        let pages = 1 + self.random.below(MOST_PAGES);
        let (at, len) = self.areas[place];
        let at = if len == 0 {
            kernel.mmap(pages * PAGE, Prot::Write)?
        } else if self.random.below(2) == 0 {
            kernel.munmap(at, len * PAGE)?;
            self.areas[place] = (0, 0);
            return Ok(at);
        } else {
            kernel.mremap(at, len * PAGE, pages * PAGE)?
        };
        self.areas[place] = (at, pages);
        let touched = at + self.random.below(pages) * PAGE;
        if self.random.below(4) == 0 {
            kernel.load(touched)
        } else {
            kernel.store(touched, at)?;
            Ok(at)
        }
    }
}

impl KernelWorkload for MmapPerf {
    const META: Meta = Meta {
        name: "mmap_perf",
        unit: "call",
        summary: "pseudo-random mmap, munmap and mremap of 64 areas, each followed by a touch",
        source: "mmap-perf.c, LKML 2009-01-20",
    };
    type State = Areas;

    fn prepare<D: Dispatch, C: Config>(_: &mut Kernel<'_, D, C>, random: Random) -> Result<Areas, Trouble> {
        Ok(Areas::new(random))
    }

    fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, state: &mut Areas) -> Result<u64, Trouble> {
        state.step(kernel)
    }
}
