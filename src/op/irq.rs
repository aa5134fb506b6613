//! `struct pv_irq_ops`: the interrupt flag and waiting for an interrupt.

use std::arch::asm;
use std::mem::offset_of;

use super::{Bytes, Conventions, CpuModel, Group, Kind, Meta, Op, catalogue::Slot};
use crate::native;

/// The interrupt flag of the model.
#[repr(C)]
#[derive(Debug)]
pub struct IrqState {
    /// `EFLAGS.IF`: 1 where interrupts are delivered.
    pub enabled: u8,
}

impl IrqState {
    /// Interrupts on.
    #[must_use]
    pub fn new() -> Self {
        IrqState { enabled: 1 }
    }
}

impl Default for IrqState {
    fn default() -> Self {
        Self::new()
    }
}

/// Where `cli` and `sti` of the model store.
const ENABLED: usize = offset_of!(CpuModel, irq.enabled);
/// The event mask byte in the shared page.
const UPCALL_MASK: usize = offset_of!(CpuModel, xen.info.evtchn_upcall_mask);

/// The ops on the interrupt flag: short instructions, callee-save sites; in Xen the same instructions as Linux's own
/// guest code, on the shared page.
const FLAG_OP: Meta = Meta {
    group: Group::Irq,
    xen_kind: Kind::Real,
    bytes: Bytes::Instruction,
    conventions: Conventions::CalleeSave,
    ..Meta::BASE
};

/// Reads the flags: the hook that `local_irq_save` starts with.
pub struct SaveFl;

// SAFETY: pushfq and pop, legal everywhere; the Xen body returns in rax alone. No arguments.
unsafe impl Op for SaveFl {
    const META: Meta = Meta {
        name: "save_fl",
        native_kind: Kind::Real,
        prototype: "unsigned long (*save_fl)(void)",
        purpose: "read the flags register, of which callers use the interrupt flag",
        source: "arch/x86/include/asm/irqflags.h, native_save_fl",
        ..FLAG_OP
    };
    const SLOT: usize = Slot::SaveFl as usize;
    type Args = ();
    type Ret = u64;

    native! { () -> "rax"; "pushfq", "pop rax" }

    /// `arch/x86/xen/xen-asm.S`, `xen_save_fl_direct`: the mask byte, inverted, moved to the place of IF (bit 9).
    #[inline(always)]
    unsafe fn xen((): ()) -> u64 {
        let flags: u64;
        // SAFETY: reads the mask byte of the installed model; writes rax and the flags.
        unsafe {
            asm!("xor eax, eax", "test byte ptr gs:[{mask}], 0xff", "setz ah", "add ah, ah", out("rax") flags,
                mask = const UPCALL_MASK, options(nostack, readonly));
        }
        flags
    }

    fn arguments(_: &mut CpuModel) {}
}

/// Turns interrupts off.
pub struct IrqDisable;

// SAFETY: one byte store each, into the installed model.
unsafe impl Op for IrqDisable {
    const META: Meta = Meta {
        name: "irq_disable",
        prototype: "void (*irq_disable)(void)",
        purpose: "keep interrupts from being delivered (cli)",
        source: "arch/x86/include/asm/irqflags.h, native_irq_disable",
        ..FLAG_OP
    };
    const SLOT: usize = Slot::IrqDisable as usize;
    type Args = ();
    type Ret = ();

    native! { (); "mov byte ptr gs:[{enabled}], 0"; enabled = const ENABLED }

    /// `arch/x86/xen/xen-asm.S`, `xen_irq_disable_direct`.
    #[inline(always)]
    unsafe fn xen((): ()) {
        // SAFETY: stores to the mask byte of the installed model.
        unsafe { asm!("mov byte ptr gs:[{mask}], 1", mask = const UPCALL_MASK, options(nostack, preserves_flags)) };
    }

    fn arguments(_: &mut CpuModel) {}
}
