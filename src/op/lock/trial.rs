//! Ticket locks of 2.6.30: querying a lock, and taking it without waiting.

use std::sync::atomic::Ordering;

use super::ticket::{SpinLock, TICKET_OP, XenSpinlock};
use super::{RawSpinlock, TICKET};
use crate::native;
use crate::op::{CpuModel, Kind, Op, OpMeta, catalogue::Slot};

/// Tells whether a lock is held.
pub struct SpinIsLocked;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: reads the lock that the caller
// names.
unsafe impl Op for SpinIsLocked {
    const META: OpMeta = OpMeta {
        name: "spin_is_locked",
        native_kind: Kind::Real,
        xen_kind: Kind::Real,
        prototype: "int (*spin_is_locked)(struct raw_spinlock *lock)",
        purpose: "ask whether a spinlock is held",
        source: "arch/x86/include/asm/spinlock.h, __ticket_spin_is_locked",
        ..TICKET_OP
    };
    const SLOT: usize = Slot::SpinIsLocked as usize;
    type Args = (u64,);
    type Ret = u64;

    // Locked: head and tail differ.
    native! {
        (lock: "rdi") -> "rax"; scratch("rcx");
        "mov ecx, [rdi]",
        "mov eax, ecx",
        "sar eax, 8",
        "xor ecx, eax",
        "xor eax, eax",
        "test cl, cl",
        "setne al"
    }

    /// `arch/x86/xen/spinlock.c` of 2.6.30, `xen_spin_is_locked`.
    unsafe fn xen((lock,): (u64,)) -> u64 {
        // SAFETY: the caller's lock.
        (unsafe { XenSpinlock::from_address(lock) }.byte.load(Ordering::Relaxed) != 0) as u64
    }

    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        SpinLock::arguments(cpu)
    }
}

/// Tells whether another CPU waits for a lock.
pub struct SpinIsContended;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: reads the lock that the caller
// names.
unsafe impl Op for SpinIsContended {
    const META: OpMeta = OpMeta {
        name: "spin_is_contended",
        native_kind: Kind::Real,
        xen_kind: Kind::Real,
        prototype: "int (*spin_is_contended)(struct raw_spinlock *lock)",
        purpose: "ask whether another CPU waits for a spinlock",
        source: "arch/x86/include/asm/spinlock.h, __ticket_spin_is_contended",
        ..TICKET_OP
    };
    const SLOT: usize = Slot::SpinIsContended as usize;
    type Args = (u64,);
    type Ret = u64;

    // Contended: the tail is more than one ahead of the head.
    native! {
        (lock: "rdi") -> "rax"; scratch("rcx");
        "mov eax, [rdi]",
        "mov ecx, eax",
        "sar ecx, 8",
        "sub ecx, eax",
        "xor eax, eax",
        "cmp cl, 1",
        "seta al"
    }

    /// `arch/x86/xen/spinlock.c` of 2.6.30, `xen_spin_is_contended`: counts only CPUs in the slow path.
    unsafe fn xen((lock,): (u64,)) -> u64 {
        // SAFETY: the caller's lock.
        (unsafe { XenSpinlock::from_address(lock) }.spinners.load(Ordering::Relaxed) != 0) as u64
    }

    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        SpinLock::arguments(cpu)
    }
}

/// Takes the lock if it is free.
///
/// The successful path is measured: the compare, and one `lock cmpxchg`. The ticket's step is loaded from the lock; see
/// the module [`lock`](super).
pub struct SpinTrylock;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: reads and writes the lock that
// the caller names.
unsafe impl Op for SpinTrylock {
    const META: OpMeta = OpMeta {
        name: "spin_trylock",
        prototype: "int (*spin_trylock)(struct raw_spinlock *lock)",
        purpose: "take a spinlock if it is free",
        source: "arch/x86/include/asm/spinlock.h, __ticket_spin_trylock",
        ..TICKET_OP
    };
    const SLOT: usize = Slot::SpinTrylock as usize;
    type Args = (u64,);
    type Ret = u64;

    native! {
        (lock: "rdi") -> "rax"; scratch("rcx");
        "movzx ecx, word ptr [rdi + {ticket}]",
        "movzx eax, word ptr [rdi]",
        "cmp al, ah",
        "lea ecx, [rax + rcx]",
        "jne 22f",
        "lock cmpxchg [rdi], cx",
        "22: sete cl",
        "movzx eax, cl";
        ticket = const TICKET
    }

    /// `arch/x86/xen/spinlock.c` of 2.6.30, `xen_spin_trylock`.
    unsafe fn xen((lock,): (u64,)) -> u64 {
        // SAFETY: the caller's lock.
        unsafe { XenSpinlock::from_address(lock) }.try_lock() as u64
    }

    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        cpu.lock.lock = RawSpinlock::repeatable();
        (&raw mut cpu.lock.lock as u64,)
    }
}
