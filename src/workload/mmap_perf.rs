//! `mmap_perf`: pseudo-random `mmap`, `munmap` and `mremap` calls with touches. It follows the benchmark that measured
//! the cost of paravirt_ops in 2009 (LKML 2009-01-20, `mmap-perf.c`).
//!
//! There are 64 areas of up to 16 pages. A call maps an unmapped area; for a mapped one, it unmaps it or changes its
//! length, with equal probability. Then up to eight pages of the area are written, or, one time in four, read. The
//! original touched fewer pages: about one fault in 18 calls, by its published counts. The share of faults here is that
//! of a process that uses the memory it maps.
//!
//! Hooks of a `mmap`: `irq_enable` and `irq_disable` (entry and exit).
//!
//! Hooks of a fault:
//! * `read_cr2`, `irq_enable`, `irq_disable`;
//! * `p4d_val` and `pud_val` in the walk, `pmd_val` for the entry and twice for its lock and table;
//! * `make_pte`, `set_pte`; `queued_spin_unlock` for the table's lock;
//! * for its page `save_fl`, `irq_disable`, `queued_spin_unlock`, `irq_enable`;
//! * if a table is missing, the same four for its frame, and `alloc_pte`, `make_pmd`, `set_pmd`, `queued_spin_unlock`.
//!
//! Hooks of a `munmap`:
//! * per table `p4d_val`, `pud_val`, `pmd_val` twice, `lazy_enter`, `lazy_leave`, `queued_spin_unlock`;
//! * per page `pte_val`, and the four of the page allocator;
//! * per flush `irq_disable`, `flush_tlb_one_user` for each page, `irq_enable`;
//! * per freed table `pmd_val`, `set_pmd`, `release_pte`, `tlb_remove_table`.

use super::sequence::{AREAS, Do, Sequence};
use super::{ModelKernel, Random, Workload, WorkloadMeta};
use crate::dispatch::Dispatch;
use crate::kernel::{Config, Kernel, KernelError, Prot};

const PAGE: u64 = 4096;

/// Pseudo-random mmap, munmap and mremap.
pub struct MmapPerf;

/// The sequence of calls, with the addresses of its areas.
pub struct Areas {
    sequence: Sequence,
    at: [u64; AREAS],
}

impl Areas {
    /// Starts with no area mapped.
    pub(super) fn new(random: Random) -> Self {
        Areas { sequence: Sequence::new(random), at: [0; AREAS] }
    }

    /// Makes one call with its touches.
    #[inline(never)]
    pub(super) fn step<D: Dispatch, C: Config>(&mut self, kernel: &mut Kernel<'_, D, C>) -> Result<u64, KernelError> {
        let step = self.sequence.next();
        let at = self.at[step.area];
        let at = match step.what {
            Do::Map => kernel.mmap(step.pages * PAGE, Prot::Write)?,
            Do::Unmap => {
                kernel.munmap(at, step.before * PAGE)?;
                return Ok(at);
            }
            Do::Remap => kernel.mremap(at, step.before * PAGE, step.pages * PAGE)?,
        };
        self.at[step.area] = at;
        let mut found = at;
        for page in step.touched..step.touched + step.touches {
            if step.writes {
                kernel.store(at + page * PAGE, at)?;
            } else {
                found = found.wrapping_add(kernel.load(at + page * PAGE)?);
            }
        }
        Ok(found)
    }
}

impl Workload for MmapPerf {
    const META: WorkloadMeta = WorkloadMeta {
        name: "mmap_perf",
        unit: "call",
        summary: "pseudo-random mmap, munmap and mremap of 64 areas, each followed by touches",
        source: "mmap-perf.c, LKML 2009-01-20",
    };
    type On = ModelKernel;
    type State = Areas;

    fn prepare<D: Dispatch, C: Config>(_: &mut Kernel<'_, D, C>, random: Random) -> Result<Areas, KernelError> {
        Ok(Areas::new(random))
    }

    fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, state: &mut Areas) -> Result<u64, KernelError> {
        state.step(kernel)
    }
}
