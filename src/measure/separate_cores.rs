//! A measurement of whether two CPUs have separate cores. A hypervisor shows hyperthreads of one core as separate
//! cores, so the core throughput of one CPU is measured while the other is idle, and while it is busy.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::window::Window;
use crate::clock::Clock;
use crate::clock::calibration::{ADDS, chain, independent};
use crate::host::pin;
use crate::regime::Loop;

/// Samples with the other CPU idle, and as many with it busy, in turn. The best one counts, since another guest may
/// take part of the core for a while.
const SAMPLES: usize = 24;
/// Largest loss of core throughput between separate cores, as a share. A hyperthread of the same core takes a third of
/// the adds; another core takes none.
const MAX_LOST_SHARE: f64 = 0.05;
/// Cycles of the chain per sample.
const CYCLES_PER_SAMPLE: u64 = 300_000;

/// Whether work on CPU `other` leaves CPU `cpu` all of its core. False where the process may not use one of them. It
/// takes about ten milliseconds, on two threads that end with it.
#[must_use]
pub(crate) fn have_separate_cores(cpu: usize, other: usize, clock: Clock) -> bool {
    if cpu == other {
        return false;
    }
    // Number of the sample that runs beside the busy neighbour, from 1; 0 for none.
    let sample = &AtomicUsize::new(0);
    let (begin, begun) = sync_channel(0);
    thread::scope(|scope| {
        let thread = thread::Builder::new;
        let Ok(neighbour) = thread().spawn_scoped(scope, move || keep_busy(other, sample, &begun)) else {
            return false;
        };
        let Ok(measuring) = thread().spawn_scoped(scope, move || compare(cpu, clock, sample, &begin)) else {
            return false;
        };
        let separate = measuring.join().unwrap_or(false);
        // The measuring thread has ended, which closes its end of the channel.
        neighbour.join().unwrap_or(false) && separate
    })
}

/// Keeps a CPU busy during the samples that arrive, until the channel closes. Returns whether the CPU could be used.
fn keep_busy(cpu: usize, sample: &AtomicUsize, begun: &Receiver<usize>) -> bool {
    let pinned = pin(cpu).is_ok();
    while let Ok(mine) = begun.recv() {
        // Another sample may have begun before this thread had its CPU again.
        while sample.load(Ordering::Acquire) == mine {
            window(independent).call(1000);
        }
    }
    pinned
}

/// Compares the core throughput beside a busy neighbour with that beside an idle one.
fn compare(cpu: usize, clock: Clock, sample: &AtomicUsize, begin: &SyncSender<usize>) -> bool {
    if pin(cpu).is_err() {
        return false;
    }
    let (mut idle, mut busy) = (Best::default(), Best::default());
    for number in 1..=SAMPLES {
        idle.add_sample(clock);
        sample.store(number, Ordering::Release);
        // The send waits until the neighbour is back and receives it.
        let neighbour = begin.send(number);
        busy.add_sample(clock);
        sample.store(0, Ordering::Release);
        if neighbour.is_err() {
            return false;
        }
    }
    busy.adds_per_cycle() > idle.adds_per_cycle() * (1.0 - MAX_LOST_SHARE)
}

/// The shortest samples of both loops, in ticks per add; nothing interrupted them.
#[derive(Clone, Copy)]
struct Best {
    chain: f64,
    independent: f64,
}

impl Default for Best {
    fn default() -> Self {
        Best { chain: f64::INFINITY, independent: f64::INFINITY }
    }
}

impl Best {
    fn add_sample(&mut self, clock: Clock) {
        self.chain = self.chain.min(window(chain).ticks_per_op(clock));
        self.independent = self.independent.min(window(independent).ticks_per_op(clock));
    }

    fn adds_per_cycle(self) -> f64 {
        self.chain / self.independent
    }
}

fn window(run: Loop) -> Window {
    Window { run, copied: None, args: [0; 4], passes: CYCLES_PER_SAMPLE / ADDS, ops_per_pass: ADDS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_has_no_separate_core_from_itself_or_from_a_missing_cpu() {
        let there = crate::host::another_cpu().unwrap_or(0);
        assert!(!have_separate_cores(there, there, Clock::Tsc));
        assert!(
            !have_separate_cores(there, usize::MAX, Clock::Tsc) && !have_separate_cores(usize::MAX, there, Clock::Tsc)
        );
    }
}
