//! The hook at the start of an exception entry.

use std::arch::asm;
use std::mem::offset_of;

use crate::native;
use crate::op::{Bytes, CpuModel, Group, Kind, Op, OpMeta, Since, catalogue::Slot};

/// The guest's stack at an exception in Xen. `rcx` and `r11` lie below the frame that the hardware would have pushed,
/// because Xen's `syscall`-like entry into the guest spoils them.
#[repr(C)]
#[derive(Debug)]
pub struct ExceptionFrame {
    /// The distance of the stack pointer above the two registers, in bytes.
    pub sp: u64,
    /// `rcx` of the interrupted code.
    pub(crate) rcx: u64,
    /// `r11` of the interrupted code.
    pub(crate) r11: u64,
}

impl ExceptionFrame {
    pub(super) fn new() -> Self {
        ExceptionFrame { sp: 0, rcx: 0, r11: 0 }
    }
}

const SP: usize = offset_of!(CpuModel, irq.exception.sp);
const RCX: usize = offset_of!(CpuModel, irq.exception.rcx);
const R11: usize = offset_of!(CpuModel, irq.exception.r11);
/// The bytes that `ret $16` drops: the two registers.
const DROPPED: usize = 16;

/// Adjusts the stack to the frame that the hardware pushes.
pub struct AdjustExceptionFrame;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: the native body is empty; in
// Xen two loads from the installed model into caller-saved registers and a store to it.
unsafe impl Op for AdjustExceptionFrame {
    const META: OpMeta = OpMeta {
        name: "adjust_exception_frame",
        group: Group::Irq,
        since: Since::Linux2630Only,
        native_kind: Kind::Real,
        bytes: Bytes::Nop,
        prototype: "void (*adjust_exception_frame)(void)",
        purpose: "adjust the stack at an exception entry to the frame that the hardware pushes",
        source: "arch/x86/kernel/paravirt.c, paravirt_nop",
        ..OpMeta::BASE
    };
    const SLOT: usize = Slot::AdjustExceptionFrame as usize;
    type Args = ();
    type Ret = ();

    native! { (); }

    /// `arch/x86/xen/xen-asm_64.S`, `xen_adjust_exception_frame`: restores both registers, and drops them with
    /// `ret $16`. The frame is in the model, not on this thread's stack.
    #[inline(always)]
    unsafe fn xen((): ()) {
        // SAFETY: accesses the installed model; both registers are declared.
        unsafe {
            asm!("mov rcx, gs:[{rcx}]", "mov r11, gs:[{r11}]", "mov qword ptr gs:[{sp}], {dropped}",
                rcx = const RCX, r11 = const R11, sp = const SP, dropped = const DROPPED,
                out("rcx") _, out("r11") _, options(nostack, preserves_flags));
        }
    }

    fn arguments(cpu: &mut CpuModel) {
        cpu.irq.exception.sp = 0;
    }
}
