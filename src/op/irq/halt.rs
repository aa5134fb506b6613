//! Waiting for an interrupt.

use std::mem::offset_of;

use crate::native;
use crate::op::xen::Call;
use crate::op::{CpuModel, Group, Op, OpMeta, catalogue::Slot};

const ENABLED: usize = offset_of!(CpuModel, irq.enabled);
const HALTED: usize = offset_of!(CpuModel, irq.halted);

/// Defaults of these ops: both bodies are C functions, so patching writes only a direct call.
const HALT_OP: OpMeta = OpMeta { group: Group::Irq, ..OpMeta::BASE };

/// Turns interrupts on and waits for one, as the idle loop does.
pub struct SafeHalt;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: two byte stores to the
// installed model; a hypercall in Xen.
unsafe impl Op for SafeHalt {
    const META: OpMeta = OpMeta {
        name: "safe_halt",
        prototype: "void (*safe_halt)(void)",
        purpose: "wait for an interrupt with interrupts on (sti; hlt)",
        source: "arch/x86/include/asm/irqflags.h, native_safe_halt",
        ..HALT_OP
    };
    const SLOT: usize = Slot::SafeHalt as usize;
    type Args = ();
    type Ret = ();

    native! {
        (); "mov byte ptr gs:[{enabled}], 1", "mov byte ptr gs:[{halted}], 1";
        enabled = const ENABLED, halted = const HALTED
    }

    /// `arch/x86/xen/irq.c`, `xen_safe_halt`: the hypervisor unmasks events and blocks in one step. If that is refused,
    /// Linux stops (`BUG`); the model continues.
    unsafe fn xen((): ()) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        unsafe { CpuModel::current() }.xen.hypercall(Call::SchedBlock);
    }

    fn arguments(cpu: &mut CpuModel) {
        cpu.irq.halted = 0;
    }
}

/// Waits with the interrupt flag unchanged, as a CPU does that is being stopped.
pub struct Halt;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a byte store to the installed
// model; a hypercall in Xen.
unsafe impl Op for Halt {
    const META: OpMeta = OpMeta {
        name: "halt",
        prototype: "void (*halt)(void)",
        purpose: "wait for an interrupt, if interrupts are on (hlt)",
        source: "arch/x86/include/asm/irqflags.h, native_halt",
        ..HALT_OP
    };
    const SLOT: usize = Slot::Halt as usize;
    type Args = ();
    type Ret = ();

    native! { (); "mov byte ptr gs:[{halted}], 1"; halted = const HALTED }

    /// `arch/x86/xen/irq.c`, `xen_halt`: with events masked nothing could wake this CPU, so it goes down instead.
    unsafe fn xen((): ()) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one; it ends before the call below.
        let cpu = &mut *unsafe { CpuModel::current() };
        if cpu.xen.info.evtchn_upcall_mask != 0 {
            cpu.xen.hypercall(Call::VcpuDown { vcpu: cpu.irq.cpu });
        } else {
            // SAFETY: `SafeHalt::xen` has the contract of this function, which the caller meets.
            unsafe { SafeHalt::xen(()) };
        }
    }

    /// Interrupts off, as at the kernel's call (`arch/x86/kernel/process.c`, `stop_this_cpu`).
    fn arguments(cpu: &mut CpuModel) {
        cpu.irq.halted = 0;
        cpu.irq.enabled = 0;
        cpu.xen.info.evtchn_upcall_mask = 1;
    }
}
