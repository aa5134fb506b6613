//! The interrupt flag: reading, restoring, clearing and setting it.

use std::arch::asm;
use std::mem::offset_of;

use crate::native;
use crate::op::xen::Call;
use crate::op::{Bytes, Conventions, CpuModel, Group, Kind, Op, OpMeta, Since, catalogue::Slot};

/// `X86_EFLAGS_IF`
const IF_BIT: u64 = 1 << 9;
/// Bit 1 of the flags register always reads as 1 (Intel SDM volume 1, 3.4.3).
const RESERVED: u64 = 1 << 1;

/// The byte to which the model's `cli` and `sti` store.
const ENABLED: usize = offset_of!(CpuModel, irq.enabled);
/// The event mask byte in the shared page.
const UPCALL_MASK: usize = offset_of!(CpuModel, xen.info.evtchn_upcall_mask);
/// The event-pending byte in the shared page.
const UPCALL_PENDING: usize = offset_of!(CpuModel, xen.info.evtchn_upcall_pending);

// `xen_restore_fl_direct` compares both bytes as one 16-bit word.
const _: () = assert!(UPCALL_MASK == UPCALL_PENDING + 1);

/// Defaults of the ops on the interrupt flag: short instructions, callee-save sites. In Xen the bodies are the
/// instructions of Linux's own guest code, on the shared page.
const FLAG_OP: OpMeta = OpMeta {
    group: Group::Irq,
    xen_kind: Kind::Real,
    bytes: Bytes::Instruction,
    conventions: Conventions::CalleeSave,
    ..OpMeta::BASE
};

/// `check_events` (`arch/x86/xen/xen-asm.S`): every hypercall delivers pending events when it returns, and this one
/// does nothing else. The version that it returns is not used.
///
/// # Safety
/// As for [`CpuModel::current`].
#[cold]
unsafe fn check_events() {
    // SAFETY: `current` needs an installed model without another reference in use, as this function's contract says;
    // the reference ends here.
    unsafe { CpuModel::current() }.xen.hypercall(Call::XenVersion);
}

/// Reads the flags: the hook that `local_irq_save` starts with.
pub struct SaveFl;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: pushfq and pop, legal
// everywhere; the Xen body returns in rax alone. No arguments.
unsafe impl Op for SaveFl {
    const META: OpMeta = OpMeta {
        name: "save_fl",
        native_kind: Kind::Real,
        prototype: "unsigned long (*save_fl)(void)",
        purpose: "read the flags register; callers use only its interrupt flag",
        source: "arch/x86/include/asm/irqflags.h, native_save_fl",
        ..FLAG_OP
    };
    const SLOT: usize = Slot::SaveFl as usize;
    type Args = ();
    type Ret = u64;

    native! { () -> "rax"; "pushfq", "pop rax" }

    /// `arch/x86/xen/xen-asm.S`, `xen_save_fl_direct`: the mask byte, inverted and shifted to bit 9 (IF).
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

// SAFETY: bodies must accept their arguments and keep the registers of their convention: one byte store each, into the
// installed model.
unsafe impl Op for IrqDisable {
    const META: OpMeta = OpMeta {
        name: "irq_disable",
        site: 9,
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

/// Turns interrupts on.
pub struct IrqEnable;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: byte accesses to the installed
// model, and a hypercall where an event is pending.
unsafe impl Op for IrqEnable {
    const META: OpMeta = OpMeta {
        name: "irq_enable",
        site: 9,
        xen_kind: Kind::Modelled,
        prototype: "void (*irq_enable)(void)",
        purpose: "let interrupts be delivered (sti)",
        source: "arch/x86/include/asm/irqflags.h, native_irq_enable",
        ..FLAG_OP
    };
    const SLOT: usize = Slot::IrqEnable as usize;
    type Args = ();
    type Ret = ();

    native! { (); "mov byte ptr gs:[{enabled}], 1"; enabled = const ENABLED }

    /// `arch/x86/xen/xen-asm.S`, `xen_irq_enable_direct`: unmasks events first, then checks for pending ones, so that
    /// no event is lost in between.
    #[inline(always)]
    unsafe fn xen((): ()) {
        // SAFETY: accesses the two bytes of the installed model; no reference to the model is alive here.
        unsafe {
            asm!("mov byte ptr gs:[{mask}], 0", "test byte ptr gs:[{pending}], 0xff", "jnz {deliver}",
                mask = const UPCALL_MASK, pending = const UPCALL_PENDING,
                deliver = label {
                    // SAFETY: a model is installed.
                    unsafe { check_events() }
                },
                options(nostack));
        }
    }

    /// No event pending, as in nearly every call.
    fn arguments(cpu: &mut CpuModel) {
        cpu.xen.info.evtchn_upcall_pending = 0;
    }
}

/// Restores the flags that `save_fl` returned. This is the hook of `local_irq_restore` before 5.12, which replaced it
/// by a test of IF and a conditional `irq_enable`.
///
/// The native body is the real `popfq`. In ring 3 with IOPL 0 it leaves IF as it is and does not fault (Intel SDM
/// volume 2, POPF). It does write the trap, direction and alignment-check flags, so the argument must come from
/// `pushfq`, without those flags.
pub struct RestoreFl;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: push and popfq, legal
// everywhere; the argument is a flags word from `save_fl`. The Xen body accesses the two bytes of the installed model.
unsafe impl Op for RestoreFl {
    const META: OpMeta = OpMeta {
        name: "restore_fl",
        since: Since::Linux2630Only,
        native_kind: Kind::Real,
        xen_kind: Kind::Modelled,
        prototype: "void (*restore_fl)(unsigned long)",
        purpose: "restore the interrupt flag that save_fl read",
        source: "arch/x86/include/asm/irqflags.h, native_restore_fl",
        ..FLAG_OP
    };
    const SLOT: usize = Slot::RestoreFl as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (flags: "rdi"); "push rdi", "popfq" }

    /// `arch/x86/xen/xen-asm.S`, `xen_restore_fl_direct`: the mask becomes the inverse of IF. If events are unmasked
    /// now and one is pending, it makes the hypercall; this check is one comparison of both bytes with 0x0001.
    #[inline(always)]
    unsafe fn xen((flags,): (u64,)) {
        // SAFETY: accesses the two bytes of the installed model; no reference to the model is alive here.
        unsafe {
            asm!("test edi, {if_bit}", "setz byte ptr gs:[{mask}]", "cmp word ptr gs:[{pending}], 1", "je {deliver}",
                in("rdi") flags, if_bit = const IF_BIT, mask = const UPCALL_MASK, pending = const UPCALL_PENDING,
                deliver = label {
                    // SAFETY: a model is installed.
                    unsafe { check_events() }
                },
                options(nostack));
        }
    }

    /// This thread's flags, reduced to IF and the reserved bit: a measured call must not set another bit, for example a
    /// debugger's trap flag.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        cpu.xen.info.evtchn_upcall_pending = 0;
        // SAFETY: pushfq and pop take no arguments and use no model.
        let flags = unsafe { SaveFl::inline(()) };
        (flags & IF_BIT | RESERVED,)
    }
}
