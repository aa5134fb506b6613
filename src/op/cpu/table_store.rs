//! Reading the registers of the descriptor tables: 2.6.30 only.

use super::CPU_OP;
use super::table::{DescPtr, GDTR_BASE, GDTR_LIMIT, IDTR_BASE, IDTR_LIMIT};
use crate::native;
use crate::op::{CpuModel, Op, OpMeta, Since, catalogue::Slot};

/// Defaults of these ops: 2.6.30 only, one instruction each.
const STORE_OP: OpMeta = OpMeta { since: Since::Linux2630Only, ..CPU_OP };

/// Clears the operand that receives the result, and returns its address.
fn reset_operand(cpu: &mut CpuModel) -> (u64,) {
    cpu.cpu.tables.operand = DescPtr::default();
    (&raw mut cpu.cpu.tables.operand as u64,)
}

/// Reads the global descriptor table's register.
pub struct StoreGdt;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: loads from the installed
// model; stores ten bytes at the address that the caller gives.
unsafe impl Op for StoreGdt {
    const META: OpMeta = OpMeta {
        name: "store_gdt",
        prototype: "void (*store_gdt)(struct desc_ptr *)",
        purpose: "read the register of the global descriptor table (sgdt)",
        source: "arch/x86/include/asm/desc.h, native_store_gdt",
        ..STORE_OP
    };
    const SLOT: usize = Slot::StoreGdt as usize;
    type Args = (u64,);
    type Ret = ();

    native! {
        (dtr: "rdi"); scratch("rax", "rcx");
        "movzx eax, word ptr gs:[{limit}]",
        "mov rcx, gs:[{base}]",
        "mov [rdi], ax",
        "mov [rdi + 2], rcx";
        limit = const GDTR_LIMIT, base = const GDTR_BASE
    }

    /// `native_store_gdt`
    #[inline(always)]
    unsafe fn xen(args: (u64,)) {
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        unsafe { Self::inline(args) };
    }

    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        reset_operand(cpu)
    }
}

/// Reads the interrupt descriptor table's register.
pub struct StoreIdt;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: loads from the installed
// model; stores ten bytes at the address that the caller gives.
unsafe impl Op for StoreIdt {
    const META: OpMeta = OpMeta {
        name: "store_idt",
        prototype: "void (*store_idt)(struct desc_ptr *)",
        purpose: "read the register of the interrupt descriptor table (sidt)",
        source: "arch/x86/include/asm/desc.h, native_store_idt",
        ..STORE_OP
    };
    const SLOT: usize = Slot::StoreIdt as usize;
    type Args = (u64,);
    type Ret = ();

    native! {
        (dtr: "rdi"); scratch("rax", "rcx");
        "movzx eax, word ptr gs:[{limit}]",
        "mov rcx, gs:[{base}]",
        "mov [rdi], ax",
        "mov [rdi + 2], rcx";
        limit = const IDTR_LIMIT, base = const IDTR_BASE
    }

    /// `native_store_idt`
    #[inline(always)]
    unsafe fn xen(args: (u64,)) {
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        unsafe { Self::inline(args) };
    }

    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        reset_operand(cpu)
    }
}
