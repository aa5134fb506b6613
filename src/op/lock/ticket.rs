//! Ticket locks of 2.6.30 (`arch/x86/include/asm/spinlock.h`, fewer than 256 CPUs) and Xen's byte locks of that time
//! (`arch/x86/xen/spinlock.c`): taking and releasing.

use std::sync::atomic::{AtomicU8, AtomicU16, Ordering, compiler_fence};

use super::kick::{clear_pending, kick, kicker_port};
use super::{CPUS, RawSpinlock, TICKET};
use crate::native;
use crate::op::xen::Call;
use crate::op::{CpuModel, Group, Kind, Op, OpMeta, Since, catalogue::Slot};

/// Defaults of these ops: C functions of 2.6.30. Since 3.12 the hook is the ticket lock's slow path instead.
pub(super) const TICKET_OP: OpMeta = OpMeta { group: Group::Lock, since: Since::Linux2630Only, ..OpMeta::BASE };

/// Linux's `TIMEOUT`: reads of a held lock before a Xen guest halts for it.
const TIMEOUT: u32 = 1 << 10;

/// `struct xen_spinlock`: the locked byte, the number of CPUs in the slow path, and the byte's value when taken.
pub(super) struct XenSpinlock<'a> {
    pub(super) byte: &'a AtomicU8,
    pub(super) spinners: &'a AtomicU16,
    pub(super) taken: u8,
}

impl XenSpinlock<'_> {
    /// The lock at an address.
    ///
    /// # Safety
    /// `lock` points to a [`RawSpinlock`] that outlives the result.
    #[inline(always)]
    pub(super) unsafe fn from_address(lock: u64) -> Self {
        // SAFETY: the caller's lock. The word is its first field and little-endian: the byte is the lowest, the count
        // the upper half, aligned to 2.
        unsafe {
            let lock = lock as *mut RawSpinlock;
            let word = (&raw mut (*lock).word).cast::<u8>();
            XenSpinlock {
                byte: AtomicU8::from_ptr(word),
                spinners: AtomicU16::from_ptr(word.add(2).cast()),
                taken: (*lock).locked as u8,
            }
        }
    }

    /// `xen_spin_trylock`: one exchange.
    #[inline(always)]
    pub(super) fn try_lock(&self) -> bool {
        self.byte.swap(self.taken, Ordering::SeqCst) == 0
    }

    /// `__xen_spin_lock`: exchanges the byte until it was free. While the byte is taken, it only reads. After
    /// [`TIMEOUT`] reads it enters the slow path.
    #[inline(always)]
    unsafe fn lock(&self, address: u64) {
        let mut left = TIMEOUT;
        while !self.try_lock() {
            while self.byte.load(Ordering::Relaxed) != 0 {
                std::hint::spin_loop();
                left -= 1;
                if left == 0 {
                    // SAFETY: `lock_slow` has the contract of this function, which the caller meets.
                    if unsafe { self.lock_slow(address) } {
                        return;
                    }
                    left = TIMEOUT;
                }
            }
        }
    }

    /// `xen_spin_lock_slow`: registers this CPU as a waiter, clears an old kick, tries the lock once more, then polls
    /// for a kick by a hypercall. Returns whether it has the lock.
    ///
    /// # Safety
    /// As for [`CpuModel::current`].
    #[cold]
    unsafe fn lock_slow(&self, address: u64) -> bool {
        // SAFETY: `current` needs an installed model without another reference in use, as this function's contract
        // says. The lock may lie in the model, so no reference is kept while it is used; the same holds below.
        let cpu = &mut *unsafe { CpuModel::current() };
        let Some(port) = kicker_port(cpu, cpu.irq.cpu) else { return false };
        // A port was found, so the number is within the array.
        let own = cpu.irq.cpu as usize % CPUS;
        let before = std::mem::replace(&mut cpu.lock.spinners[own], address);
        self.spinners.fetch_add(1, Ordering::SeqCst);
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        clear_pending(&mut *unsafe { CpuModel::current() }, port);
        let got = self.try_lock();
        if !got {
            // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the
            // only one.
            unsafe { CpuModel::current() }.xen.hypercall(Call::SchedPoll { port });
        }
        self.spinners.fetch_sub(1, Ordering::SeqCst);
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        unsafe { CpuModel::current() }.lock.spinners[own] = before;
        got
    }
}

/// Takes a spinlock. ([`RawSpinlock`] is the lock itself.)
///
/// The uncontended path is measured: one `lock xadd` that draws a ticket, and the compare that finds it being served.
/// The ticket's step is loaded from the lock; see the module [`lock`](super).
pub struct SpinLock;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: reads and writes the lock that
// the caller names; the Xen body the model, too.
unsafe impl Op for SpinLock {
    const META: OpMeta = OpMeta {
        name: "spin_lock",
        prototype: "void (*spin_lock)(struct raw_spinlock *lock)",
        purpose: "take a spinlock",
        source: "arch/x86/include/asm/spinlock.h, __ticket_spin_lock",
        ..TICKET_OP
    };
    const SLOT: usize = Slot::SpinLock as usize;
    type Args = (u64,);
    type Ret = ();

    native! {
        (lock: "rdi"); scratch("rax");
        "movzx eax, word ptr [rdi + {ticket}]",
        "lock xadd [rdi], ax",
        "22: cmp al, ah",
        "je 23f",
        "pause",
        "mov al, [rdi]",
        "jmp 22b",
        "23:";
        ticket = const TICKET
    }

    /// `arch/x86/xen/spinlock.c` of 2.6.30, `xen_spin_lock`.
    unsafe fn xen((lock,): (u64,)) {
        // SAFETY: the caller's lock and this thread's model.
        unsafe { XenSpinlock::from_address(lock).lock(lock) };
    }

    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        cpu.lock.lock = RawSpinlock::repeatable();
        (&raw mut cpu.lock.lock as u64,)
    }
}

/// Takes a spinlock. The caller passes the flags from before interrupts were turned off, so that the wait may turn
/// interrupts on again. Ticket locks do not use them.
///
/// The native hook (`default_spin_lock_flags`) only calls the `spin_lock` hook. A body here calls nothing, so this one
/// is the body of `spin_lock`, without that call and return.
pub struct SpinLockFlags;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: reads and writes the lock that
// the caller names; the Xen body the model, too.
unsafe impl Op for SpinLockFlags {
    const META: OpMeta = OpMeta {
        name: "spin_lock_flags",
        prototype: "void (*spin_lock_flags)(struct raw_spinlock *lock, unsigned long flags)",
        purpose: "take a spinlock; interrupts may be on while it waits, if they were on before",
        source: "arch/x86/kernel/paravirt-spinlocks.c, default_spin_lock_flags",
        ..TICKET_OP
    };
    const SLOT: usize = Slot::SpinLockFlags as usize;
    type Args = (u64, u64);
    type Ret = ();

    native! {
        (lock: "rdi", flags: "rsi"); scratch("rax");
        "movzx eax, word ptr [rdi + {ticket}]",
        "lock xadd [rdi], ax",
        "22: cmp al, ah",
        "je 23f",
        "pause",
        "mov al, [rdi]",
        "jmp 22b",
        "23:";
        ticket = const TICKET
    }

    /// `arch/x86/xen/spinlock.c` of 2.6.30, `xen_spin_lock_flags`. Linux turns events on during the poll of the slow
    /// path if `flags` had them on. The model's poll takes no time, so no event could arrive, and it leaves them off.
    unsafe fn xen((lock, _): (u64, u64)) {
        // SAFETY: the caller's lock and this thread's model.
        unsafe { XenSpinlock::from_address(lock).lock(lock) };
    }

    /// Flags with interrupts on.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        let (lock,) = SpinLock::arguments(cpu);
        (lock, 0x202)
    }
}

/// Releases a spinlock.
pub struct SpinUnlock;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: reads and writes the lock that
// the caller names; the Xen body the model, too.
unsafe impl Op for SpinUnlock {
    const META: OpMeta = OpMeta {
        name: "spin_unlock",
        native_kind: Kind::Real,
        prototype: "void (*spin_unlock)(struct raw_spinlock *lock)",
        purpose: "release a spinlock",
        source: "arch/x86/include/asm/spinlock.h, __ticket_spin_unlock",
        ..TICKET_OP
    };
    const SLOT: usize = Slot::SpinUnlock as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (lock: "rdi"); "inc byte ptr [rdi]" }

    /// `arch/x86/xen/spinlock.c` of 2.6.30, `xen_spin_unlock`: releases the lock, then checks whether a CPU is in the
    /// slow path, and kicks one that is there for this lock. (2.6.32 put a full barrier in between.)
    unsafe fn xen((address,): (u64,)) {
        // SAFETY: the caller's lock.
        let lock = unsafe { XenSpinlock::from_address(address) };
        lock.byte.store(0, Ordering::Release);
        compiler_fence(Ordering::SeqCst);
        if lock.spinners.load(Ordering::Relaxed) != 0 {
            // SAFETY: `unlock_slow` has the contract of this function, which the caller meets.
            unsafe { unlock_slow(address) };
        }
    }

    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        SpinLock::arguments(cpu)
    }
}

/// `xen_spin_unlock_slow`: sends an event to the first CPU that is in the slow path for this lock.
///
/// # Safety
/// As for [`CpuModel::current`].
#[cold]
unsafe fn unlock_slow(address: u64) {
    // SAFETY: `current` needs an installed model without another reference in use, as this function's contract says.
    let cpu = &mut *unsafe { CpuModel::current() };
    if let Some(waiter) = cpu.lock.spinners.iter().position(|&lock| lock == address) {
        kick(cpu, waiter as u64);
    }
}
