//! Filling the interrupt tables at boot.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};

use super::EVENT_CHANNELS;
use crate::native;
use crate::op::{CpuModel, Group, Kind, Op, OpMeta, Since, catalogue::Slot};

const IDT: usize = offset_of!(CpuModel, irq.idt);
const STUBS: usize = offset_of!(CpuModel, irq.stubs);
/// `FIRST_EXTERNAL_VECTOR` (`arch/x86/include/asm/irq_vectors.h`): the vectors below are exceptions.
const FIRST_EXTERNAL: usize = 0x20;
/// `IA32_SYSCALL_VECTOR`: this vector has a special gate.
const SYSCALL_VECTOR: usize = 0x80;
/// The constant bits in the first word of every gate: `__KERNEL_CS` in bits 16 to 31; present, interrupt gate from bit
/// 32 on (Intel SDM volume 3, 6.14.1).
const GATE_FLAGS: u64 = 0x8e00 << 32 | 0x10 << 16;

/// The address of a vector's entry stub in the model: in the upper half, as a kernel's text is.
pub(super) fn stub_address(vector: usize) -> u64 {
    0xffff_ffff_8160_0000 + 16 * vector as u64
}

/// Sets up interrupt delivery at boot.
pub struct InitIrq;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: writes the tables of the
// installed model, within their bounds.
unsafe impl Op for InitIrq {
    const META: OpMeta = OpMeta {
        name: "init_IRQ",
        group: Group::Irq,
        since: Since::Linux2630Only,
        xen_kind: Kind::Real,
        prototype: "void (*init_IRQ)(void)",
        purpose: "fill the interrupt descriptor table at boot",
        source: "arch/x86/kernel/irqinit_64.c, native_init_IRQ",
        ..OpMeta::BASE
    };
    const SLOT: usize = Slot::InitIrq as usize;
    type Args = ();
    type Ret = ();

    // One gate per external vector: the stub's address in three parts (`pack_gate`, `arch/x86/include/asm/desc.h`).
    native! {
        (); scratch("rax", "rcx", "rdx", "r8");
        "mov eax, {first}",
        "22: cmp eax, {syscall}",
        "je 23f",
        "mov rcx, gs:[rax*8 + {stubs}]",
        "movzx edx, cx",
        "mov r8, rcx",
        "shr r8, 16",
        "shl r8, 48",
        "or rdx, r8",
        "mov r8, {kind}",
        "or rdx, r8",
        "shr rcx, 32",
        "mov r8d, eax",
        "shl r8d, 4",
        "mov gs:[r8 + {idt}], rdx",
        "mov gs:[r8 + {idt} + 8], rcx",
        "23: inc eax",
        "cmp eax, 256",
        "jne 22b";
        first = const FIRST_EXTERNAL, syscall = const SYSCALL_VECTOR, stubs = const STUBS, kind = const GATE_FLAGS,
        idt = const IDT
    }

    /// `drivers/xen/events.c`, `xen_init_IRQ`: binds every event channel to this CPU and masks it. It sets each mask
    /// bit with a locked instruction (`sync_set_bit`), because the hypervisor may read the words meanwhile.
    unsafe fn xen((): ()) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let cpu = &mut *unsafe { CpuModel::current() };
        cpu.irq.evtchn_bound.fill(!0);
        for port in 0..EVENT_CHANNELS {
            // SAFETY: the access needs an aligned word that no one else uses meanwhile: it is a word of the model,
            // which stays alive.
            let word = unsafe { AtomicU64::from_ptr(&raw mut cpu.irq.evtchn_mask[port / 64]) };
            word.fetch_or(1 << (port % 64), Ordering::SeqCst);
        }
    }

    fn arguments(_: &mut CpuModel) {}
}
