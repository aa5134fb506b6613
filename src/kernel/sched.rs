//! The run queue and the context switch (`kernel/sched/core.c`, `fair.c`, `arch/x86/kernel/process_64.c`).

use std::collections::BTreeMap;

use super::entry::Call;
use super::{Config, Kernel, KernelError};
use crate::dispatch::Dispatch;
use crate::op::lock::RawSpinlock;

/// A thread that can run.
#[derive(Clone, Debug)]
pub struct Thread {
    /// Its address space.
    mm: usize,
    /// `tls_array`
    tls: [u64; 3],
    /// `fsbase`, `gsbase`
    bases: [u64; 2],
    /// The registers that a function keeps, on its stack.
    kept: [u64; 6],
    /// `se.vruntime`
    vruntime: u64,
    /// `se.exec_start`
    since: u64,
}

/// `struct rq` with its tree of who runs next.
#[derive(Debug)]
pub(super) struct RunQueue {
    lock: RawSpinlock,
    threads: Vec<Thread>,
    /// By virtual run time and number: `cfs_rq.tasks_timeline`.
    waiting: BTreeMap<(u64, usize), ()>,
    running: usize,
    clock: u64,
    switches: u64,
    registers: [u64; 8],
}

impl Default for RunQueue {
    fn default() -> Self {
        RunQueue {
            lock: RawSpinlock::new(),
            threads: Vec::new(),
            waiting: BTreeMap::new(),
            running: 0,
            clock: 0,
            switches: 0,
            registers: [0; 8],
        }
    }
}

impl<D: Dispatch, C: Config> Kernel<'_, D, C> {
    /// The running process becomes thread 0, and `others` more processes wait, each with an address space of its own.
    ///
    /// # Errors
    /// Where memory is short.
    pub fn start_threads(&mut self, others: usize) -> Result<(), KernelError> {
        for number in 0..=others {
            let mm = if number == 0 { self.machine.current } else { self.mm_alloc()? };
            if C::XEN && number > 0 {
                self.pin(mm);
            }
            let word = number as u64;
            let thread = Thread {
                mm,
                tls: [word, word << 8, 0],
                bases: [word << 12, 0],
                kept: [word; 6],
                // Each a little behind the other: they take turns.
                vruntime: word,
                since: 0,
            };
            self.machine.run_queue.threads.push(thread);
            if number > 0 {
                self.machine.run_queue.waiting.insert((word, number), ());
            }
        }
        Ok(())
    }

    /// `sched_yield`: whoever waited longest runs. Returns its number.
    #[inline(never)]
    pub fn sched_yield(&mut self) -> usize {
        self.enter(Call::SchedYield, [0; 4]);
        // `do_sched_yield`: `this_rq_lock_irq` and back.
        let lock = &raw mut self.machine.run_queue.lock;
        self.irq_disable();
        self.spin_lock(lock);
        let queue = &mut self.machine.run_queue;
        let running = queue.running;
        if let Some(thread) = queue.threads.get_mut(running) {
            // `yield_task_fair`
            thread.vruntime += 1;
        }
        self.spin_unlock(lock);
        self.irq_enable();
        self.schedule();
        let running = self.machine.run_queue.running;
        self.leave(running as u64);
        running
    }

    /// `__schedule`
    #[inline(never)]
    fn schedule(&mut self) {
        let lock = &raw mut self.machine.run_queue.lock;
        self.irq_disable();
        self.spin_lock(lock);
        // `update_rq_clock`
        let now = self.sched_clock();
        let queue = &mut self.machine.run_queue;
        queue.clock = now;
        let last = queue.running;
        // `put_prev_task_fair`, `pick_next_task_fair`. Time that passed is not counted as run time, or who runs next
        // would hang on how fast this machine is.
        if let Some(thread) = queue.threads.get_mut(last) {
            thread.since = now;
            thread.vruntime += 1_000;
            let key = (thread.vruntime, last);
            queue.waiting.insert(key, ());
        }
        if let Some(((_, next), ())) = queue.waiting.pop_first() {
            queue.running = next;
            if next != last {
                queue.switches += 1;
                self.context_switch(last, next);
            }
        }
        // `finish_lock_switch`
        self.spin_unlock(lock);
        self.irq_enable();
    }

    /// `context_switch` with `__switch_to`
    #[inline(never)]
    fn context_switch(&mut self, last: usize, next: usize) {
        // `prepare_task_switch`
        let task = self.task(last);
        self.start_context_switch(task);
        let mm = self.machine.run_queue.threads[next].mm;
        if mm != self.machine.current {
            self.switch_mm(mm);
        }
        // `__switch_to_asm`
        let queue = &mut self.machine.run_queue;
        queue.threads[last].kept.copy_from_slice(&queue.registers[..6]);
        let Thread { tls, bases, kept, .. } = queue.threads[next].clone();
        queue.registers[..6].copy_from_slice(&kept);
        // `save_fsgs`, `load_TLS`, `x86_fsgsbase_load`; `load_sp0` is for Xen alone since 4.15, and so no hook of a
        // native context switch.
        queue.threads[last].bases = [queue.registers[6], queue.registers[7]];
        self.load_tls(&tls);
        let task = self.task(next);
        self.end_context_switch(task);
        let queue = &mut self.machine.run_queue;
        queue.registers[6..].copy_from_slice(&bases);
    }

    /// What the scheduler did, as a number.
    #[must_use]
    pub fn switches(&self) -> u64 {
        self.machine.run_queue.switches
    }
}
