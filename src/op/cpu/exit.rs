//! Ways back to user space: 2.6.30 only.
//!
//! Linux jumps to these hooks, and they do not return. Here they are called and return to the instruction after the
//! call, so that they can be measured like all others. Linux's patcher knows the instructions of all four
//! (`arch/x86/kernel/paravirt_patch_64.c`); where a platform has a function of its own, it writes a direct jump
//! (`paravirt_patch_jmp`), in place of which there is a direct call here.

use std::mem::offset_of;

use super::CPU_OP;
use super::segment::{GS_BASE, KERNEL_GS_BASE};
use crate::native;
use crate::op::xen::Call;
use crate::op::{Bytes, CpuModel, Kind, Op, OpMeta, Since, catalogue::Slot};

/// What a return to user space loads, and what a Xen guest pushes for it.
#[repr(C)]
#[derive(Debug, Default)]
pub struct ExitState {
    /// The code segment.
    pub cs: u16,
    /// The stack segment.
    pub ss: u16,
    /// `old_rsp`: the user's stack, kept while the kernel is on its own.
    pub old_rsp: u64,
    /// `rcx`: where the user goes on after `syscall`.
    pub rcx: u64,
    /// `r11`: the user's flags after `syscall`.
    pub r11: u64,
    /// The frame of Xen's `iret`: flags of the call, `rcx`, `cs`, `r11`, `rsp`, `ss`.
    pub frame: [u64; 6],
}

const CS: usize = offset_of!(CpuModel, cpu.exit.cs);
const SS: usize = offset_of!(CpuModel, cpu.exit.ss);
const ENABLED: usize = offset_of!(CpuModel, irq.enabled);

/// `__USER32_CS`
const USER32_CS: u16 = 4 * 8 + 3;
/// `__USER_DS`
const USER_DS: u16 = 5 * 8 + 3;
/// `__USER_CS`
const USER_CS: u16 = 6 * 8 + 3;
/// `VGCF_in_syscall`: the registers that `syscall` spoils need not be restored.
const VGCF_IN_SYSCALL: u64 = 1 << 8;

/// 2.6.30's ways out of the kernel.
const EXIT_OP: OpMeta = OpMeta { since: Since::Linux2630Only, bytes: Bytes::Instruction, ..CPU_OP };

/// `xen_sysret64`, `xen_sysret32` (`arch/x86/xen/xen-asm_64.S`): a frame for Xen's `iret`.
///
/// # Safety
/// As for [`CpuModel::current`].
unsafe fn xen_sysret(cs: u16) {
    // SAFETY: the only reference to the model in use.
    let cpu = unsafe { CpuModel::current() };
    let exit = &mut cpu.cpu.exit;
    exit.frame = [VGCF_IN_SYSCALL, exit.rcx, u64::from(cs), exit.r11, exit.old_rsp, u64::from(USER_DS)];
    cpu.xen.hypercall(Call::Iret);
}

/// `xen_iret`, `xen_sysexit`: the frame is there already, but for the flags of the call.
///
/// # Safety
/// As for [`CpuModel::current`].
unsafe fn xen_iret() {
    // SAFETY: the only reference to the model in use.
    let cpu = unsafe { CpuModel::current() };
    cpu.cpu.exit.frame[0] = 0;
    cpu.xen.hypercall(Call::Iret);
}

/// Back to a 32-bit process that came by `sysenter`: `swapgs; sti; sysexit`.
///
/// Modelled as a function that returns: of `sysexit` the model has the segments that it loads.
pub struct IrqEnableSysexit;

// SAFETY: loads and stores on the installed model; a hypercall in Xen.
unsafe impl Op for IrqEnableSysexit {
    const META: OpMeta = OpMeta {
        name: "irq_enable_sysexit",
        site: 67,
        prototype: "void (*irq_enable_sysexit)(void)",
        purpose: "turn interrupts on and go back to a 32-bit process (sysexit)",
        source: "arch/x86/kernel/entry_64.S, native_irq_enable_sysexit",
        ..EXIT_OP
    };
    const SLOT: usize = Slot::IrqEnableSysexit as usize;
    type Args = ();
    type Ret = ();

    native! {
        (); scratch("rax", "rcx");
        "mov rax, gs:[{base}]",
        "mov rcx, gs:[{kernel}]",
        "mov gs:[{base}], rcx",
        "mov gs:[{kernel}], rax",
        "mov byte ptr gs:[{enabled}], 1",
        "mov word ptr gs:[{cs}], {user_cs}",
        "mov word ptr gs:[{ss}], {user_ds}";
        base = const GS_BASE, kernel = const KERNEL_GS_BASE, enabled = const ENABLED, cs = const CS, ss = const SS,
        user_cs = const USER32_CS, user_ds = const USER_DS
    }

    /// `arch/x86/xen/xen-asm_64.S`, `xen_sysexit`
    unsafe fn xen((): ()) {
        // SAFETY: this function's contract.
        unsafe { xen_iret() };
    }

    fn arguments(_: &mut CpuModel) {}
}

/// Back to a 64-bit process that came by `syscall`: `swapgs; sysretq`.
///
/// Modelled as a function that returns: of `sysret` the model has the segments that it loads.
pub struct UsergsSysret64;

// SAFETY: loads and stores on the installed model; a hypercall in Xen.
unsafe impl Op for UsergsSysret64 {
    const META: OpMeta = OpMeta {
        name: "usergs_sysret64",
        site: 58,
        prototype: "void (*usergs_sysret64)(void)",
        purpose: "go back to a 64-bit process (sysretq)",
        source: "arch/x86/kernel/entry_64.S, native_usergs_sysret64",
        ..EXIT_OP
    };
    const SLOT: usize = Slot::UsergsSysret64 as usize;
    type Args = ();
    type Ret = ();

    native! {
        (); scratch("rax", "rcx");
        "mov rax, gs:[{base}]",
        "mov rcx, gs:[{kernel}]",
        "mov gs:[{base}], rcx",
        "mov gs:[{kernel}], rax",
        "mov word ptr gs:[{cs}], {user_cs}",
        "mov word ptr gs:[{ss}], {user_ds}";
        base = const GS_BASE, kernel = const KERNEL_GS_BASE, cs = const CS, ss = const SS,
        user_cs = const USER_CS, user_ds = const USER_DS
    }

    /// `arch/x86/xen/xen-asm_64.S`, `xen_sysret64`
    unsafe fn xen((): ()) {
        // SAFETY: this function's contract.
        unsafe { xen_sysret(USER_CS) };
    }

    fn arguments(_: &mut CpuModel) {}
}

/// Back to a 32-bit process that came by `syscall`: `swapgs; sysretl`.
///
/// Modelled as a function that returns, as [`UsergsSysret64`] is.
pub struct UsergsSysret32;

// SAFETY: loads and stores on the installed model; a hypercall in Xen.
unsafe impl Op for UsergsSysret32 {
    const META: OpMeta = OpMeta {
        name: "usergs_sysret32",
        site: 58,
        prototype: "void (*usergs_sysret32)(void)",
        purpose: "go back to a 32-bit process (sysretl)",
        source: "arch/x86/kernel/entry_64.S, native_usergs_sysret32",
        ..EXIT_OP
    };
    const SLOT: usize = Slot::UsergsSysret32 as usize;
    type Args = ();
    type Ret = ();

    native! {
        (); scratch("rax", "rcx");
        "mov rax, gs:[{base}]",
        "mov rcx, gs:[{kernel}]",
        "mov gs:[{base}], rcx",
        "mov gs:[{kernel}], rax",
        "mov word ptr gs:[{cs}], {user_cs}",
        "mov word ptr gs:[{ss}], {user_ds}";
        base = const GS_BASE, kernel = const KERNEL_GS_BASE, cs = const CS, ss = const SS,
        user_cs = const USER32_CS, user_ds = const USER_DS
    }

    /// `arch/x86/xen/xen-asm_64.S`, `xen_sysret32`
    unsafe fn xen((): ()) {
        // SAFETY: this function's contract.
        unsafe { xen_sysret(USER32_CS) };
    }

    fn arguments(_: &mut CpuModel) {}
}

/// Back to whatever was interrupted: the real `iretq`, legal in ring 3 to ring 3.
///
/// Linux has the frame on its stack already. Here the body pushes one for the instruction after its own `iretq`, so
/// that it returns as a function does; building it is part of what is measured. The flags that it loads are those
/// of ordinary code: interrupts on, nothing else.
pub struct Iret;

// SAFETY: `iretq` pops the five words pushed before it: this thread's own segments, its own stack pointer from before
// the pushes and the address of the next instruction; all but rax, rcx and the flags is as before.
unsafe impl Op for Iret {
    const META: OpMeta = OpMeta {
        name: "iret",
        site: 25,
        native_kind: Kind::Real,
        prototype: "void (*iret)(void)",
        purpose: "go back to what an exception or interrupt interrupted",
        source: "arch/x86/kernel/entry_64.S, native_iret",
        ..EXIT_OP
    };
    const SLOT: usize = Slot::Iret as usize;
    type Args = ();
    type Ret = ();

    native! {
        (); scratch("rax", "rcx");
        "mov rax, rsp",
        "mov ecx, ss",
        "push rcx",
        "push rax",
        "push 0x202",
        "mov ecx, cs",
        "push rcx",
        "lea rcx, [rip + 22f]",
        "push rcx",
        "iretq",
        "22:"
    }

    /// `arch/x86/xen/xen-asm_64.S`, `xen_iret`
    unsafe fn xen((): ()) {
        // SAFETY: this function's contract.
        unsafe { xen_iret() };
    }

    fn arguments(_: &mut CpuModel) {}
}
