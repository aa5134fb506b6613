//! The interrupt flag: read, restore, off, on.

use std::arch::asm;
use std::mem::offset_of;

use crate::native;
use crate::op::xen::Call;
use crate::op::{Bytes, Conventions, CpuModel, Group, Kind, Op, OpMeta, Since, catalogue::Slot};

/// `X86_EFLAGS_IF`
const IF: u64 = 1 << 9;
/// Bit 1 of the flags register always reads as 1 (Intel SDM volume 1, 3.4.3).
const RESERVED: u64 = 1 << 1;

/// Where `cli` and `sti` of the model store.
const ENABLED: usize = offset_of!(CpuModel, irq.enabled);
/// The event mask byte in the shared page.
const UPCALL_MASK: usize = offset_of!(CpuModel, xen.info.evtchn_upcall_mask);
/// The event-pending byte in the shared page.
const UPCALL_PENDING: usize = offset_of!(CpuModel, xen.info.evtchn_upcall_pending);

// `xen_restore_fl_direct` compares both bytes as one 16-bit word.
const _: () = assert!(UPCALL_MASK == UPCALL_PENDING + 1);

/// The ops on the interrupt flag: short instructions, callee-save sites; in Xen the same instructions as Linux's own
/// guest code, on the shared page.
const FLAG_OP: OpMeta = OpMeta {
    group: Group::Irq,
    xen_kind: Kind::Real,
    bytes: Bytes::Instruction,
    conventions: Conventions::CalleeSave,
    ..OpMeta::BASE
};

/// `check_events` (`arch/x86/xen/xen-asm.S`): any hypercall lets pending events in on its way out, and this one does
/// nothing else. Nobody looks at the version it returns.
///
/// # Safety
/// As for [`CpuModel::current`].
#[cold]
unsafe fn check_events() {
    // SAFETY: the caller's contract; the reference ends here.
    unsafe { CpuModel::current() }.xen.hypercall(Call::XenVersion);
}

/// Reads the flags: the hook that `local_irq_save` starts with.
pub struct SaveFl;

// SAFETY: pushfq and pop, legal everywhere; the Xen body returns in rax alone. No arguments.
unsafe impl Op for SaveFl {
    const META: OpMeta = OpMeta {
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

// SAFETY: byte accesses to the installed model, and a hypercall where an event is pending.
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

    /// `arch/x86/xen/xen-asm.S`, `xen_irq_enable_direct`: unmask first, look for what came in meanwhile second, so that
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

    /// No event pending: what nearly every call finds.
    fn arguments(cpu: &mut CpuModel) {
        cpu.xen.info.evtchn_upcall_pending = 0;
    }
}

/// Puts back what `save_fl` returned: the hook behind `local_irq_restore`, until 5.12 made that a test of IF and a
/// conditional `irq_enable`.
///
/// The native body is the real `popfq`. In ring 3 with IOPL 0 it leaves IF as it is and does not fault (Intel SDM
/// volume 2, POPF), but it does write the trap, direction and alignment-check flags, so the argument must be one that
/// `pushfq` gave, without those.
pub struct RestoreFl;

// SAFETY: push and popfq, legal everywhere; the argument is a flags word as the hook's caller has it. The Xen body
// accesses the two bytes of the installed model.
unsafe impl Op for RestoreFl {
    const META: OpMeta = OpMeta {
        name: "restore_fl",
        since: Since::Linux2630Only,
        native_kind: Kind::Real,
        xen_kind: Kind::Modelled,
        prototype: "void (*restore_fl)(unsigned long)",
        purpose: "put the interrupt flag back to what save_fl read",
        source: "arch/x86/include/asm/irqflags.h, native_restore_fl",
        ..FLAG_OP
    };
    const SLOT: usize = Slot::RestoreFl as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (flags: "rdi"); "push rdi", "popfq" }

    /// `arch/x86/xen/xen-asm.S`, `xen_restore_fl_direct`: the mask becomes the inverse of IF; the hypercall is due
    /// where that unmasked and an event is pending, which is one comparison of both bytes with 0x0001.
    #[inline(always)]
    unsafe fn xen((flags,): (u64,)) {
        // SAFETY: accesses the two bytes of the installed model; no reference to the model is alive here.
        unsafe {
            asm!("test edi, {if_bit}", "setz byte ptr gs:[{mask}]", "cmp word ptr gs:[{pending}], 1", "je {deliver}",
                in("rdi") flags, if_bit = const IF, mask = const UPCALL_MASK, pending = const UPCALL_PENDING,
                deliver = label {
                    // SAFETY: a model is installed.
                    unsafe { check_events() }
                },
                options(nostack));
        }
    }

    /// This thread's flags, of which only IF and the reserved bit are kept: another bit (a debugger's trap flag, say)
    /// must not be set again by every measured call.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        cpu.xen.info.evtchn_upcall_pending = 0;
        // SAFETY: pushfq and pop take no arguments and use no model.
        let flags = unsafe { SaveFl::inline(()) };
        (flags & IF | RESERVED,)
    }
}
