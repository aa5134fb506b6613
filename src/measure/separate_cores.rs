//! Whether two CPUs have a core each. A hypervisor shows hyperthreads of one core as cores of their own, so it is
//! measured: how many independent adds a cycle one CPU has while the other is idle, and while it is busy.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::window::Window;
use crate::clock::Clock;
use crate::clock::calibration::{ADDS, chain, independent};
use crate::host::pin;
use crate::regime::Loop;

/// Looks with the other CPU idle, and as many with it busy, in turn. The best count: another guest may be there for a
/// while.
const LOOKS: usize = 24;
/// A third of the adds is lost to a hyperthread of the same core; nothing to another core.
const MAX_LOST: f64 = 0.05;
/// A look takes so many cycles of the chain.
const CYCLES: u64 = 300_000;

/// Whether work on CPU `other` leaves CPU `cpu` all of its core. Not, where one of them may not be used. Takes about
/// ten milliseconds, on two threads that end with it.
#[must_use]
pub fn have_separate_cores(cpu: usize, other: usize, clock: Clock) -> bool {
    if cpu == other {
        return false;
    }
    // Which look is at work with the neighbour busy, from 1.
    let look = &AtomicUsize::new(0);
    let (begin, begun) = sync_channel(0);
    thread::scope(|scope| {
        let thread = thread::Builder::new;
        let Ok(neighbour) = thread().spawn_scoped(scope, move || keep_busy(other, look, &begun)) else { return false };
        let Ok(compared) = thread().spawn_scoped(scope, move || compare(cpu, clock, look, &begin)) else {
            return false;
        };
        let apart = compared.join().unwrap_or(false);
        // Whoever looked is gone, and with it the other end of the channel.
        neighbour.join().unwrap_or(false) && apart
    })
}

/// Is busy on a CPU during the looks that it is told of, until nobody tells any more. Returns whether it could.
fn keep_busy(cpu: usize, look: &AtomicUsize, begun: &Receiver<usize>) -> bool {
    let pinned = pin(cpu).is_ok();
    while let Ok(mine) = begun.recv() {
        // Another one may have begun before this thread had its CPU again.
        while look.load(Ordering::Acquire) == mine {
            window(independent).call(1000);
        }
    }
    pinned
}

/// What the CPU has with the neighbour busy against what it has with it idle.
fn compare(cpu: usize, clock: Clock, look: &AtomicUsize, begin: &SyncSender<usize>) -> bool {
    if pin(cpu).is_err() {
        return false;
    }
    let (mut alone, mut beside) = (Best::default(), Best::default());
    for number in 1..=LOOKS {
        alone.look(clock);
        look.store(number, Ordering::Release);
        // Received by the neighbour once it is back, so this waits for it.
        let neighbour = begin.send(number);
        beside.look(clock);
        look.store(0, Ordering::Release);
        if neighbour.is_err() {
            return false;
        }
    }
    beside.adds_per_cycle() > alone.adds_per_cycle() * (1.0 - MAX_LOST)
}

/// The quickest looks at either loop, in ticks per add: nothing came in between.
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
    fn look(&mut self, clock: Clock) {
        self.chain = self.chain.min(window(chain).ticks_per_op(clock));
        self.independent = self.independent.min(window(independent).ticks_per_op(clock));
    }

    fn adds_per_cycle(self) -> f64 {
        self.chain / self.independent
    }
}

fn window(run: Loop) -> Window {
    Window { run, copied: None, args: [0; 4], passes: CYCLES / ADDS, ops_per_pass: ADDS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_shares_its_core_with_itself_and_with_none_that_is_not_there() {
        let there = crate::host::another_cpu().unwrap_or(0);
        assert!(!have_separate_cores(there, there, Clock::Tsc));
        assert!(
            !have_separate_cores(there, usize::MAX, Clock::Tsc) && !have_separate_cores(usize::MAX, there, Clock::Tsc)
        );
    }
}
