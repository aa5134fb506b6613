//! The workloads.

use core::arch::asm;

use crate::Options;
use crate::linux::{Call, call, exit, instructions, simple};
use crate::records::Records;
use crate::sequence::{AREAS, Do, Sequence};

const PAGE: usize = 4096;
const READ: usize = 1;
const WRITE: usize = 2;
const PRIVATE_ANONYMOUS: usize = 0x22;
const SIGUSR1: usize = 10;
const SIGKILL: usize = 9;
/// The seed of every run, so that all kernels do the same work.
const SEED: u64 = 42;

/// Counts loops of known length: a million decrements and branches; `rep stosb` of nothing and of a thousand bytes.
pub fn known() -> [u64; 3] {
    let start = instructions();
    // SAFETY: the block changes one register.
    unsafe { asm!("2:", "dec {0}", "jnz 2b", inout(reg) 1_000_000u64 => _, options(att_syntax, nomem, nostack)) }
    let looped = instructions() - start;
    let mut bytes = [0u8; 1000];
    let mut stored = |count: u64| {
        let start = instructions();
        // SAFETY: the buffer has a thousand bytes.
        unsafe {
            asm!(
                "rep stosb", inout("rcx") count => _, inout("rdi") bytes.as_mut_ptr() => _, in("al") 1u8,
                options(nostack)
            )
        }
        instructions() - start
    };
    // Not counted: it takes the first fault of the buffer's page.
    stored(1000);
    [looped, stored(0), stored(1000)]
}

/// Runs the workloads with a bit in `only`, in this order, which is that of `src/linux/workload.rs`.
pub fn all(options: &Options, records: &mut Records) {
    let work: [fn(&mut Run); 11] =
        [getppid, mmap_perf, fault, mprotect, fork_exit, fork_exec, ping_pong, open_close, sched_yield, futex, signal];
    for (index, work) in work.into_iter().enumerate() {
        if options.only >> index & 1 == 1 {
            work(&mut Run { options, records });
        }
    }
}

struct Run<'a> {
    options: &'a Options,
    records: &'a mut Records,
}

impl Run<'_> {
    /// Runs all repetitions of a workload; `units` is their number of units at scale 100.
    #[inline(always)]
    fn take(&mut self, name: &'static str, units: u64, mut unit: impl FnMut() -> isize) {
        for rep in 0..self.options.reps {
            self.records.take(name, rep, self.units(units, rep), &mut unit);
        }
    }

    /// Units of a repetition. The first one is dropped: it fills the kernel's caches, for which a quarter suffices.
    fn units(&self, units: u64, rep: u64) -> u64 {
        (units * self.options.scale / if rep == 0 { 400 } else { 100 }).max(1)
    }
}

fn getppid(run: &mut Run) {
    run.take("getppid", 40_000, || simple(Call::Getppid, 0, 0, 0));
}

fn map(pages: usize, flags: usize) -> isize {
    // SAFETY: the kernel chooses an unused address.
    unsafe { call(Call::Mmap, [0, pages * PAGE, READ | WRITE, flags, usize::MAX, 0]) }
}

fn store(address: usize) {
    // SAFETY: all callers pass addresses in their own mappings.
    unsafe { (address as *mut u64).write_volatile(1) };
}

fn mmap_perf(run: &mut Run) {
    for rep in 0..run.options.reps {
        let mut sequence = Sequence::new(crate::random::Random::new(SEED));
        let mut areas = [(0usize, 0usize); AREAS];
        run.records.take("mmap_perf", rep, run.units(15_000, rep), || {
            let step = sequence.next();
            let (slot, pages) = (step.area, step.pages as usize);
            let (at, before) = areas[slot];
            let result = match step.what {
                Do::Map => map(pages, PRIVATE_ANONYMOUS),
                Do::Unmap => {
                    areas[slot] = (0, 0);
                    return simple(Call::Munmap, at, before * PAGE, 0);
                }
                // SAFETY: the area in this slot is ours; 1 is MREMAP_MAYMOVE.
                Do::Remap => unsafe { call(Call::Mremap, [at, before * PAGE, pages * PAGE, 1, 0, 0]) },
            };
            if result < 0 {
                return result;
            }
            areas[slot] = (result as usize, pages);
            for page in step.touched..step.touched + step.touches {
                let touched = (result as usize + page as usize * PAGE) as *mut u64;
                // SAFETY: within the mapping.
                unsafe {
                    if step.writes {
                        touched.write_volatile(1);
                    } else {
                        touched.read_volatile();
                    }
                }
            }
            0
        });
        for (at, pages) in areas.into_iter().filter(|(_, pages)| *pages > 0) {
            simple(Call::Munmap, at, pages * PAGE, 0);
        }
    }
}

const RANGE: usize = 64;

/// Maps pages and writes to each.
fn written(pages: usize) -> isize {
    let at = map(pages, PRIVATE_ANONYMOUS);
    if at >= 0 {
        for page in 0..pages {
            store(at as usize + page * PAGE);
        }
    }
    at
}

fn fault(run: &mut Run) {
    run.take("fault", 300, || {
        let at = written(RANGE);
        if at < 0 {
            return at;
        }
        simple(Call::Munmap, at as usize, RANGE * PAGE, 0)
    });
}

fn mprotect(run: &mut Run) {
    let at = written(RANGE);
    run.take("mprotect", 2_000, || {
        simple(Call::Mprotect, at as usize, RANGE * PAGE, READ)
            | simple(Call::Mprotect, at as usize, RANGE * PAGE, READ | WRITE)
    });
    simple(Call::Munmap, at as usize, RANGE * PAGE, 0);
}

/// Forks, and runs `child` in the new process.
#[inline(always)]
fn fork(child: impl FnOnce()) -> isize {
    match simple(Call::Fork, 0, 0, 0) {
        0 => {
            child();
            exit(0)
        }
        pid => pid,
    }
}

fn wait(pid: isize) -> isize {
    // SAFETY: the call stores no status.
    unsafe { call(Call::Wait4, [pid as usize, 0, 0, 0, 0, 0]) }
}

/// Pages that a forking process has written, since this program has fewer pages than usual programs.
const FORKED: usize = 40;

fn fork_exit(run: &mut Run) {
    let at = written(FORKED);
    run.take("fork_exit", 2_000, || wait(fork(|| {})));
    simple(Call::Munmap, at as usize, FORKED * PAGE, 0);
}

fn fork_exec(run: &mut Run) {
    let (program, ends) = (crate::PROGRAM, c"x=1");
    let at = written(FORKED);
    run.take("fork_exec", 600, || {
        wait(fork(|| {
            let arguments = [program.as_ptr(), ends.as_ptr(), core::ptr::null()];
            let environment = [core::ptr::null::<u8>()];
            simple(Call::Execve, program.as_ptr() as usize, arguments.as_ptr() as usize, environment.as_ptr() as usize);
        }))
    });
    simple(Call::Munmap, at as usize, FORKED * PAGE, 0);
}

fn pipe() -> [usize; 2] {
    let mut ends = [0i32; 2];
    simple(Call::Pipe, ends.as_mut_ptr() as usize, 0, 0);
    ends.map(|end| end as usize)
}

fn ping_pong(run: &mut Run) {
    let (there, back) = (pipe(), pipe());
    let mut byte = [0u8; 1];
    let at = byte.as_mut_ptr() as usize;
    let child = fork(|| {
        simple(Call::Close, there[1], 0, 0);
        while simple(Call::Read, there[0], at, 1) == 1 {
            simple(Call::Write, back[1], at, 1);
        }
    });
    run.take("ping_pong", 12_000, || simple(Call::Write, there[1], at, 1) | simple(Call::Read, back[0], at, 1));
    for end in [there[0], there[1], back[0], back[1]] {
        simple(Call::Close, end, 0, 0);
    }
    wait(child);
}

fn open_close(run: &mut Run) {
    let program = crate::PROGRAM.as_ptr() as usize;
    let unit = || {
        // AT_FDCWD, O_RDONLY
        let file = simple(Call::Openat, -100isize as usize, program, 0);
        file | simple(Call::Close, file as usize, 0, 0)
    };
    // Closed files wait for RCU, which frees all at once when 10,000 wait (`qhimark`). Until then each file needs new
    // memory: a tenth more instructions, for tens of thousands of files. The number of counted files is a multiple of
    // 10,000.
    for _ in 0..run.units(60_000, 1) {
        unit();
    }
    run.take("open_close", 20_000, unit);
}

fn sched_yield(run: &mut Run) {
    let child = fork(|| {
        loop {
            simple(Call::SchedYield, 0, 0, 0);
        }
    });
    // During the first tick or two, the scheduler does not switch to the child yet.
    for _ in 0..20_000 {
        simple(Call::SchedYield, 0, 0, 0);
    }
    run.take("sched_yield", 15_000, || simple(Call::SchedYield, 0, 0, 0));
    simple(Call::Kill, child as usize, SIGKILL, 0);
    wait(child);
}

/// FUTEX_WAIT for a value that the word does not have: the result is always EAGAIN.
fn futex(run: &mut Run) {
    let word = 1u32;
    run.take("futex", 30_000, || {
        const PRIVATE_WAIT: usize = 128;
        const EAGAIN: isize = -11;
        // SAFETY: the word outlives the call, which has no time-out.
        let result = unsafe { call(Call::Futex, [(&raw const word) as usize, PRIVATE_WAIT, 0, 0, 0, 0]) };
        if result == EAGAIN { 0 } else { result }
    });
}

core::arch::global_asm!(
    ".globl handler",
    "handler:",
    "ret",
    ".globl restore",
    "restore:",
    "mov $15, %eax",
    "syscall",
    options(att_syntax)
);

unsafe extern "C" {
    fn handler();
    fn restore();
}

fn signal(run: &mut Run) {
    const RESTORER: usize = 0x0400_0000;
    // struct kernel_sigaction: handler, flags, restorer, mask
    let action = [handler as *const () as usize, RESTORER, restore as *const () as usize, 0];
    // SAFETY: the handler returns at once; the mask has eight bytes.
    unsafe { call(Call::RtSigaction, [SIGUSR1, action.as_ptr() as usize, 0, 8, 0, 0]) };
    let own = simple(Call::Getpid, 0, 0, 0) as usize;
    run.take("signal", 8_000, || simple(Call::Kill, own, SIGUSR1, 0));
}
