//! Halting a CPU that waits for a lock, and waking it: a nop on bare metal, event channels in Xen.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::native;
use crate::op::xen::Call;
use crate::op::{Bytes, CpuModel, Group, Kind, Op, OpMeta, catalogue::Slot};

const HOOK: OpMeta = OpMeta { group: Group::Lock, native_kind: Kind::Real, bytes: Bytes::Nop, ..OpMeta::BASE };

/// The event channel of a CPU's kicker interrupt; `None` before the interrupt is set up, or if the CPU does not exist.
pub(super) fn kicker_port(cpu: &CpuModel, number: u64) -> Option<u64> {
    let irq = *cpu.lock.kicker_irq.get(usize::try_from(number).ok()?)?;
    let port = *cpu.lock.port_of_irq.get(usize::try_from(irq).ok()?)?;
    (port != 0).then_some(port)
}

/// `xen_send_IPI_one(cpu, XEN_SPIN_UNLOCK_VECTOR)`
pub(super) fn kick(cpu: &mut CpuModel, number: u64) {
    if let Some(port) = kicker_port(cpu, number) {
        cpu.xen.hypercall(Call::EvtchnSend { port });
    }
}

/// The word and bit of a port in `shared_info.evtchn_pending`.
fn pending(cpu: &mut CpuModel, port: u64) -> Option<(&AtomicU64, u64)> {
    let word = cpu.irq.evtchn_pending.get_mut((port / 64) as usize)?;
    // SAFETY: an aligned word, borrowed for as long as the result.
    Some((unsafe { AtomicU64::from_ptr(word) }, 1 << (port % 64)))
}

/// `xen_test_irq_pending`
fn is_pending(cpu: &mut CpuModel, port: u64) -> bool {
    pending(cpu, port).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
}

/// `xen_clear_irq_pending`
pub(super) fn clear_pending(cpu: &mut CpuModel, port: u64) {
    if let Some((word, bit)) = pending(cpu, port) {
        word.fetch_and(!bit, Ordering::SeqCst);
    }
}

/// Halts this CPU while a byte has a value.
pub struct Wait;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: the native body is empty; the
// Xen body reads the byte that the caller names.
unsafe impl Op for Wait {
    const META: OpMeta = OpMeta {
        name: "wait",
        prototype: "void (*wait)(u8 *ptr, u8 val)",
        purpose: "halt this CPU until a lock's byte changes",
        source: "arch/x86/kernel/paravirt.c, paravirt_nop",
        ..HOOK
    };
    const SLOT: usize = Slot::Wait as usize;
    type Args = (u64, u64);
    type Ret = ();

    native! { (ptr: "rdi", val: "rsi"); }

    /// `arch/x86/xen/spinlock.c`, `xen_qlock_wait`: clears a kick that is already pending. Otherwise, if the byte still
    /// has the value, a hypercall polls for a kick. A wait inside a wait (from an interrupt) leaves the kick to the
    /// outer one.
    unsafe fn xen((ptr, val): (u64, u64)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one. The byte may lie in the model, so no reference is kept while it is read.
        let cpu = &mut *unsafe { CpuModel::current() };
        let Some(port) = kicker_port(cpu, cpu.irq.cpu) else { return };
        let nested = cpu.lock.wait_nest.fetch_add(1, Ordering::SeqCst);
        if nested == 0 && is_pending(cpu, port) {
            clear_pending(cpu, port);
        } else {
            // SAFETY: the caller's byte; others may write to it meanwhile.
            let byte = unsafe { AtomicU8::from_ptr(ptr as *mut u8) };
            if byte.load(Ordering::Relaxed) == val as u8 {
                // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is
                // the only one.
                unsafe { CpuModel::current() }.xen.hypercall(Call::SchedPoll { port });
            }
        }
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        unsafe { CpuModel::current() }.lock.wait_nest.fetch_sub(1, Ordering::SeqCst);
    }

    /// The byte has the value and no kick is pending, so the body polls.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        *cpu.lock.wait_nest.get_mut() = 0;
        cpu.irq.evtchn_pending.fill(0);
        cpu.lock.watched = 3;
        (&raw mut cpu.lock.watched as u64, 3)
    }
}

/// Wakes a CPU that halted in `wait`.
pub struct Kick;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: the native body is empty; in
// Xen a hypercall.
unsafe impl Op for Kick {
    const META: OpMeta = OpMeta {
        name: "kick",
        prototype: "void (*kick)(int cpu)",
        purpose: "wake a CPU that halted for a lock",
        source: "arch/x86/kernel/paravirt.c, paravirt_nop",
        ..HOOK
    };
    const SLOT: usize = Slot::Kick as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (cpu: "rdi"); }

    /// `arch/x86/xen/spinlock.c`, `xen_qlock_kick`.
    unsafe fn xen((number,): (u64,)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        kick(&mut *unsafe { CpuModel::current() }, number);
    }

    fn arguments(_: &mut CpuModel) -> (u64,) {
        (1,)
    }
}
