//! `fork_exit` and `exec`, after lmbench's `lat_proc fork` and `lat_proc exec`.
//!
//! Hooks of a fork:
//! * `pgd_alloc`;
//! * for the child's tables `alloc_pud`, `alloc_pmd`, `alloc_pte`, each with `make_` and `set_` of the entry above;
//! * in lazy mode, table by table, `pte_val` and `set_pte` for every present page (`copy_pte_range`);
//! * `dup_mmap`;
//! * `flush_tlb_user`, because the parent's pages become read-only.
//!
//! Hooks of a copy on write: those of a fault, with `pte_val` of the old page, `flush_tlb_one_user` and `set_pte` of
//! the new one.
//!
//! Hooks of an exit: `exit_mmap`; `lazy_enter` and `lazy_leave` per table, `pte_val` per page; the tables' `set_`,
//! `release_` and `tlb_remove_table`; `pgd_free`. The switches to the child and back call `write_cr3`.
//!
//! Hooks of `execve`: all of these again for the new address space and the old one, and `activate_mm`.

use super::{ModelKernel, Random, Workload, WorkloadMeta};
use crate::dispatch::Dispatch;
use crate::kernel::{Config, Kernel, KernelError, Prot};

/// Number of areas of the process that forks.
const AREAS: u64 = 12;
/// Present pages per area.
const PAGES: u64 = 16;
/// Number of writes of the child; each copies a page.
const WRITTEN: u64 = 24;

/// Builds a process of a shell's size. Every third area is read-only code, the others are written data; areas with
/// different permissions do not merge.
pub(super) fn build_process<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>) -> Result<Vec<u64>, KernelError> {
    let mut areas = Vec::new();
    for number in 0..AREAS {
        let prot = if number % 3 == 2 { Prot::Read } else { Prot::Write };
        let at = kernel.mmap(4 * PAGES * 4096, prot)?;
        for page in 0..PAGES {
            if prot == Prot::Write {
                kernel.store(at + page * 4096, number)?;
            } else {
                kernel.load(at + page * 4096)?;
            }
        }
        if prot == Prot::Write {
            areas.push(at);
        }
    }
    Ok(areas)
}

/// Writes the pages that a child writes before it exits: its stack and some data.
pub(super) fn write_as_child<D: Dispatch, C: Config>(
    kernel: &mut Kernel<'_, D, C>,
    areas: &[u64],
) -> Result<u64, KernelError> {
    let mut sum = 0;
    for page in 0..WRITTEN {
        let at = areas[page as usize % areas.len().max(1)] + (page / 8) * 4096;
        sum += kernel.load(at)?;
        kernel.store(at, page)?;
    }
    Ok(sum)
}

/// A fork whose child writes to some pages and exits.
pub struct ForkExit;

impl Workload for ForkExit {
    const META: WorkloadMeta = WorkloadMeta {
        name: "fork_exit",
        unit: "fork",
        summary: "fork of a process with 192 pages; the child copies 24 of them by writing, and exits",
        source: "lmbench, lat_proc fork",
    };
    type On = ModelKernel;
    type State = Vec<u64>;

    fn prepare<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, _: Random) -> Result<Vec<u64>, KernelError> {
        build_process(kernel)
    }

    fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, areas: &mut Vec<u64>) -> Result<u64, KernelError> {
        let child = kernel.fork()?;
        kernel.run_child(child, |kernel| write_as_child(kernel, areas))
    }
}

/// A fork whose child becomes another program, which touches its pages and exits.
pub struct Exec;

impl Workload for Exec {
    const META: WorkloadMeta = WorkloadMeta {
        name: "exec",
        unit: "program",
        summary: "fork, execve of a program with five segments, first touches of 40 pages, exit",
        source: "lmbench, lat_proc exec",
    };
    type On = ModelKernel;
    type State = Vec<u64>;

    fn prepare<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, _: Random) -> Result<Vec<u64>, KernelError> {
        build_process(kernel)
    }

    fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, _: &mut Vec<u64>) -> Result<u64, KernelError> {
        let child = kernel.fork()?;
        kernel.run_child(child, |kernel| {
            kernel.execve(64)?;
            let areas: Vec<(u64, Prot)> =
                kernel.machine().areas().iter().map(|(start, area)| (start, area.prot)).collect();
            let mut sum = 0;
            for (start, prot) in areas {
                for page in 0..10 {
                    let at = start + page * 4096;
                    if prot == Prot::Write {
                        kernel.store(at, page)?;
                    } else {
                        sum += kernel.load(at)?;
                    }
                }
            }
            Ok(sum)
        })
    }
}
