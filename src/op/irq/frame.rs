//! The first thing an exception entry does.

use std::arch::asm;
use std::mem::offset_of;

use crate::native;
use crate::op::{Bytes, CpuModel, Group, Kind, Op, OpMeta, Since, catalogue::Slot};

/// The stack of the guest as Xen leaves it at an exception: `rcx` and `r11`, which its `syscall`-like way into the
/// guest spoils, below the frame that the hardware would have pushed.
#[repr(C)]
#[derive(Debug)]
pub struct ExceptionFrame {
    /// How many bytes the stack pointer is above the two registers.
    pub sp: u64,
    /// `rcx` of what was interrupted.
    pub rcx: u64,
    /// `r11` of what was interrupted.
    pub r11: u64,
}

impl ExceptionFrame {
    pub(super) fn new() -> Self {
        ExceptionFrame { sp: 0, rcx: 0, r11: 0 }
    }
}

const SP: usize = offset_of!(CpuModel, irq.exception.sp);
const RCX: usize = offset_of!(CpuModel, irq.exception.rcx);
const R11: usize = offset_of!(CpuModel, irq.exception.r11);
/// What `ret $16` drops: the two registers.
const DROPPED: usize = 16;

/// Makes the stack look as the hardware leaves it.
pub struct AdjustExceptionFrame;

// SAFETY: the native body does nothing; in Xen two loads from the installed model into caller-saved registers and a store to it.
unsafe impl Op for AdjustExceptionFrame {
    const META: OpMeta = OpMeta {
        name: "adjust_exception_frame",
        group: Group::Irq,
        since: Since::Linux2630Only,
        native_kind: Kind::Real,
        bytes: Bytes::Nop,
        prototype: "void (*adjust_exception_frame)(void)",
        purpose: "make the stack at an exception entry what the hardware would have left",
        source: "arch/x86/kernel/paravirt.c, paravirt_nop",
        ..OpMeta::BASE
    };
    const SLOT: usize = Slot::AdjustExceptionFrame as usize;
    type Args = ();
    type Ret = ();

    native! { (); }

    /// `arch/x86/xen/xen-asm_64.S`, `xen_adjust_exception_frame`: both registers back, and `ret $16` past them. The
    /// frame is in the model instead of on this thread's stack.
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
