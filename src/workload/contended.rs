//! `spinlock_contended`: two CPUs take the same lock, change the data that it guards, and release it.
//!
//! The second CPU is a thread on another CPU of this machine, with a CPU model and a kernel of its own. In a unit, both
//! CPUs start together and execute the same number of sections. The unit ends when both are done, so that every run
//! does the same work.
//!
//! Hooks of a section: `save_fl`, `irq_disable`, `queued_spin_lock_slowpath` if the lock is held, `queued_spin_unlock`,
//! `irq_enable`.
//!
//! The timing of the two CPUs decides how often the lock is held, and thereby the time of a unit. If both threads share
//! one CPU, neither sees a section of the other before the scheduler switches. A kernel for one CPU (`smp_n`) does the
//! work of both CPUs alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use super::{ModelKernel, Random, Workload, WorkloadMeta};
use crate::dispatch::Dispatch;
use crate::host::another_cpu;
use crate::host::pin;
use crate::kernel::shared::Shared;
use crate::kernel::{Config, Kernel, KernelError, Machine};

/// Sections per CPU and unit.
const SECTIONS: u64 = 64;
/// The value of `requested` that ends the second CPU.
const END: u64 = u64::MAX;
/// Number of reads of the other thread's word before the waiting thread yields its CPU.
const SPINS_PER_YIELD: u32 = 1 << 11;

/// A spinlock between two CPUs.
pub struct SpinlockContended;

/// The data that both threads share.
struct SharedState {
    shared: Shared,
    /// Number of sections that each CPU must execute in total; [`END`] stops the second CPU.
    requested: CacheLine,
    /// Number of sections that the second CPU has executed, plus 1; 0 before it starts.
    done: CacheLine,
}

/// A word in a cache line of its own.
#[repr(align(128))]
struct CacheLine(AtomicU64);

/// The state of the first CPU. Dropping it ends the other thread.
pub struct Contenders {
    shared_state: Arc<SharedState>,
    second: Option<JoinHandle<()>>,
    requested: u64,
}

impl Workload for SpinlockContended {
    const META: WorkloadMeta = WorkloadMeta {
        name: "spinlock_contended",
        unit: "64 sections on each of two CPUs",
        summary: "two CPUs take one queued spinlock and move an entry between two lists; contention makes it noisy",
        source: "mmperf with paravirt spinlocks, LKML 2009-05-13",
    };
    /// An interval of a few tenths of a percent would take minutes.
    const BY_DEFAULT: bool = false;
    const CPUS: usize = 2;
    type On = ModelKernel;
    type State = Contenders;

    fn unavailable() -> Option<String> {
        let reason = "two CPUs contend, but this process may use only one; see taskset(1) and `pvbench doctor`";
        another_cpu().is_none().then(|| reason.to_owned())
    }

    fn prepare<D: Dispatch, C: Config>(_: &mut Kernel<'_, D, C>, _: Random) -> Result<Contenders, KernelError> {
        let word = || CacheLine(AtomicU64::new(0));
        let shared_state = Arc::new(SharedState { shared: Shared::new(), requested: word(), done: word() });
        let mut contenders = Contenders { shared_state: Arc::clone(&shared_state), second: None, requested: 0 };
        if C::SMP {
            let cpu = another_cpu();
            let second = std::thread::Builder::new().spawn(move || run_second_cpu::<D, C>(&shared_state, cpu));
            contenders.second = Some(second.map_err(|_| KernelError::NoSecondCpu)?);
            contenders.wait(1)?;
        }
        Ok(contenders)
    }

    fn unit<D: Dispatch, C: Config>(kernel: &mut Kernel<'_, D, C>, state: &mut Contenders) -> Result<u64, KernelError> {
        let begin = state.requested;
        state.requested += SECTIONS;
        state.shared_state.requested.0.store(state.requested, Ordering::Release);
        for number in begin..state.requested {
            kernel.shared_section(&state.shared_state.shared, 2 * number);
        }
        if C::SMP {
            state.wait(state.requested + 1)?;
        } else {
            for number in begin..state.requested {
                kernel.shared_section(&state.shared_state.shared, 2 * number + 1);
            }
        }
        // SAFETY: both CPUs have left their last section.
        Ok(unsafe { state.shared_state.shared.outcome() })
    }
}

impl Contenders {
    /// Waits until the second CPU's `done` is `expected`.
    fn wait(&self, expected: u64) -> Result<(), KernelError> {
        let mut spins = 0;
        while self.shared_state.done.0.load(Ordering::Acquire) != expected {
            std::hint::spin_loop();
            spins += 1;
            if spins % SPINS_PER_YIELD == 0 {
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
        self.shared_state.requested.0.store(END, Ordering::Release);
        if let Some(second) = self.second.take() {
            // `wait` has reported a thread that failed.
            let _ = second.join();
        }
    }
}

/// Runs the second CPU.
fn run_second_cpu<D: Dispatch, C: Config>(shared_state: &SharedState, cpu: Option<usize>) {
    if let Some(cpu) = cpu {
        // If the system refuses this, both threads compete for one CPU and still finish.
        let _ = pin(cpu);
    }
    let Ok(mut machine) = Machine::second() else { return };
    // Another core may have written code that this core has run before.
    crate::patch::text::serialise();
    // The first CPU waits meanwhile and calls no hook.
    let mut kernel = Kernel::<D, C>::new(&mut machine);
    let mut done = 0;
    shared_state.done.0.store(1, Ordering::Release);
    loop {
        let mut spins = 0;
        let mut requested = shared_state.requested.0.load(Ordering::Acquire);
        while requested == done {
            std::hint::spin_loop();
            spins += 1;
            if spins % SPINS_PER_YIELD == 0 {
                std::thread::yield_now();
            }
            requested = shared_state.requested.0.load(Ordering::Acquire);
        }
        if requested == END {
            return;
        }
        while done < requested {
            kernel.shared_section(&shared_state.shared, 2 * done + 1);
            done += 1;
        }
        shared_state.done.0.store(done + 1, Ordering::Release);
    }
}
