//! `kernel_build`: the others, mixed as the processes of a kernel build have them.
//!
//! The proportions are those of a published profile of two builds (M. Vermeulen, mvermeulen.org/perf,
//! `phoronix/build-linux-kernel`): Linux 4.13 by 29,135 processes with 31,486,712 minor faults, which is 1,081 for
//! each; a later build with all modules has a context switch per 80 faults. A process of `make` is forked, becomes
//! another program, faults its memory in, and exits; the jobs of a parallel `make` take turns on the CPU. How often a
//! process calls `mmap` and short system calls the profile does not say: 8 and 64 of them are small change beside a
//! thousand faults.
//!
//! This is the build's *system time*. User time was 96.3% of all in the first of these builds, 26 times as much: an
//! overhead in percent of elapsed time is a twenty-seventh of the one shown.
//!
//! Hooks are those of `fork_exit`, `exec`, `page_fault`, `mmap_perf`, `context_switch` and `null_syscall`.

use super::fork::{child_writes, process};
use super::mmap_perf::Areas;
use super::{KernelWorkload, Random, WorkloadMeta};
use crate::dispatch::Dispatch;
use crate::kernel::{Config, Kernel, KernelError, Prot};

/// First touches of a process.
const FAULTS: u64 = 1_081;
/// Of them, those of each of its segments; the others are of its heap.
const SEGMENT_FAULTS: u64 = 16;
/// `mmap`, `munmap` and `mremap` calls.
const MAPS: usize = 8;
/// Short system calls.
const CALLS: usize = 64;
/// Jobs beside the one that is looked at.
const OTHERS: usize = 3;
/// Context switches: a multiple of the jobs, so that each has its turn.
const SWITCHES: usize = 12;

/// A process of a kernel build.
pub struct KernelBuild;

/// The `make` that starts processes.
pub struct Make {
    areas: Vec<u64>,
    mapped: Areas,
}

impl KernelWorkload for KernelBuild {
    const META: WorkloadMeta = WorkloadMeta {
        name: "kernel_build",
        unit: "process",
        summary: "fork, execve, 1,081 faults, context switches, mmaps and system calls, as a process of a kernel build has them",
        source: "mvermeulen.org/perf, phoronix/build-linux-kernel: faults per process, context switches per fault",
    };
    type State = Make;

    fn prepare<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, random: Random) -> Result<Make, KernelError> {
        let areas = process(kernel)?;
        kernel.start_threads(OTHERS)?;
        Ok(Make { areas, mapped: Areas::new(random) })
    }

    fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, state: &mut Make) -> Result<u64, KernelError> {
        let mut sum = 0;
        for _ in 0..MAPS {
            sum += state.mapped.step(kernel)?;
        }
        for _ in 0..SWITCHES {
            sum += kernel.sched_yield() as u64;
        }
        let child = kernel.fork()?;
        sum += kernel.run_child(child, |kernel| {
            let sum = child_writes(kernel, &state.areas[..2])?;
            Ok(sum + compile(kernel)?)
        })?;
        Ok(sum)
    }
}

/// A compiler, as far as the kernel sees it.
fn compile<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>) -> Result<u64, KernelError> {
    kernel.execve(64)?;
    let segments: Vec<(u64, Prot)> = kernel.machine().areas().iter().map(|(start, area)| (start, area.prot)).collect();
    let mut sum = 0;
    for (start, prot) in &segments {
        for page in 0..SEGMENT_FAULTS {
            let at = start + page * 4096;
            match prot {
                Prot::Write => kernel.store(at, page)?,
                Prot::Read => sum += kernel.load(at)?,
            }
        }
    }
    for _ in 0..CALLS {
        sum += kernel.getppid();
    }
    let pages = FAULTS - SEGMENT_FAULTS * segments.len() as u64;
    let heap = kernel.mmap(pages * 4096, Prot::Write)?;
    for page in 0..pages {
        kernel.store(heap + page * 4096, page)?;
    }
    Ok(sum)
}
