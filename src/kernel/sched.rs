//! The run queue and the context switch (`kernel/sched/core.c`, `fair.c`, `arch/x86/kernel/process_64.c`).

use std::collections::BTreeMap;

use super::entry::Call;
use super::{Config, Kernel, KernelError};
use crate::dispatch::Dispatch;
use crate::op::lock::RawSpinlock;

/// A runnable thread.
#[derive(Clone, Debug)]
pub(crate) struct Thread {
    /// Its address space.
    mm: usize,
    /// `tls_array`
    tls: [u64; 3],
    /// `fsbase`, `gsbase`
    bases: [u64; 2],
    /// The callee-saved registers, on the thread's stack.
    callee_saved: [u64; 6],
    /// `se.vruntime`
    vruntime: u64,
    /// `se.exec_start`, in nanoseconds.
    exec_start: u64,
}

/// `struct rq` with its tree of waiting threads.
#[derive(Debug)]
pub(super) struct RunQueue {
    lock: RawSpinlock,
    threads: Vec<Thread>,
    /// Waiting threads by virtual run time and number: `cfs_rq.tasks_timeline`.
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
    /// Makes the running process thread 0 and adds `others` waiting processes, each with an address space of its own.
    ///
    /// # Errors
    /// `-ENOMEM`
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
                callee_saved: [word; 6],
                // Different virtual run times, so that the threads take turns.
                vruntime: word,
                exec_start: 0,
            };
            self.machine.run_queue.threads.push(thread);
            if number > 0 {
                self.machine.run_queue.waiting.insert((word, number), ());
            }
        }
        Ok(())
    }

    /// `sched_yield`: switches to the thread that waited longest. Returns its number.
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
        // `put_prev_task_fair`, `pick_next_task_fair`. Elapsed time is not counted as run time, because the order of
        // threads would then depend on the speed of this machine.
        if let Some(thread) = queue.threads.get_mut(last) {
            thread.exec_start = now;
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
        queue.threads[last].callee_saved.copy_from_slice(&queue.registers[..6]);
        let Thread { tls, bases, callee_saved, .. } = queue.threads[next].clone();
        queue.registers[..6].copy_from_slice(&callee_saved);
        // `save_fsgs`, `load_TLS`, `x86_fsgsbase_load`. Since 4.15 only Xen has `load_sp0`, so a native context switch
        // does not call it.
        queue.threads[last].bases = [queue.registers[6], queue.registers[7]];
        self.load_tls(&tls);
        let task = self.task(next);
        self.end_context_switch(task);
        let queue = &mut self.machine.run_queue;
        queue.registers[6..].copy_from_slice(&bases);
    }
}
