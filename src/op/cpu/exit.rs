//! Returns to user space: 2.6.30 only.
//!
//! Linux jumps to these hooks, and they do not return. Here they are called and return to the instruction after the
//! call, so that they can be measured like all others. Linux's patcher has the instructions of all four
//! (`arch/x86/kernel/paravirt_patch_64.c`). For another body it writes a direct jump (`paravirt_patch_jmp`); here it is
//! a direct call.

use std::mem::offset_of;

use super::CPU_OP;
use super::segment::{GS_BASE, KERNEL_GS_BASE};
use crate::native;
use crate::op::xen::Call;
use crate::op::{Bytes, CpuModel, Kind, Op, OpMeta, Since, catalogue::Slot};

/// The state that a return to user space loads, and the frame that a Xen guest pushes for it.
#[repr(C)]
#[derive(Debug, Default)]
pub struct ExitState {
    /// The code segment.
    pub cs: u16,
    /// The stack segment.
    pub ss: u16,
    /// `old_rsp`: the user's stack pointer, saved while the kernel uses its own stack.
    pub old_rsp: u64,
    /// `rcx`: the user's address after `syscall`.
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

/// Defaults of 2.6.30's exits from the kernel.
const EXIT_OP: OpMeta = OpMeta { since: Since::Linux2630Only, bytes: Bytes::Instruction, ..CPU_OP };

/// `xen_sysret64`, `xen_sysret32` (`arch/x86/xen/xen-asm_64.S`): writes a frame and makes the hypercall `iret`.
///
/// # Safety
/// As for [`CpuModel::current`].
unsafe fn xen_sysret(cs: u16) {
    // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only one.
    let cpu = &mut *unsafe { CpuModel::current() };
    let exit = &mut cpu.cpu.exit;
    exit.frame = [VGCF_IN_SYSCALL, exit.rcx, u64::from(cs), exit.r11, exit.old_rsp, u64::from(USER_DS)];
    cpu.xen.hypercall(Call::Iret);
}

/// `xen_iret`, `xen_sysexit`: the frame exists already; adds the flags of the call and makes the hypercall `iret`.
///
/// # Safety
/// As for [`CpuModel::current`].
unsafe fn xen_iret() {
    // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only one.
    let cpu = &mut *unsafe { CpuModel::current() };
    cpu.cpu.exit.frame[0] = 0;
    cpu.xen.hypercall(Call::Iret);
}

/// Returns to a 32-bit process that entered by `sysenter`: `swapgs; sti; sysexit`.
///
/// The body is a function that returns: of `sysexit` it models only the segments that it loads.
pub struct IrqEnableSysexit;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: loads and stores on the
// installed model; a hypercall in Xen.
unsafe impl Op for IrqEnableSysexit {
    const META: OpMeta = OpMeta {
        name: "irq_enable_sysexit",
        site: 67,
        prototype: "void (*irq_enable_sysexit)(void)",
        purpose: "turn interrupts on and return to a 32-bit process (sysexit)",
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
        // SAFETY: `xen_iret` has the contract of this function, which the caller meets.
        unsafe { xen_iret() };
    }

    fn arguments(_: &mut CpuModel) {}
}

/// Returns to a 64-bit process that entered by `syscall`: `swapgs; sysretq`.
///
/// The body is a function that returns: of `sysret` it models only the segments that it loads.
pub struct UsergsSysret64;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: loads and stores on the
// installed model; a hypercall in Xen.
unsafe impl Op for UsergsSysret64 {
    const META: OpMeta = OpMeta {
        name: "usergs_sysret64",
        site: 58,
        prototype: "void (*usergs_sysret64)(void)",
        purpose: "return to a 64-bit process (sysretq)",
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
        // SAFETY: `xen_sysret` has the contract of this function, which the caller meets.
        unsafe { xen_sysret(USER_CS) };
    }

    fn arguments(_: &mut CpuModel) {}
}

/// Returns to a 32-bit process that entered by `syscall`: `swapgs; sysretl`.
///
/// The body is a function that returns, as for [`UsergsSysret64`].
pub struct UsergsSysret32;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: loads and stores on the
// installed model; a hypercall in Xen.
unsafe impl Op for UsergsSysret32 {
    const META: OpMeta = OpMeta {
        name: "usergs_sysret32",
        site: 58,
        prototype: "void (*usergs_sysret32)(void)",
        purpose: "return to a 32-bit process (sysretl)",
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
        // SAFETY: `xen_sysret` has the contract of this function, which the caller meets.
        unsafe { xen_sysret(USER32_CS) };
    }

    fn arguments(_: &mut CpuModel) {}
}

/// Returns to the interrupted code, by the real `iretq`, which is legal from ring 3 to ring 3.
///
/// In Linux the frame is on the stack already. Here the body pushes a frame for the instruction after its own `iretq`,
/// so that it returns as a function does; pushing the frame is part of the measurement. The flags in the frame are
/// those of ordinary code: interrupts on, nothing else.
pub struct Iret;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: `iretq` pops the five words
// pushed before it: this thread's own segments, its own stack pointer from before the pushes, and the address of the
// next instruction. Everything but rax, rcx and the flags stays unchanged.
unsafe impl Op for Iret {
    const META: OpMeta = OpMeta {
        name: "iret",
        site: 25,
        native_kind: Kind::Real,
        prototype: "void (*iret)(void)",
        purpose: "return to the code that an exception or interrupt interrupted",
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
        // SAFETY: `xen_iret` has the contract of this function, which the caller meets.
        unsafe { xen_iret() };
    }

    fn arguments(_: &mut CpuModel) {}
}
