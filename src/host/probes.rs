//! Facts that only system calls and instructions give, not files.

use std::env;
use std::io;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::thread::{CpuSet, sched_getaffinity};

use super::counter::{self, CounterError};
use super::tool::{self, FoundTool};
use super::{CpuFacts, CpuTime, Root};

/// Size of the trial mapping in bytes: one page.
const PAGE: usize = 4096;

/// A failed system call.
#[derive(Debug, thiserror::Error)]
#[error("{call} failed: {source}")]
pub struct ProbeError {
    /// The name of the call.
    pub call: &'static str,
    /// The error of the system.
    pub source: io::Error,
}

/// The answers of the running system to system calls; tests make their own.
#[derive(Debug)]
pub struct Probes {
    /// Facts from CPUID about clock and hypervisor.
    pub cpu: CpuFacts,
    /// The CPUs this thread may run on (`sched_getaffinity`).
    pub cpus_allowed: Result<Vec<u32>, ProbeError>,
    /// The CPU to measure on, if known; the checks of governor and SMT are about it.
    pub measuring_cpu: Option<u32>,
    /// Whether a counter of core cycles opens and counts.
    pub cycles_counter: Result<(), CounterError>,
    /// The execution domain and its flags (`personality(0xffffffff)`).
    pub personality: Result<u32, ProbeError>,
    /// Whether memory of a memfd can be mapped executable.
    pub executable_memfd: Result<(), ProbeError>,
    /// Valgrind, if it is on the PATH.
    pub valgrind: Option<FoundTool>,
    /// The runner of iai-callgrind, if it is on the PATH.
    pub iai_callgrind_runner: Option<FoundTool>,
    /// The CPU time of the allowed CPUs when the other answers were given, or why it is unknown. The load is the CPU
    /// time of other processes since then.
    pub cpu_time: Result<CpuTime, String>,
}

impl Probes {
    /// Asks the running system. Runs `valgrind --version` if Valgrind is on the PATH, and no other program.
    pub(crate) fn ask(root: &Root) -> Self {
        let cpus_allowed = read_affinity();
        let allowed = cpus_allowed.as_deref().unwrap_or_default().to_vec();
        let path = env::var_os("PATH").unwrap_or_default();
        Self {
            cpu: CpuFacts::read(root),
            measuring_cpu: cpus_allowed.as_deref().ok().and_then(measuring_cpu),
            cpus_allowed,
            cycles_counter: counter::try_cycles(),
            personality: read_personality(),
            executable_memfd: try_executable_memfd(),
            valgrind: tool::find_valgrind(root, &path),
            iai_callgrind_runner: tool::find_iai_callgrind_runner(root, &path),
            cpu_time: CpuTime::read(root, &allowed),
        }
    }
}

/// Chooses the CPU to measure on: the last allowed one, as most interrupts go to the first CPUs.
pub fn measuring_cpu(allowed: &[u32]) -> Option<u32> {
    allowed.iter().max().copied()
}

fn read_affinity() -> Result<Vec<u32>, ProbeError> {
    let set = sched_getaffinity(None).map_err(failed("sched_getaffinity"))?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).filter_map(|cpu| u32::try_from(cpu).ok()).collect())
}

fn read_personality() -> Result<u32, ProbeError> {
    // SAFETY: personality(2) with 0xffffffff changes nothing and returns the present persona.
    let answer = unsafe { libc::personality(0xffff_ffff) };
    u32::try_from(answer).map_err(|_| ProbeError { call: "personality", source: io::Error::last_os_error() })
}

/// Makes a page of a memfd, maps it readable and executable, and unmaps it.
fn try_executable_memfd() -> Result<(), ProbeError> {
    let create = |flags| memfd_create(c"pvbench-doctor", flags);
    // Kernels before 6.3 do not know MFD_EXEC and make every memfd executable.
    let memory = match create(MemfdFlags::CLOEXEC | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => create(MemfdFlags::CLOEXEC),
        other => other,
    }
    .map_err(failed("memfd_create"))?;
    ftruncate(&memory, PAGE as u64).map_err(failed("ftruncate of a memfd"))?;
    let protection = ProtFlags::READ | ProtFlags::EXEC;
    // SAFETY: a mapping at an address of the kernel's choice replaces no other mapping.
    let page = unsafe { mmap(std::ptr::null_mut(), PAGE, protection, MapFlags::SHARED, &memory, 0) }
        .map_err(failed("mmap of a memfd as executable"))?;
    // SAFETY: `page` is the mapping of PAGE bytes made above, and nothing refers to it.
    unsafe { munmap(page, PAGE) }.map_err(failed("munmap"))
}

fn failed(call: &'static str) -> impl Fn(Errno) -> ProbeError {
    move |errno| ProbeError { call, source: errno.into() }
}
