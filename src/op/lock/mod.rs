//! `struct pv_lock_ops`: spinlocks. Queued ones in 6.1, ticket locks in 2.6.30.
//!
//! **What is measured of a lock.** A loop that takes a lock again and again without releasing it stops at the second
//! round, and one that releases it in between measures two ops. So what a lock writes when it is taken is a field of
//! the lock itself instead of an immediate: a normal lock ([`RawSpinlock::new`]) is locked and unlocked as in Linux,
//! across threads too, and the lock to measure on ([`RawSpinlock::repeatable`]) has in that field what it holds when free.
//! Both run the same instructions, the same locked read-modify-write among them, on the same cache line; the
//! repeatable lock is just found free every time. Against Linux's own sequence that is a load from the lock's line
//! where Linux has an immediate, so bodies that do this are [`Kind::Modelled`](crate::op::Kind::Modelled).

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

/// CPUs that a model knows of, itself among them: a lock's waiters are found in per-CPU data of all of them.
pub const CPUS: usize = 4;

/// A spinlock: the kernel's 32 bits, and what is written there when it is taken.
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
    /// What drawing a ticket adds.
    ticket: u16,
    /// What a taken lock has in its locked byte.
    locked: u16,
}

impl RawSpinlock {
    /// An unlocked lock.
    #[must_use]
    pub const fn new() -> Self {
        RawSpinlock { word: AtomicU32::new(0), ticket: 0x0100, locked: 1 }
    }

    /// An unlocked lock that taking leaves unlocked, to measure on; see the module.
    #[must_use]
    pub const fn repeatable() -> Self {
        RawSpinlock { word: AtomicU32::new(0), ticket: 0, locked: 0 }
    }
}

/// Where [`RawSpinlock`] keeps what is written: displacements of the native bodies.
const TICKET: usize = std::mem::offset_of!(RawSpinlock, ticket);
const LOCKED: usize = std::mem::offset_of!(RawSpinlock, locked);

/// `struct mcs_spinlock` and `struct pv_node` (`kernel/locking/qspinlock_paravirt.h`): a CPU's place in a queue.
#[repr(C)]
#[derive(Debug, Default)]
pub struct QueueNode {
    /// The node behind this one.
    pub next: u64,
    /// Set by the CPU before this one when it is this one's turn.
    pub locked: u32,
    /// How many nodes of this CPU are in use; counted in its first one.
    pub count: u32,
    /// The CPU that waits with this node.
    pub cpu: u32,
    /// `enum vcpu_state`
    pub state: u8,
}

/// `struct pv_hash_entry`: which lock a halted CPU waits for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct HashEntry {
    /// The lock's address; 0 where the entry is free.
    pub lock: u64,
    /// The CPU to kick.
    pub cpu: u64,
}

/// Entries of the hash of locks: four per possible CPU.
pub const HASH_ENTRIES: usize = 4 * CPUS;

/// Locks, and what waiting for them needs.
#[repr(C)]
#[derive(Debug)]
pub struct LockState {
    /// A lock to measure on.
    pub lock: RawSpinlock,
    /// The byte that `wait` watches.
    pub watched: u8,
    /// `lock_kicker_irq` of every CPU: the interrupt that wakes it; -1 before it is set up.
    pub kicker_irq: [i32; CPUS],
    /// `evtchn_from_irq`: the event channel of an interrupt; 0 where it has none.
    pub port_of_irq: [u64; 2 * CPUS],
    /// `xen_qlock_wait_nest`: waits under way on this CPU.
    pub wait_nest: AtomicU32,
    /// `qnodes`: the queue nodes of this CPU, one per context (task, softirq, hardirq, NMI).
    pub nodes: [QueueNode; 4],
    /// `pv_lock_hash`
    pub hash: [HashEntry; HASH_ENTRIES],
    /// `lock_spinners` of every CPU, 2.6.30: the lock it is in the slow path for.
    pub spinners: [u64; CPUS],
}

impl LockState {
    /// After boot: every CPU's kicker interrupt is bound (`xen_init_lock_cpu`), nobody waits.
    #[must_use]
    pub fn new() -> Self {
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
