//! `kernel_build`: the others, mixed as a compiler run has them.

use super::fork::{child_writes, process};
use super::mmap_perf::Areas;
use super::{KernelWorkload, Meta, Random};
use crate::dispatch::Dispatch;
use crate::kernel::{Config, Kernel, Prot, Trouble};

/// Memory that the compiler's process works on in between: what is user time there.
const WORKED_PAGES: u64 = 256;

/// A compiler run in small.
pub struct KernelBuild;

/// The shell that starts compilers, and what one of them has.
pub struct Shell {
    areas: Vec<u64>,
    mapped: Areas,
    heap: u64,
    count: u64,
}

impl KernelWorkload for KernelBuild {
    const META: Meta = Meta {
        name: "kernel_build",
        unit: "compiler run",
        summary: "fork, execve, faults, mmaps, system calls and computing, in the proportions of a kernel build",
        source: "counts of faults, system calls and processes of a kernel build; see the documentation of the type",
    };
    type State = Shell;

    fn prepare<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, random: Random) -> Result<Shell, Trouble> {
        let areas = process(kernel)?;
        let heap = kernel.mmap(WORKED_PAGES * 4096, Prot::Write)?;
        Ok(Shell { areas, mapped: Areas::new(random), heap, count: 0 })
    }

    fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, state: &mut Shell) -> Result<u64, Trouble> {
        state.count += 1;
        let mut sum = 0;
        for _ in 0..8 {
            sum += state.mapped.step(kernel)?;
        }
        let child = kernel.fork()?;
        sum += kernel.run_child(child, |kernel| {
            let mut sum = child_writes(kernel, &state.areas[..2])?;
            kernel.execve(64)?;
            let starts: Vec<(u64, Prot)> =
                kernel.machine().areas().iter().map(|(start, area)| (start, area.prot)).collect();
            for (start, prot) in starts {
                for page in 0..16 {
                    let at = start + page * 4096;
                    match prot {
                        Prot::Write => kernel.store(at, page)?,
                        Prot::Read => sum += kernel.load(at)?,
                    }
                }
            }
            for _ in 0..64 {
                sum += kernel.getppid();
            }
            Ok(sum)
        })?;
        // What it computes: user time.
        for page in 0..WORKED_PAGES / 4 {
            let at = state.heap + (page * 37 % WORKED_PAGES) * 4096;
            for word in (0..4096).step_by(64) {
                kernel.store(at + word, sum + page)?;
            }
        }
        Ok(sum)
    }
}
