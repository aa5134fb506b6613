//! `struct pv_lock_ops`: spinlocks. Linux 6.1 has queued locks, 2.6.30 ticket locks.
//!
//! **How taking a lock is measured.** A loop that takes a lock repeatedly without releasing it hangs in its second
//! pass. A loop that releases the lock in between measures two ops. Therefore the value that taking a lock writes is a
//! field of the lock, not an immediate. A normal lock ([`RawSpinlock::new`]) is locked and unlocked as in Linux, also
//! across threads. In the lock that is measured (`RawSpinlock::repeatable`) the field holds the value of a free lock.
//! Both run the same instructions, with the same locked read-modify-write, on the same cache line, but the repeatable
//! lock is free every time. Compared with Linux's own sequence, a load from the lock's line replaces an immediate, so
//! such bodies are [`Kind::Modelled`](crate::op::Kind::Modelled).

mod kick;
mod preempted;
mod queued;
mod ticket;
mod trial;

use std::sync::atomic::AtomicU32;

pub use kick::{Kick, Wait};
pub use preempted::VcpuIsPreempted;
pub use queued::{QueuedSpinLockSlowpath, QueuedSpinUnlock};
pub use ticket::{SpinLock, SpinLockFlags, SpinUnlock};
pub use trial::{SpinIsContended, SpinIsLocked, SpinTrylock};

/// CPUs of the lock model, its own CPU included: waiters of a lock are found in the per-CPU data of all of them.
pub const CPUS: usize = 4;

/// A spinlock: the kernel's 32 bits, and the values that taking it writes there.
///
/// The bits, by owner of the format:
///
/// | format | bits 0-7 | 8-15 | 16-31 |
/// |---|---|---|---|
/// | queued (6.1, `qspinlock_types.h`) | locked | pending | tail of the queue |
/// | ticket (2.6.30, `asm/spinlock.h`) | head: ticket being served | tail: next ticket | unused |
/// | Xen (2.6.30, `xen/spinlock.c`) | locked | unused | CPUs in the slow path |
#[repr(C, align(8))]
#[derive(Debug, Default)]
pub struct RawSpinlock {
    /// The kernel's lock word.
    pub word: AtomicU32,
    /// The value that drawing a ticket adds.
    ticket: u16,
    /// The locked byte of a taken lock.
    locked: u16,
}

impl RawSpinlock {
    /// An unlocked lock.
    #[must_use]
    pub const fn new() -> Self {
        RawSpinlock { word: AtomicU32::new(0), ticket: 0x0100, locked: 1 }
    }

    /// An unlocked lock that stays unlocked when it is taken, for measurements; see the module.
    #[must_use]
    pub(crate) const fn repeatable() -> Self {
        RawSpinlock { word: AtomicU32::new(0), ticket: 0, locked: 0 }
    }
}

/// Offsets of the written values in [`RawSpinlock`]: displacements in the native bodies.
const TICKET: usize = std::mem::offset_of!(RawSpinlock, ticket);
const LOCKED: usize = std::mem::offset_of!(RawSpinlock, locked);

/// `struct mcs_spinlock` and `struct pv_node` (`kernel/locking/qspinlock_paravirt.h`): a CPU's node in a queue.
#[repr(C)]
#[derive(Debug, Default)]
pub struct QueueNode {
    /// The node behind this one.
    pub(crate) next: u64,
    /// Set by the CPU ahead in the queue when it hands the lock over.
    pub(crate) locked: u32,
    /// The number of this CPU's nodes in use, counted in its first node.
    pub count: u32,
    /// The CPU that waits with this node.
    pub cpu: u32,
    /// `enum vcpu_state`
    pub(crate) state: u8,
}

/// `struct pv_hash_entry`: the lock that a halted CPU waits for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct HashEntry {
    /// The lock's address; 0 if the entry is free.
    pub lock: u64,
    /// The CPU to kick.
    pub cpu: u64,
}

/// Entries of the hash of locks: four per possible CPU.
pub const HASH_ENTRIES: usize = 4 * CPUS;

/// The locks of the model, and the state that waiting for them needs.
#[repr(C)]
#[derive(Debug)]
pub struct LockState {
    /// The lock that ops are measured on.
    pub lock: RawSpinlock,
    /// The byte that `wait` watches.
    pub watched: u8,
    /// `lock_kicker_irq` of every CPU: the interrupt that wakes it; -1 before it is set up.
    pub kicker_irq: [i32; CPUS],
    /// `evtchn_from_irq`: the event channel of an interrupt; 0 if it has none.
    pub port_of_irq: [u64; 2 * CPUS],
    /// `xen_qlock_wait_nest`: waits under way on this CPU.
    pub wait_nest: AtomicU32,
    /// `qnodes`: the queue nodes of this CPU, one per context (task, softirq, hardirq, NMI).
    pub nodes: [QueueNode; 4],
    /// `pv_lock_hash`
    pub hash: [HashEntry; HASH_ENTRIES],
    /// `lock_spinners` of every CPU (2.6.30): the lock whose slow path the CPU is in.
    pub spinners: [u64; CPUS],
}

impl LockState {
    /// The state after boot: every CPU's kicker interrupt is bound (`xen_init_lock_cpu`), and no CPU waits.
    #[must_use]
    pub(crate) fn new() -> Self {
        let first_irq = 1;
        LockState {
            lock: RawSpinlock::repeatable(),
            watched: 0,
            kicker_irq: std::array::from_fn(|cpu| cpu as i32 + first_irq),
            port_of_irq: std::array::from_fn(|irq| irq as u64 * 8),
            wait_nest: AtomicU32::new(0),
            nodes: Default::default(),
            hash: [HashEntry::default(); HASH_ENTRIES],
            spinners: [0; CPUS],
        }
    }
}

impl Default for LockState {
    fn default() -> Self {
        Self::new()
    }
}
