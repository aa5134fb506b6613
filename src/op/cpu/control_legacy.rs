//! Control registers: the hooks that only 2.6.30 has.

use std::mem::offset_of;

use super::control::{CR0, CR0_TS, CR4};
use super::{CPU_OP, end_batching};
use crate::native;
use crate::op::xen::{Call, LazyMode};
use crate::op::{Bytes, CpuModel, Kind, Op, OpMeta, Since, catalogue::Slot};

const CR8: usize = offset_of!(CpuModel, cpu.control.cr8);

/// Defaults of these ops: 2.6.30 only, one instruction each.
const LEGACY_OP: OpMeta = OpMeta { since: Since::Linux2630Only, ..CPU_OP };

/// Clears the task-switched flag, so that the current task can use the floating-point unit.
pub struct Clts;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: changes one bit of the
// installed model; a hypercall in Xen.
unsafe impl Op for Clts {
    const META: OpMeta = OpMeta {
        name: "clts",
        site: 9,
        bytes: Bytes::Instruction,
        prototype: "void (*clts)(void)",
        purpose: "clear the task-switched flag, so that floating point does not trap",
        source: "arch/x86/include/asm/system.h, native_clts",
        ..LEGACY_OP
    };
    const SLOT: usize = Slot::Clts as usize;
    type Args = ();
    type Ret = ();

    native! { (); "and dword ptr gs:[{cr0}], {others}"; cr0 = const CR0, others = const !(CR0_TS as i32) }

    /// `xen_clts`
    unsafe fn xen((): ()) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        unsafe { CpuModel::current() }.xen.batched(Call::FpuTaskswitch { set: false }, LazyMode::Cpu);
    }

    fn arguments(cpu: &mut CpuModel) {
        end_batching(cpu);
    }
}

/// Reads `cr4`.
pub struct ReadCr4;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a load from the installed
// model.
unsafe impl Op for ReadCr4 {
    const META: OpMeta = OpMeta {
        name: "read_cr4",
        prototype: "unsigned long (*read_cr4)(void)",
        purpose: "read control register 4",
        source: "arch/x86/include/asm/system.h, native_read_cr4",
        ..LEGACY_OP
    };
    const SLOT: usize = Slot::ReadCr4 as usize;
    type Args = ();
    type Ret = u64;

    native! { () -> "rax"; "mov rax, gs:[{cr4}]"; cr4 = const CR4 }

    /// `native_read_cr4`: Xen emulates the instruction.
    #[inline(always)]
    unsafe fn xen((): ()) -> u64 {
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        unsafe { Self::inline(()) }
    }

    fn arguments(_: &mut CpuModel) {}
}

/// Reads `cr4` on a CPU that may not have it; every 64-bit CPU has it.
pub struct ReadCr4Safe;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a load from the installed
// model.
unsafe impl Op for ReadCr4Safe {
    const META: OpMeta = OpMeta {
        name: "read_cr4_safe",
        prototype: "unsigned long (*read_cr4_safe)(void)",
        purpose: "read control register 4, or 0 if the CPU has none",
        source: "arch/x86/include/asm/system.h, native_read_cr4_safe",
        ..LEGACY_OP
    };
    const SLOT: usize = Slot::ReadCr4Safe as usize;
    type Args = ();
    type Ret = u64;

    native! { () -> "rax"; "mov rax, gs:[{cr4}]"; cr4 = const CR4 }

    /// `native_read_cr4_safe`
    #[inline(always)]
    unsafe fn xen((): ()) -> u64 {
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        unsafe { Self::inline(()) }
    }

    fn arguments(_: &mut CpuModel) {}
}

/// Reads `cr8`, the priority below which interrupts are held back. Only suspend used it.
pub struct ReadCr8;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a load from the installed
// model.
unsafe impl Op for ReadCr8 {
    const META: OpMeta = OpMeta {
        name: "read_cr8",
        xen_kind: Kind::Real,
        prototype: "unsigned long (*read_cr8)(void)",
        purpose: "read the task priority",
        source: "arch/x86/include/asm/system.h, native_read_cr8",
        ..LEGACY_OP
    };
    const SLOT: usize = Slot::ReadCr8 as usize;
    type Args = ();
    type Ret = u64;

    native! { () -> "rax"; "mov rax, gs:[{cr8}]"; cr8 = const CR8 }

    /// Later kernels' `xen_read_cr8`, since 2.6.30 left the hook empty for Xen: a guest has no task priority.
    #[inline(always)]
    unsafe fn xen((): ()) -> u64 {
        0
    }

    fn arguments(_: &mut CpuModel) {}
}

/// Writes `cr8`.
pub struct WriteCr8;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a store to the installed
// model.
unsafe impl Op for WriteCr8 {
    const META: OpMeta = OpMeta {
        name: "write_cr8",
        xen_kind: Kind::Real,
        prototype: "void (*write_cr8)(unsigned long)",
        purpose: "write the task priority",
        source: "arch/x86/include/asm/system.h, native_write_cr8",
        ..LEGACY_OP
    };
    const SLOT: usize = Slot::WriteCr8 as usize;
    type Args = (u64,);
    type Ret = ();

    native! { (val: "rdi"); "mov gs:[{cr8}], rdi"; cr8 = const CR8 }

    /// Later kernels' `xen_write_cr8`, as for [`ReadCr8`]: it only asserts that the value is 0.
    #[inline(always)]
    unsafe fn xen(_: (u64,)) {}

    fn arguments(_: &mut CpuModel) -> (u64,) {
        (0,)
    }
}
