//! Queued spinlocks of 6.1 (`kernel/locking/qspinlock.c`): the slow path and the release. The fast path is inlined.

use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};

use super::kick::{kick, kicker_port};
use super::{HASH_ENTRIES, LOCKED, RawSpinlock};
use crate::native;
use crate::op::xen::Call;
use crate::op::{Bytes, Conventions, CpuModel, Group, Kind, Op, OpMeta, catalogue::Slot};

/// `_Q_PENDING_VAL`: one CPU waits for the owner, without a queue.
const PENDING: u32 = 1 << 8;
/// `_Q_LOCKED_MASK | _Q_PENDING_MASK`
const LOCKED_PENDING: u32 = 0xffff;
/// `_Q_PENDING_LOOPS` of x86: reads of the word while a hand-over is in progress.
const PENDING_LOOPS: u32 = 1 << 9;
/// `_Q_SLOW_VAL`: locked, and the waiting CPU has halted.
const SLOW: u8 = 3;
/// `SPIN_THRESHOLD` (`arch/x86/include/asm/spinlock.h`): attempts before a waiting CPU halts.
const SPIN_THRESHOLD: u32 = 1 << 15;

/// The lock, its locked byte, and the 16 bits of the locked and pending bytes, each as an atomic.
///
/// # Safety
/// `lock` points to a [`RawSpinlock`] that outlives the result.
unsafe fn lock_words<'a>(lock: u64) -> (&'a RawSpinlock, &'a AtomicU8, &'a AtomicU16) {
    // SAFETY: the caller's lock. The word is the first field and little-endian, so both begin where it does; the kernel
    // mixes the sizes the same way.
    unsafe {
        let lock = lock as *mut RawSpinlock;
        let word = (&raw mut (*lock).word).cast::<u8>();
        (&*lock, AtomicU8::from_ptr(word), AtomicU16::from_ptr(word.cast()))
    }
}

/// Takes a lock that the fast path did not get.
///
/// The shortest path is measured: the fast path saw the lock held, and it has become free since. The path is one locked
/// `bts`, a check of the rest of the word, and the store that takes the lock. A CPU that finds the lock held waits with
/// the pending bit, as in Linux. If another CPU is pending already, Linux queues (MCS); this body waits until the word
/// is free instead, in no fixed order. The module [`lock`](super) explains why the lock is free every time.
pub struct QueuedSpinLockSlowpath;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: reads and writes the lock that
// the caller names; the Xen body the model, too.
unsafe impl Op for QueuedSpinLockSlowpath {
    const META: OpMeta = OpMeta {
        name: "queued_spin_lock_slowpath",
        group: Group::Lock,
        prototype: "void (*queued_spin_lock_slowpath)(struct qspinlock *lock, u32 val)",
        purpose: "take a spinlock that was held a moment ago",
        source: "kernel/locking/qspinlock.c, native_queued_spin_lock_slowpath",
        ..OpMeta::BASE
    };
    const SLOT: usize = Slot::QueuedSpinLockSlowpath as usize;
    type Args = (u64, u64);
    type Ret = ();

    native! {
        (lock: "rdi", val: "rsi"); scratch("rax", "rcx");
        // Wait for a hand-over in progress, for a bounded time.
        "mov eax, esi",
        "cmp eax, {pending}",
        "jne 23f",
        "mov ecx, {loops}",
        "22: mov eax, [rdi]",
        "cmp eax, {pending}",
        "jne 23f",
        "pause",
        "dec ecx",
        "jnz 22b",
        // Contention: queue.
        "23: test eax, 0xffffff00",
        "jnz 26f",
        // Set the pending bit, and keep its former value in ecx.
        "xor ecx, ecx",
        "lock bts dword ptr [rdi], 8",
        "setc cl",
        "shl ecx, 8",
        "mov eax, [rdi]",
        "and eax, 0xfffffeff",
        "or eax, ecx",
        "test eax, 0xffffff00",
        "jnz 25f",
        "test al, al",
        "jz 24f",
        "28: pause",
        "cmp byte ptr [rdi], 0",
        "jne 28b",
        // The owner has released the lock: pending becomes locked.
        "24: movzx eax, word ptr [rdi + {locked}]",
        "mov [rdi], ax",
        "jmp 27f",
        "25: test ecx, ecx",
        "jnz 26f",
        "mov byte ptr [rdi + 1], 0",
        "26: pause",
        "mov eax, [rdi]",
        "test eax, eax",
        "jnz 26b",
        "movzx ecx, word ptr [rdi + {locked}]",
        "lock cmpxchg [rdi], ecx",
        "jne 26b",
        "27:";
        pending = const PENDING, loops = const PENDING_LOOPS, locked = const LOCKED
    }

    /// `__pv_queued_spin_lock_slowpath`: takes a queue node, then tries to steal the lock
    /// (`pv_queued_spin_steal_lock`). The successful steal is measured. If it fails, the CPU spins with the pending bit
    /// set, then halts. That path leaves out the queue and the hash of CPUs to kick, because an unlocker on another
    /// thread has its own model.
    unsafe fn xen((lock, _): (u64, u64)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one. The lock may lie in the model, so no reference is kept while it is used; the same holds below.
        let cpu = &mut *unsafe { CpuModel::current() };
        let index = cpu.lock.nodes[0].count;
        cpu.lock.nodes[0].count = index.wrapping_add(1);
        if let Some(node) = cpu.lock.nodes.get_mut(index as usize) {
            node.locked = 0;
            node.next = 0;
            node.cpu = cpu.irq.cpu as u32;
            node.state = 0;
        }
        // SAFETY: the caller's lock.
        let (lock, byte, both) = unsafe { lock_words(lock) };
        let stolen = lock.word.load(Ordering::Relaxed) & LOCKED_PENDING == 0
            && byte.compare_exchange(0, lock.locked as u8, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        if !stolen {
            // SAFETY: `wait_head_or_lock` has the contract of this function, which the caller meets.
            unsafe { wait_head_or_lock(lock, byte, both) };
        }
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let count = &mut unsafe { CpuModel::current() }.lock.nodes[0].count;
        *count = count.wrapping_sub(1);
    }

    /// A lock that the fast path saw held and that is free.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        cpu.lock.lock = RawSpinlock::repeatable();
        cpu.lock.nodes = Default::default();
        (&raw mut cpu.lock.lock as u64, 1)
    }
}

/// `pv_wait_head_or_lock`: spins with the pending bit set, which keeps others from stealing the lock, then halts, and
/// repeats both until it has the lock.
///
/// # Safety
/// As for [`CpuModel::current`].
#[cold]
unsafe fn wait_head_or_lock(lock: &RawSpinlock, byte: &AtomicU8, both: &AtomicU16) {
    let pending = PENDING as u16;
    loop {
        lock.word.fetch_or(PENDING, Ordering::SeqCst);
        for _ in 0..SPIN_THRESHOLD {
            if byte.load(Ordering::Relaxed) == 0
                && both.compare_exchange(pending, lock.locked, Ordering::SeqCst, Ordering::Relaxed).is_ok()
            {
                return;
            }
            std::hint::spin_loop();
        }
        lock.word.fetch_and(!PENDING, Ordering::SeqCst);
        // SAFETY: `current` needs an installed model without another reference in use, as this function's contract
        // says; the reference ends before the lock is used again.
        let cpu = &mut *unsafe { CpuModel::current() };
        if let Some(port) = kicker_port(cpu, cpu.irq.cpu) {
            cpu.xen.hypercall(Call::SchedPoll { port });
        }
    }
}

/// Releases a spinlock.
pub struct QueuedSpinUnlock;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: writes the lock that the
// caller names; the Xen body the model, too.
unsafe impl Op for QueuedSpinUnlock {
    const META: OpMeta = OpMeta {
        name: "queued_spin_unlock",
        group: Group::Lock,
        native_kind: Kind::Real,
        bytes: Bytes::Instruction,
        conventions: Conventions::CalleeSave,
        prototype: "void (*queued_spin_unlock)(struct qspinlock *lock)",
        purpose: "release a spinlock",
        source: "arch/x86/include/asm/qspinlock.h, native_queued_spin_unlock",
        ..OpMeta::BASE
    };
    const SLOT: usize = Slot::QueuedSpinUnlock as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (lock: "rdi"); "mov byte ptr [rdi], 0" }

    /// `arch/x86/include/asm/qspinlock_paravirt.h`, `__pv_queued_spin_unlock`: one locked instruction changes the byte
    /// from locked to free. If it finds another value, a CPU has halted for this lock.
    unsafe fn xen((address,): (u64,)) {
        // SAFETY: the caller's lock.
        let (lock, byte, _) = unsafe { lock_words(address) };
        if let Err(found) = byte.compare_exchange(lock.locked as u8, 0, Ordering::SeqCst, Ordering::Relaxed) {
            // SAFETY: `unlock_slowpath` has the contract of this function, which the caller meets.
            unsafe { unlock_slowpath(address, byte, found) };
        }
    }

    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        cpu.lock.lock = RawSpinlock::repeatable();
        (&raw mut cpu.lock.lock as u64,)
    }
}

/// `__pv_queued_spin_unlock_slowpath`: finds the waiting CPU, releases the lock and kicks that CPU. A byte that is
/// neither locked nor [`SLOW`] stays unchanged, as in Linux, which warns.
///
/// # Safety
/// As for [`CpuModel::current`].
#[cold]
unsafe fn unlock_slowpath(address: u64, byte: &AtomicU8, found: u8) {
    if found != SLOW {
        return;
    }
    // SAFETY: `current` needs an installed model without another reference in use, as this function's contract says;
    // the reference ends before the lock is used.
    let waiter = unhash(&mut *unsafe { CpuModel::current() }, address);
    byte.store(0, Ordering::Release);
    if let Some(waiter) = waiter {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        kick(&mut *unsafe { CpuModel::current() }, waiter);
    }
}

/// Hash entries per cache line of 64 bytes (`PV_HE_PER_LINE`).
const ENTRIES_PER_LINE: usize = 64 / size_of::<super::HashEntry>();

/// `hash_ptr` (`include/linux/hash.h`, the golden ratio), rounded down to the first entry of a cache line.
pub(super) fn hash_lock(address: u64) -> usize {
    let hash = address.wrapping_mul(0x61c8_8646_80b5_83eb) >> (64 - HASH_ENTRIES.ilog2());
    hash as usize & !(ENTRIES_PER_LINE - 1)
}

/// `pv_unhash`: finds the CPU that waits for a lock, and frees its entry.
fn unhash(cpu: &mut CpuModel, address: u64) -> Option<u64> {
    let first = hash_lock(address);
    for step in 0..HASH_ENTRIES {
        let entry = &mut cpu.lock.hash[(first + step) % HASH_ENTRIES];
        if entry.lock == address {
            entry.lock = 0;
            return Some(entry.cpu);
        }
    }
    None
}
