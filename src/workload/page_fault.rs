//! `page_fault` and `prot_fault`, after lmbench's `lat_pagefault` and `lat_sig prot`.

use super::{ModelKernel, Random, Workload, WorkloadMeta};
use crate::dispatch::Dispatch;
use crate::kernel::{Config, Kernel, KernelError, Prot};

/// Pages of the range; they are in one or two tables.
const PAGES: u64 = 256;

/// The first write to a mapped page that is not present.
///
/// Hooks of a fault:
/// * `read_cr2`; `irq_enable` and `irq_disable` of the exception;
/// * `p4d_val`, `pud_val`, `pmd_val` three times (the walk, the table's lock, the table);
/// * for the page `save_fl`, `irq_disable`, `queued_spin_unlock`, `irq_enable`;
/// * `make_pte`, `set_pte`; `queued_spin_unlock` of the table.
///
/// The unmapping of the range calls `pte_val` and the four of the page allocator for each page, and once the hooks of
/// [`LatMmap`](super::LatMmap) for tables.
///
/// Once in 256 units the range is unmapped and mapped again, so that its pages fault again.
pub struct PageFault;

/// The address of the range, and the index of the next page.
pub struct Range {
    at: u64,
    next: u64,
}

impl Workload for PageFault {
    const META: WorkloadMeta = WorkloadMeta {
        name: "page_fault",
        unit: "fault",
        summary: "first writes to the pages of a range of 256, which is then unmapped and mapped again",
        source: "lmbench, lat_pagefault",
    };
    // Kernel options zero pages at allocation or at free, so a part must free as many pages as it allocates.
    const PERIOD_UNITS: u64 = PAGES;
    type On = ModelKernel;
    type State = Range;

    fn prepare<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, _: Random) -> Result<Range, KernelError> {
        Ok(Range { at: kernel.mmap(PAGES * 4096, Prot::Write)?, next: 0 })
    }

    fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, state: &mut Range) -> Result<u64, KernelError> {
        if state.next == PAGES {
            kernel.munmap(state.at, PAGES * 4096)?;
            *state = Range { at: kernel.mmap(PAGES * 4096, Prot::Write)?, next: 0 };
        }
        let address = state.at + state.next * 4096;
        state.next += 1;
        kernel.store(address, address)?;
        Ok(address)
    }
}

/// A write to a page that was made read-only. The process gets a signal, makes the page writable in the handler, and
/// writes again.
///
/// Hooks: those of the two `mprotect` calls (`ptep_modify_prot_start`, `pte_val`, `make_pte`,
/// `ptep_modify_prot_commit`, in lazy mode), of a fault that ends in `SIGSEGV`, and of the signal's locks.
pub struct ProtFault;

impl Workload for ProtFault {
    const META: WorkloadMeta = WorkloadMeta {
        name: "prot_fault",
        unit: "signal",
        summary: "a write to a protected page, the signal, and the handler's change of the protection",
        source: "lmbench, lat_sig prot",
    };
    type On = ModelKernel;
    type State = Range;

    fn prepare<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, _: Random) -> Result<Range, KernelError> {
        let at = kernel.mmap(PAGES * 4096, Prot::Write)?;
        for page in 0..PAGES {
            kernel.store(at + page * 4096, page)?;
        }
        Ok(Range { at, next: 0 })
    }

    fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, state: &mut Range) -> Result<u64, KernelError> {
        let address = state.at + (state.next % PAGES) * 4096;
        state.next += 7;
        kernel.mprotect(address, 4096, Prot::Read)?;
        match kernel.store(address, state.next) {
            Err(KernelError::Fault(_)) => kernel.signal(address)?,
            other => return other.map(|()| 0),
        }
        kernel.mprotect(address, 4096, Prot::Write)?;
        kernel.store(address, state.next)?;
        kernel.load(address)
    }
}
