//! `spinlock_contended`: two CPUs take the same lock, work on what it guards, and release it.
//!
//! The second CPU is a thread on another CPU of this machine, with a CPU model and a kernel of its own. A unit is as
//! many sections on each of the two, begun together; it ends when both are through, so that what was done is the same
//! in every run. Hooks of a section: `save_fl`, `irq_disable`, `queued_spin_lock_slowpath` where the lock is held,
//! `queued_spin_unlock`, `irq_enable`. How often it is held, and so the time of a unit, hangs on how the two meet; on
//! one CPU a section of one thread is not seen by the other until the scheduler comes. A kernel for one CPU (`smp_n`)
//! does both halves alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use super::{KernelWorkload, Random, WorkloadMeta};
use crate::dispatch::Dispatch;
use crate::host::another_cpu;
use crate::host::pin;
use crate::kernel::shared::Shared;
use crate::kernel::{Config, Kernel, KernelError, Machine};

/// Sections of each CPU in a unit.
const SECTIONS: u64 = 64;
/// Asked for where there is nothing more to do.
const END: u64 = u64::MAX;
/// Looks at what the other thread has to write, between which the scheduler is not called.
const PATIENCE: u32 = 1 << 11;

/// A spinlock between two CPUs.
pub struct SpinlockContended;

/// What both threads see.
struct Meeting {
    shared: Shared,
    /// Sections that each CPU is to have done; [`END`] in the end.
    asked: CacheLine,
    /// Sections that the second CPU has done, and 1; 0 before it is up.
    done: CacheLine,
}

/// A word in a cache line of its own.
#[repr(align(128))]
struct CacheLine(AtomicU64);

/// The first CPU's side. The other thread ends when it is dropped.
pub struct Contenders {
    meeting: Arc<Meeting>,
    second: Option<JoinHandle<()>>,
    asked: u64,
}

impl KernelWorkload for SpinlockContended {
    const META: WorkloadMeta = WorkloadMeta {
        name: "spinlock_contended",
        unit: "64 sections on each of two CPUs",
        summary: "two CPUs take one queued spinlock; an entry moves from one list to another; noisy by its nature",
        source: "mmperf with paravirt spinlocks, LKML 2009-05-13",
    };
    /// An interval of a few tenths of a percent would take it minutes.
    const BY_DEFAULT: bool = false;
    const CPUS: usize = 2;
    type State = Contenders;

    fn unavailable() -> Option<String> {
        let reason = "two CPUs contend, and this process may use one; see taskset(1) and `pvbench doctor`";
        another_cpu().is_none().then(|| reason.to_owned())
    }

    fn prepare<D: Dispatch, C: Config>(_: &mut Kernel<'_, D, C>, _: Random) -> Result<Contenders, KernelError> {
        let word = || CacheLine(AtomicU64::new(0));
        let meeting = Arc::new(Meeting { shared: Shared::new(), asked: word(), done: word() });
        let mut contenders = Contenders { meeting: Arc::clone(&meeting), second: None, asked: 0 };
        if C::SMP {
            let cpu = another_cpu();
            let second = std::thread::Builder::new().spawn(move || second::<D, C>(&meeting, cpu));
            contenders.second = Some(second.map_err(|_| KernelError::NoSecondCpu)?);
            contenders.wait(1)?;
        }
        Ok(contenders)
    }

    fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, state: &mut Contenders) -> Result<u64, KernelError> {
        let begin = state.asked;
        state.asked += SECTIONS;
        state.meeting.asked.0.store(state.asked, Ordering::Release);
        for number in begin..state.asked {
            kernel.shared_section(&state.meeting.shared, 2 * number);
        }
        if C::SMP {
            state.wait(state.asked + 1)?;
        } else {
            for number in begin..state.asked {
                kernel.shared_section(&state.meeting.shared, 2 * number + 1);
            }
        }
        // SAFETY: both CPUs have done what was asked of them.
        Ok(unsafe { state.meeting.shared.outcome() })
    }
}

impl Contenders {
    /// Waits for the second CPU to have come so far.
    fn wait(&self, far: u64) -> Result<(), KernelError> {
        let mut looks = 0;
        while self.meeting.done.0.load(Ordering::Acquire) != far {
            std::hint::spin_loop();
            looks += 1;
            if looks % PATIENCE == 0 {
                if self.second.as_ref().is_none_or(JoinHandle::is_finished) {
                    return Err(KernelError::NoSecondCpu);
                }
                std::thread::yield_now();
            }
        }
        Ok(())
    }
}

impl Drop for Contenders {
    fn drop(&mut self) {
        self.meeting.asked.0.store(END, Ordering::Release);
        if let Some(second) = self.second.take() {
            // A thread that failed has been missed already.
            let _ = second.join();
        }
    }
}

/// The second CPU.
fn second<D: Dispatch, C: Config>(meeting: &Meeting, cpu: Option<usize>) {
    if let Some(cpu) = cpu {
        // Where that is refused, it competes with the first one for its CPU, and still comes to an end.
        let _ = pin(cpu);
    }
    let Ok(mut machine) = Machine::second() else { return };
    // Code may have been written since this core last ran it.
    crate::patch::text::serialise();
    // The first CPU waits meanwhile, and calls no hook.
    let mut kernel = Kernel::<D, C>::new(&mut machine);
    let mut done = 0;
    meeting.done.0.store(1, Ordering::Release);
    loop {
        let mut looks = 0;
        let mut asked = meeting.asked.0.load(Ordering::Acquire);
        while asked == done {
            std::hint::spin_loop();
            looks += 1;
            if looks % PATIENCE == 0 {
                std::thread::yield_now();
            }
            asked = meeting.asked.0.load(Ordering::Acquire);
        }
        if asked == END {
            return;
        }
        while done < asked {
            kernel.shared_section(&meeting.shared, 2 * done + 1);
            done += 1;
        }
        meeting.done.0.store(done + 1, Ordering::Release);
    }
}
