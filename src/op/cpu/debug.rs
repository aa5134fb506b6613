//! Debug registers.

use std::mem::offset_of;

use super::CPU_OP;
use crate::native;
use crate::op::xen::Call;
use crate::op::{CpuModel, Op, OpMeta, catalogue::Slot};

/// The value of `dr6` without a debug event (`arch/x86/include/uapi/asm/debugreg.h`).
pub(super) const DR6_RESERVED: u64 = 0xffff_0ff0;
/// The value of `dr7` without a breakpoint.
pub(super) const DR7_RESERVED: u64 = 0x400;

const DR: usize = offset_of!(CpuModel, cpu.debug);

/// Reads a debug register.
///
/// The register's number is part of the instruction, not an operand, so the kernel has six instructions behind
/// comparisons. Other numbers are a `BUG` in Linux; here they read 0.
pub struct GetDebugreg;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a load from the installed
// model.
unsafe impl Op for GetDebugreg {
    const META: OpMeta = OpMeta {
        name: "get_debugreg",
        prototype: "unsigned long (*get_debugreg)(int regno)",
        purpose: "read a debug register",
        source: "arch/x86/include/asm/debugreg.h, native_get_debugreg",
        ..CPU_OP
    };
    const SLOT: usize = Slot::GetDebugreg as usize;
    type Args = (u64,);
    type Ret = u64;

    native! {
        (regno: "rdi") -> "rax";
        "xor eax, eax",
        "cmp edi, 3",
        "je 25f",
        "jg 26f",
        "cmp edi, 1",
        "je 23f",
        "jg 24f",
        "test edi, edi",
        "jne 29f",
        "mov rax, gs:[{dr}]",
        "jmp 29f",
        "23: mov rax, gs:[{dr} + 8]",
        "jmp 29f",
        "24: mov rax, gs:[{dr} + 16]",
        "jmp 29f",
        "25: mov rax, gs:[{dr} + 24]",
        "jmp 29f",
        "26: cmp edi, 6",
        "je 27f",
        "cmp edi, 7",
        "jne 29f",
        "mov rax, gs:[{dr} + 56]",
        "jmp 29f",
        "27: mov rax, gs:[{dr} + 48]",
        "29:";
        dr = const DR
    }

    /// `xen_get_debugreg`: returns the result of the hypercall, even if it is an error.
    unsafe fn xen((regno,): (u64,)) -> u64 {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        unsafe { CpuModel::current() }.xen.hypercall(Call::GetDebugreg { reg: regno }).cast_unsigned()
    }

    /// `dr7`, which every exception in the kernel reads that may be a debug exception (`local_db_save`).
    fn arguments(_: &mut CpuModel) -> (u64,) {
        (7,)
    }
}

/// Writes a debug register.
///
/// As for [`GetDebugreg`], six instructions behind comparisons. Other numbers are a `BUG` in Linux; here they write
/// nothing.
pub struct SetDebugreg;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a store to the installed
// model.
unsafe impl Op for SetDebugreg {
    const META: OpMeta = OpMeta {
        name: "set_debugreg",
        prototype: "void (*set_debugreg)(int regno, unsigned long value)",
        purpose: "write a debug register",
        source: "arch/x86/include/asm/debugreg.h, native_set_debugreg",
        ..CPU_OP
    };
    const SLOT: usize = Slot::SetDebugreg as usize;
    type Args = (u64, u64);
    type Ret = ();

    native! {
        (regno: "rdi", value: "rsi");
        "cmp edi, 3",
        "je 25f",
        "jg 26f",
        "cmp edi, 1",
        "je 23f",
        "jg 24f",
        "test edi, edi",
        "jne 29f",
        "mov gs:[{dr}], rsi",
        "jmp 29f",
        "23: mov gs:[{dr} + 8], rsi",
        "jmp 29f",
        "24: mov gs:[{dr} + 16], rsi",
        "jmp 29f",
        "25: mov gs:[{dr} + 24], rsi",
        "jmp 29f",
        "26: cmp edi, 6",
        "je 27f",
        "cmp edi, 7",
        "jne 29f",
        "mov gs:[{dr} + 56], rsi",
        "jmp 29f",
        "27: mov gs:[{dr} + 48], rsi",
        "29:";
        dr = const DR
    }

    /// `xen_set_debugreg`
    unsafe fn xen((regno, value): (u64, u64)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        unsafe { CpuModel::current() }.xen.hypercall(Call::SetDebugreg { reg: regno, val: value });
    }

    /// No breakpoint, as at the end of such an exception.
    fn arguments(_: &mut CpuModel) -> (u64, u64) {
        (7, DR7_RESERVED)
    }
}
