//! `kernel_build`: the other workloads, mixed as in the processes of a kernel build.
//!
//! The proportions come from a published profile of two builds (M. Vermeulen, mvermeulen.org/perf,
//! `phoronix/build-linux-kernel`). Linux 4.13 took 29,135 processes with 31,486,712 minor faults, which is 1,081 per
//! process. A later build with all modules has a context switch per 80 faults.
//!
//! `make` forks a process, which becomes another program, faults its memory in, and exits. The jobs of a parallel
//! `make` take turns on the CPU. The profile does not tell how often a process calls `mmap` and short system calls; 8
//! and 64 of them matter little beside a thousand faults.
//!
//! This is the *system time* of the build. User time was 96.3% of the total in the first of these builds, 26 times as
//! much. An overhead in percent of elapsed time is therefore a twenty-seventh of the one shown.
//!
//! Hooks: those of `fork_exit`, `exec`, `page_fault`, `mmap_perf`, `context_switch` and `null_syscall`.

use super::fork::{build_process, write_as_child};
use super::mmap_perf::Areas;
use super::{ModelKernel, Random, Workload, WorkloadMeta};
use crate::dispatch::Dispatch;
use crate::kernel::{Config, Kernel, KernelError, Prot};

/// First touches per process.
const FAULTS: u64 = 1_081;
/// First touches in each segment; the rest of [`FAULTS`] are in the heap.
const SEGMENT_FAULTS: u64 = 16;
/// `mmap`, `munmap` and `mremap` calls per process.
const MAPS: usize = 8;
/// Short system calls per process.
const CALLS: usize = 64;
/// Number of waiting jobs.
const OTHERS: usize = 3;
/// Context switches per process: a multiple of the number of jobs, so that each job has its turn.
const SWITCHES: usize = 12;

/// A process of a kernel build.
pub struct KernelBuild;

/// The `make` that starts processes.
pub struct Make {
    areas: Vec<u64>,
    mapped: Areas,
}

impl Workload for KernelBuild {
    const META: WorkloadMeta = WorkloadMeta {
        name: "kernel_build",
        unit: "process",
        summary: "fork, execve, 1,081 faults, context switches, mmaps and system calls of a process in a kernel build",
        source: "mvermeulen.org/perf, phoronix/build-linux-kernel: faults per process, context switches per fault",
    };
    type On = ModelKernel;
    type State = Make;

    fn prepare<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, random: Random) -> Result<Make, KernelError> {
        let areas = build_process(kernel)?;
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
            let sum = write_as_child(kernel, &state.areas[..2])?;
            Ok(sum + compile(kernel)?)
        })?;
        Ok(sum)
    }
}

/// Makes the requests of a compiler to the kernel.
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
