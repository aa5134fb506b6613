//! The ops on spinlocks: the effects of each body on a lock, in one thread and between threads.

use crate::bodies::{assert_calls, native, xen};
use std::cell::UnsafeCell;
use std::sync::atomic::Ordering;

use pvbench::op::lock::*;
use pvbench::op::time::{RUNSTATE_BLOCKED, RUNSTATE_OFFLINE, RUNSTATE_RUNNABLE, RUNSTATE_RUNNING};
use pvbench::op::xen::CallKind;
use pvbench::op::{Bytes, Conventions, CpuModel, Op};

/// Puts a normal lock with this word into the model, and returns its address.
fn lock(word: u32) -> impl Fn(&mut CpuModel) -> u64 {
    move |cpu| {
        cpu.lock.lock = RawSpinlock::new();
        *cpu.lock.lock.word.get_mut() = word;
        &raw mut cpu.lock.lock as u64
    }
}

fn word(cpu: &mut CpuModel) -> u32 {
    *cpu.lock.lock.word.get_mut()
}

/// Asserts that two threads that add to one number under a lock lose no addition.
fn assert_exclusion(take: impl Fn(u64) + Sync, release: impl Fn(u64) + Sync) {
    struct Shared(RawSpinlock, UnsafeCell<u64>);
    // SAFETY: only the holder of the lock accesses the number; if the lock does not exclude, the test fails.
    unsafe impl Sync for Shared {}
    const ADDITIONS_PER_THREAD: u64 = 2_000;
    let shared = Shared(RawSpinlock::new(), UnsafeCell::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let shared = &shared;
                let _cpu = CpuModel::install().unwrap();
                for _ in 0..ADDITIONS_PER_THREAD {
                    take(&raw const shared.0 as u64);
                    // SAFETY: memory of the test, guarded by the lock under test.
                    unsafe { *shared.1.get() += 1 };
                    release(&raw const shared.0 as u64);
                }
            });
        }
    });
    assert_eq!(shared.1.into_inner(), 2 * ADDITIONS_PER_THREAD);
}

#[test]
fn the_queued_slow_path_takes_a_lock_that_became_free() {
    // The word that the fast path saw: locked, or in the middle of a hand-over.
    for seen in [1, 0x100] {
        let free = |cpu: &mut CpuModel| (lock(0)(cpu), seen);
        native::<QueuedSpinLockSlowpath>(free, |cpu, _| assert_eq!(word(cpu), 1));
        xen::<QueuedSpinLockSlowpath>(free, |cpu, _| {
            assert_eq!(word(cpu), 1);
            assert_eq!(cpu.lock.nodes[0].count, 0, "the queue node is released");
        });
    }
}

#[test]
fn the_queued_slow_path_in_xen_steals_a_free_lock_that_has_a_queue() {
    let queued = |cpu: &mut CpuModel| (lock(0x0004_0000)(cpu), 0x0004_0000);
    xen::<QueuedSpinLockSlowpath>(queued, |cpu, _| assert_eq!(word(cpu), 0x0004_0001));
}

/// The inlined fast path around the hook (`queued_spin_lock`).
fn queued_lock(address: u64, slowpath: impl Fn(u64, u64)) {
    // SAFETY: memory of the test, guarded by the lock under test.
    let word = unsafe { &(*(address as *const RawSpinlock)).word };
    if let Err(seen) = word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed) {
        slowpath(address, u64::from(seen));
    }
}

#[test]
fn queued_locks_exclude_each_other() {
    assert_exclusion(
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        |lock| queued_lock(lock, |lock, seen| unsafe { QueuedSpinLockSlowpath::inline((lock, seen)) }),
        |lock| unsafe { QueuedSpinUnlock::inline((lock,)) },
    );
    assert_exclusion(
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        |lock| queued_lock(lock, |lock, seen| unsafe { QueuedSpinLockSlowpath::xen((lock, seen)) }),
        |lock| unsafe { QueuedSpinUnlock::xen((lock,)) },
    );
}

#[test]
fn queued_unlock_clears_only_the_locked_byte() {
    let held = |cpu: &mut CpuModel| (lock(0x0004_0101)(cpu),);
    native::<QueuedSpinUnlock>(held, |cpu, _| assert_eq!(word(cpu), 0x0004_0100));
    xen::<QueuedSpinUnlock>(held, |cpu, _| {
        assert_eq!(word(cpu), 0x0004_0100);
        assert_calls(cpu, []);
    });
}

#[test]
fn queued_unlock_in_xen_kicks_the_cpu_that_halted_for_the_lock() {
    // The entry may be at any index, since the search wraps around.
    for index in 0..HASH_ENTRIES {
        let halted = |cpu: &mut CpuModel| {
            let address = lock(3)(cpu);
            cpu.lock.hash[index] = HashEntry { lock: address, cpu: 2 };
            cpu.lock.hash[(index + 1) % HASH_ENTRIES] = HashEntry { lock: 64, cpu: 3 };
            (address,)
        };
        xen::<QueuedSpinUnlock>(halted, |cpu, _| {
            assert_eq!(word(cpu), 0);
            assert_eq!(cpu.lock.hash[index].lock, 0, "the entry is free");
            assert_eq!(cpu.lock.hash[(index + 1) % HASH_ENTRIES].lock, 64, "the entry of another lock stays");
            assert_calls(cpu, [(CallKind::EvtchnSend, 1)]);
            assert_eq!(notified(cpu), [2]);
        });
    }
}

#[test]
fn queued_unlock_in_xen_kicks_no_cpu_if_none_waits_for_the_lock() {
    let unknown = |cpu: &mut CpuModel| {
        let address = lock(3)(cpu);
        cpu.lock.hash[0] = HashEntry { lock: 64, cpu: 3 };
        (address,)
    };
    xen::<QueuedSpinUnlock>(unknown, |cpu, _| {
        assert_eq!(word(cpu), 0);
        assert_calls(cpu, []);
    });
}

#[test]
fn queued_unlock_in_xen_leaves_a_lock_with_a_corrupt_byte_unchanged() {
    for corrupt in [0, 2, 0xff] {
        xen::<QueuedSpinUnlock>(
            |cpu| (lock(corrupt)(cpu),),
            |cpu, _| {
                assert_eq!(word(cpu), corrupt);
                assert_calls(cpu, []);
            },
        );
    }
}

/// The event channel of a CPU's kicker interrupt.
fn port(cpu: &CpuModel, number: usize) -> u64 {
    cpu.lock.port_of_irq[cpu.lock.kicker_irq[number] as usize]
}

/// The event channel of this CPU: the index of its word, and its bit.
fn own_port(cpu: &CpuModel) -> (usize, u64) {
    ((port(cpu, 0) / 64) as usize, 1 << (port(cpu, 0) % 64))
}

/// The CPUs that got an event on the channel of their kicker interrupt. Asserts that no other channel got one.
fn notified(cpu: &CpuModel) -> Vec<usize> {
    let channels: u32 = cpu.xen.hypervisor.notified.iter().map(|word| word.count_ones()).sum();
    let cpus: Vec<_> = (0..CPUS).filter(|&number| cpu.xen.hypervisor.was_notified(port(cpu, number))).collect();
    assert_eq!(channels as usize, cpus.len());
    cpus
}

#[test]
fn wait_polls_this_cpus_channel_if_the_byte_has_the_value_and_otherwise_returns() {
    xen::<Wait>(Wait::arguments, |cpu, _| {
        assert_calls(cpu, [(CallKind::SchedPoll, 1)]);
        assert_eq!(cpu.xen.hypervisor.polled, port(cpu, 0));
        assert_eq!(*cpu.lock.wait_nest.get_mut(), 0);
    });
    let changed = |cpu: &mut CpuModel| {
        let (byte, value) = Wait::arguments(cpu);
        cpu.lock.watched = 1;
        (byte, value)
    };
    xen::<Wait>(changed, |cpu, _| assert_calls(cpu, []));
    let third = |cpu: &mut CpuModel| {
        cpu.irq.cpu = 2;
        Wait::arguments(cpu)
    };
    xen::<Wait>(third, |cpu, _| assert_eq!(cpu.xen.hypervisor.polled, port(cpu, 2)));
}

#[test]
fn wait_clears_a_pending_kick_and_returns() {
    let kicked = |cpu: &mut CpuModel| {
        let args = Wait::arguments(cpu);
        let (index, bit) = own_port(cpu);
        cpu.irq.evtchn_pending[index] = bit | 1;
        args
    };
    xen::<Wait>(kicked, |cpu, _| {
        assert_eq!(cpu.irq.evtchn_pending[own_port(cpu).0], 1, "its own event is cleared, the other stays");
        assert_calls(cpu, []);
        assert_eq!(*cpu.lock.wait_nest.get_mut(), 0);
    });
    native::<Wait>(kicked, |cpu, _| {
        let (index, bit) = own_port(cpu);
        assert_eq!(cpu.irq.evtchn_pending[index], bit | 1, "a nop on bare metal");
    });
}

#[test]
fn a_wait_inside_a_wait_leaves_the_kick_to_the_outer_one() {
    let nested = |cpu: &mut CpuModel| {
        let args = Wait::arguments(cpu);
        let (index, bit) = own_port(cpu);
        cpu.irq.evtchn_pending[index] = bit;
        *cpu.lock.wait_nest.get_mut() = 1;
        args
    };
    xen::<Wait>(nested, |cpu, _| {
        let (index, bit) = own_port(cpu);
        assert_eq!(cpu.irq.evtchn_pending[index], bit);
        assert_eq!(*cpu.lock.wait_nest.get_mut(), 1);
        assert_calls(cpu, [(CallKind::SchedPoll, 1)]);
    });
}

#[test]
fn wait_returns_at_once_before_the_kicker_interrupt_is_set_up() {
    let early = |cpu: &mut CpuModel| {
        let args = Wait::arguments(cpu);
        let (index, bit) = own_port(cpu);
        cpu.irq.evtchn_pending[index] = bit;
        cpu.lock.kicker_irq = [-1; CPUS];
        args
    };
    xen::<Wait>(early, |cpu, _| {
        assert!(cpu.irq.evtchn_pending.iter().any(|&word| word != 0), "the pending event stays");
        assert_calls(cpu, []);
    });
}

#[test]
fn kick_changes_nothing_in_the_guest_even_if_the_cpu_does_not_exist() {
    for number in [0, 1, CPUS as u64, u64::MAX] {
        let unchanged = |cpu: &mut CpuModel, _| {
            assert!(cpu.irq.evtchn_pending[0] & 1 == 0);
            assert_eq!((cpu.irq.halted, *cpu.lock.wait_nest.get_mut()), (0, 0));
        };
        native::<Kick>(|_| (number,), unchanged);
        xen::<Kick>(|_| (number,), unchanged);
    }
}

#[test]
fn kick_sends_an_event_to_an_existing_cpu() {
    for number in 0..CPUS {
        xen::<Kick>(
            |_| (number as u64,),
            |cpu, _| {
                assert_calls(cpu, [(CallKind::EvtchnSend, 1)]);
                assert_eq!(notified(cpu), [number]);
            },
        );
    }
    for number in [CPUS as u64, u64::MAX] {
        xen::<Kick>(|_| (number,), |cpu, _| assert_calls(cpu, []));
    }
    let early = |cpu: &mut CpuModel| {
        cpu.lock.kicker_irq = [-1; CPUS];
        Kick::arguments(cpu)
    };
    xen::<Kick>(early, |cpu, _| assert_calls(cpu, []));
}

#[test]
fn patching_writes_nops_for_wait_and_kick_and_instructions_for_the_callee_save_hooks() {
    for bytes in [Wait::META.bytes, Kick::META.bytes] {
        assert_eq!(bytes, Bytes::Nop);
    }
    for meta in [QueuedSpinUnlock::META, VcpuIsPreempted::META] {
        assert_eq!((meta.bytes, meta.conventions), (Bytes::Instruction, Conventions::CalleeSave));
    }
}

#[test]
fn a_vcpu_is_preempted_if_it_is_runnable_but_not_running() {
    let states = [RUNSTATE_RUNNING, RUNSTATE_RUNNABLE, RUNSTATE_BLOCKED, RUNSTATE_OFFLINE];
    let prepare = |number: u64| {
        move |cpu: &mut CpuModel| {
            for (area, state) in cpu.time.runstate.iter_mut().zip(states) {
                area.state = state;
            }
            (number,)
        }
    };
    for (number, preempted) in [(0, 0), (1, 1), (2, 0), (3, 0), (CPUS as u64, 0), (u64::MAX, 0)] {
        xen::<VcpuIsPreempted>(prepare(number), |_, result| assert_eq!(result, preempted, "CPU {number}"));
        native::<VcpuIsPreempted>(prepare(number), |_, result| assert_eq!(result, 0));
    }
}

#[test]
fn a_ticket_lock_is_locked_if_head_and_tail_differ_and_contended_if_they_differ_by_more_than_one() {
    for (word, locked, contended) in
        [(0, 0, 0), (0x0707, 0, 0), (0x0100, 1, 0), (0x0200, 1, 1), (0x00ff, 1, 0), (0x01ff, 1, 1), (0xff00, 1, 1)]
    {
        native::<SpinIsLocked>(|cpu| (lock(word)(cpu),), |_, result| assert_eq!(result, locked, "{word:#06x}"));
        native::<SpinIsContended>(|cpu| (lock(word)(cpu),), |_, result| assert_eq!(result, contended, "{word:#06x}"));
    }
}

#[test]
fn a_xen_lock_is_locked_by_its_byte_and_contended_by_its_count() {
    for (word, locked, contended) in [(0, 0, 0), (1, 1, 0), (0x0002_0001, 1, 1), (0x0002_0000, 0, 1)] {
        xen::<SpinIsLocked>(|cpu| (lock(word)(cpu),), |_, result| assert_eq!(result, locked, "{word:#x}"));
        xen::<SpinIsContended>(|cpu| (lock(word)(cpu),), |_, result| assert_eq!(result, contended, "{word:#x}"));
    }
}

#[test]
fn spin_lock_draws_the_next_ticket_and_in_xen_sets_the_byte() {
    for (free, taken) in [(0, 0x0100), (0x0505, 0x0605), (0xffff, 0x00ff)] {
        native::<SpinLock>(|cpu| (lock(free)(cpu),), |cpu, _| assert_eq!(word(cpu), taken));
        native::<SpinLockFlags>(|cpu| (lock(free)(cpu), 0x202), |cpu, _| assert_eq!(word(cpu), taken));
    }
    xen::<SpinLock>(|cpu| (lock(0)(cpu),), |cpu, _| assert_eq!(word(cpu), 1));
    xen::<SpinLockFlags>(|cpu| (lock(0)(cpu), 0x202), |cpu, _| assert_eq!(word(cpu), 1));
}

#[test]
fn spin_trylock_takes_a_free_lock_and_leaves_a_held_one_unchanged() {
    for (before, after, result) in [(0, 0x0100, 1), (0x0505, 0x0605, 1), (0x0605, 0x0605, 0), (0x0100, 0x0100, 0)] {
        native::<SpinTrylock>(
            |cpu| (lock(before)(cpu),),
            |cpu, got| assert_eq!((word(cpu), got), (after, result), "{before:#06x}"),
        );
    }
    for (before, result) in [(0, 1), (1, 0)] {
        xen::<SpinTrylock>(|cpu| (lock(before)(cpu),), |cpu, got| assert_eq!((word(cpu), got), (1, result)));
    }
}

#[test]
fn spin_unlock_serves_the_next_ticket_and_in_xen_clears_the_byte() {
    native::<SpinUnlock>(|cpu| (lock(0x0605)(cpu),), |cpu, _| assert_eq!(word(cpu), 0x0606));
    native::<SpinUnlock>(
        |cpu| (lock(0x00ff)(cpu),),
        |cpu, _| assert_eq!(word(cpu), 0, "there is no carry into the tail"),
    );
    let unwatched = |cpu: &mut CpuModel, _| {
        assert_eq!(word(cpu), 0);
        assert_calls(cpu, []);
    };
    xen::<SpinUnlock>(|cpu| (lock(1)(cpu),), unwatched);
    let waiting = |cpu: &mut CpuModel| {
        let address = lock(0x0001_0001)(cpu);
        cpu.lock.spinners[2] = address;
        (address,)
    };
    xen::<SpinUnlock>(waiting, |cpu, _| {
        assert_eq!(word(cpu), 0x0001_0000, "the waiter itself decreases the count");
        assert_ne!(cpu.lock.spinners[2], 0);
        assert_calls(cpu, [(CallKind::EvtchnSend, 1)]);
        assert_eq!(notified(cpu), [2]);
    });
    let for_another = |cpu: &mut CpuModel| {
        let address = lock(0x0001_0001)(cpu);
        cpu.lock.spinners[2] = address + 64;
        (address,)
    };
    xen::<SpinUnlock>(for_another, |cpu, _| assert_calls(cpu, []));
}

#[test]
fn ticket_and_byte_locks_exclude_each_other() {
    // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
    assert_exclusion(|lock| unsafe { SpinLock::inline((lock,)) }, |lock| unsafe { SpinUnlock::inline((lock,)) });
    assert_exclusion(|lock| unsafe { SpinLockFlags::inline((lock, 2)) }, |lock| unsafe { SpinUnlock::inline((lock,)) });
    assert_exclusion(|lock| unsafe { SpinLock::xen((lock,)) }, |lock| unsafe { SpinUnlock::xen((lock,)) });
    assert_exclusion(
        // SAFETY: the arguments are what the op takes, for the CPU model installed on this thread.
        |lock| while unsafe { SpinTrylock::inline((lock,)) } == 0 {},
        |lock| unsafe { SpinUnlock::inline((lock,)) },
    );
}

#[test]
fn the_measured_lock_is_free_again_after_it_was_taken() {
    fn assert_stays_free<O: Op>(taken: u64) {
        let check = |cpu: &mut CpuModel, result| assert_eq!((word(cpu), result), (0, taken), "{}", O::META.name);
        native::<O>(O::arguments, check);
        xen::<O>(O::arguments, check);
    }
    assert_stays_free::<QueuedSpinLockSlowpath>(0);
    assert_stays_free::<QueuedSpinUnlock>(0);
    assert_stays_free::<SpinLock>(0);
    assert_stays_free::<SpinLockFlags>(0);
    assert_stays_free::<SpinTrylock>(1);
}
