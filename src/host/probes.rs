//! What has to be asked of the kernel by a call, as no file tells it.

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

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[error("{call} failed: {source}")]
pub struct ProbeError {
    /// The call.
    pub call: &'static str,
    /// What the system said.
    pub source: io::Error,
}

/// The answers of the running system to what no file tells; tests give their own.
#[derive(Debug)]
pub struct Probes {
    /// The CPU's clock and hypervisor.
    pub cpu: CpuFacts,
    /// The CPUs this thread may run on (`sched_getaffinity`).
    pub cpus_allowed: Result<Vec<u32>, ProbeError>,
    /// The CPU that is to be measured on, where known: the checks of governor and SMT are about it.
    pub measuring_cpu: Option<u32>,
    /// Whether a counter of core cycles opens and counts.
    pub cycles_counter: Result<(), CounterError>,
    /// The execution domain and its flags (`personality(0xffffffff)`).
    pub personality: Result<u32, ProbeError>,
    /// Whether memory of a memfd can be mapped executable.
    pub executable_memfd: Result<(), ProbeError>,
    /// Valgrind, where it is on the PATH.
    pub valgrind: Option<FoundTool>,
    /// The runner of iai-callgrind, where it is on the PATH.
    pub iai_callgrind_runner: Option<FoundTool>,
    /// What the allowed CPUs had done when all else was asked, or why that is not known: the load is what other
    /// processes take from then on.
    pub cpu_time: Result<CpuTime, String>,
}

impl Probes {
    /// Asks the running system. Runs `valgrind --version` where there is a valgrind on the PATH, and no other program.
    pub fn ask(root: &Root) -> Self {
        let cpus_allowed = affinity();
        let allowed = cpus_allowed.as_deref().unwrap_or_default().to_vec();
        let path = env::var_os("PATH").unwrap_or_default();
        Self {
            cpu: CpuFacts::read(root),
            measuring_cpu: cpus_allowed.as_deref().ok().and_then(measuring_cpu),
            cpus_allowed,
            cycles_counter: counter::try_cycles(),
            personality: personality(),
            executable_memfd: executable_memfd(),
            valgrind: tool::valgrind(root, &path),
            iai_callgrind_runner: tool::iai_callgrind_runner(root, &path),
            cpu_time: CpuTime::read(root, &allowed),
        }
    }
}

/// The CPU to measure on among those allowed: the last one, as most interrupts go to the first.
pub fn measuring_cpu(allowed: &[u32]) -> Option<u32> {
    allowed.iter().max().copied()
}

fn affinity() -> Result<Vec<u32>, ProbeError> {
    let set = sched_getaffinity(None).map_err(failed("sched_getaffinity"))?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).filter_map(|cpu| u32::try_from(cpu).ok()).collect())
}

fn personality() -> Result<u32, ProbeError> {
    // SAFETY: personality(2) with 0xffffffff changes nothing and returns the persona in force.
    let answer = unsafe { libc::personality(0xffff_ffff) };
    u32::try_from(answer).map_err(|_| ProbeError { call: "personality", source: io::Error::last_os_error() })
}

/// Makes a page of a memfd, maps it readable and executable, and takes it away again.
fn executable_memfd() -> Result<(), ProbeError> {
    let create = |flags| memfd_create(c"pvbench-doctor", flags);
    // Kernels before 6.3 do not know MFD_EXEC and make every memfd executable.
    let memory = match create(MemfdFlags::CLOEXEC | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => create(MemfdFlags::CLOEXEC),
        other => other,
    }
    .map_err(failed("memfd_create"))?;
    ftruncate(&memory, PAGE as u64).map_err(failed("ftruncate of a memfd"))?;
    let protection = ProtFlags::READ | ProtFlags::EXEC;
    // SAFETY: a new mapping at an address of the kernel's choice replaces no other one.
    let page = unsafe { mmap(std::ptr::null_mut(), PAGE, protection, MapFlags::SHARED, &memory, 0) }
        .map_err(failed("mmap of a memfd as executable"))?;
    // SAFETY: `page` is the mapping of PAGE bytes made above, and nothing refers to it.
    unsafe { munmap(page, PAGE) }.map_err(failed("munmap"))
}

fn failed(call: &'static str) -> impl Fn(Errno) -> ProbeError {
    move |errno| ProbeError { call, source: errno.into() }
}
