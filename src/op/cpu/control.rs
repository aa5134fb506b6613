//! Control registers: the hooks of 6.1.

use std::mem::offset_of;

use super::{CPU_OP, end_batching};
use crate::native;
use crate::op::xen::{Call, LazyMode};
use crate::op::{CpuModel, Kind, Op, OpMeta, catalogue::Slot};

/// `cr0`, `cr4` and `cr8`, and the copies that the kernel keeps.
#[repr(C)]
#[derive(Debug)]
pub struct ControlRegisters {
    /// Protection, paging, task switched.
    pub cr0: u64,
    /// Extensions.
    pub cr4: u64,
    /// The task priority.
    pub cr8: u64,
    /// `cr4_pinned_bits`: the bits that stay set in `cr4`.
    pub cr4_pinned_bits: u64,
    /// `xen_cr0_value`: the guest's copy of `cr0`, 0 until it is first read.
    pub xen_cr0_value: u64,
}

impl ControlRegisters {
    /// The values that Linux sets on a CPU with SMEP, SMAP, UMIP and FSGSBASE (`CR0_STATE`, `setup_cr_pinning`).
    pub(super) fn new() -> Self {
        ControlRegisters {
            cr0: 0x8005_0033,
            cr4: CR4_PINNED_MASK | 0x6f0,
            cr8: 0,
            cr4_pinned_bits: CR4_PINNED_MASK,
            xen_cr0_value: 0,
        }
    }
}

pub(super) const CR0: usize = offset_of!(CpuModel, cpu.control.cr0);
pub(super) const CR4: usize = offset_of!(CpuModel, cpu.control.cr4);
const PINNED_BITS: usize = offset_of!(CpuModel, cpu.control.cr4_pinned_bits);

/// `X86_CR0_TS`: the floating-point unit holds another task's state.
pub(super) const CR0_TS: u64 = 1 << 3;
/// `X86_CR0_WP`, pinned since 5.3.
const CR0_WP: u64 = 1 << 16;
/// `cr4_pinned_mask` (`arch/x86/kernel/cpu/common.c`): SMEP, SMAP, UMIP, FSGSBASE.
const CR4_PINNED_MASK: u64 = 1 << 20 | 1 << 21 | 1 << 11 | 1 << 16;
/// The bits of `cr4` that Xen owns: PSE, PGE, PCE.
const CR4_XEN: u64 = 1 << 4 | 1 << 7 | 1 << 8;

/// Reads `cr0`.
pub struct ReadCr0;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a load from the installed
// model; the Xen body may store its copy there.
unsafe impl Op for ReadCr0 {
    const META: OpMeta = OpMeta {
        name: "read_cr0",
        xen_kind: Kind::Real,
        prototype: "unsigned long (*read_cr0)(void)",
        purpose: "read control register 0",
        source: "arch/x86/include/asm/special_insns.h, native_read_cr0",
        ..CPU_OP
    };
    const SLOT: usize = Slot::ReadCr0 as usize;
    type Args = ();
    type Ret = u64;

    native! { () -> "rax"; "mov rax, gs:[{cr0}]"; cr0 = const CR0 }

    /// `xen_read_cr0`: reads the guest's copy, which the first read makes.
    unsafe fn xen((): ()) -> u64 {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one; it ends before the call below.
        let mut cr0 = unsafe { CpuModel::current() }.cpu.control.xen_cr0_value;
        if cr0 == 0 {
            // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
            cr0 = unsafe { Self::inline(()) };
            // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the
            // only one.
            unsafe { CpuModel::current() }.cpu.control.xen_cr0_value = cr0;
        }
        cr0
    }

    fn arguments(_: &mut CpuModel) {}
}

/// Writes `cr0`.
pub struct WriteCr0;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: stores to the installed model,
// at most two, because the second has the bit that ends the loop.
unsafe impl Op for WriteCr0 {
    const META: OpMeta = OpMeta {
        name: "write_cr0",
        prototype: "void (*write_cr0)(unsigned long)",
        purpose: "write control register 0",
        source: "arch/x86/kernel/cpu/common.c, native_write_cr0",
        ..CPU_OP
    };
    const SLOT: usize = Slot::WriteCr0 as usize;
    type Args = (u64,);
    type Ret = ();

    // Checks the value that it wrote, not its argument, so that jumping past the check does not help an attacker.
    native! {
        (val: "rdi"); scratch("rax");
        "mov rax, rdi",
        "22: mov gs:[{cr0}], rax",
        "test eax, {wp}",
        "jnz 23f",
        "or rax, {wp}",
        "jmp 22b",
        "23:";
        cr0 = const CR0, wp = const CR0_WP
    }

    /// `xen_write_cr0`: keeps a copy, and passes only the TS bit to Xen.
    unsafe fn xen((cr0,): (u64,)) {
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let cpu = &mut *unsafe { CpuModel::current() };
        cpu.cpu.control.xen_cr0_value = cr0;
        cpu.xen.batched(Call::FpuTaskswitch { set: cr0 & CR0_TS != 0 }, LazyMode::Cpu);
    }

    /// The value after boot.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        end_batching(cpu);
        (ControlRegisters::new().cr0,)
    }
}

/// Writes `cr4`.
pub struct WriteCr4;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: stores to the installed model,
// at most two.
unsafe impl Op for WriteCr4 {
    const META: OpMeta = OpMeta {
        name: "write_cr4",
        prototype: "void (*write_cr4)(unsigned long)",
        purpose: "write control register 4",
        source: "arch/x86/kernel/cpu/common.c, native_write_cr4",
        ..CPU_OP
    };
    const SLOT: usize = Slot::WriteCr4 as usize;
    type Args = (u64,);
    type Ret = ();

    native! {
        (val: "rdi"); scratch("rax", "rcx");
        "mov rax, rdi",
        "mov gs:[{cr4}], rax",
        "mov ecx, eax",
        "and ecx, {mask}",
        "cmp rcx, gs:[{pinned}]",
        "je 23f",
        "and rax, {others}",
        "or rax, gs:[{pinned}]",
        "mov gs:[{cr4}], rax",
        "23:";
        cr4 = const CR4, mask = const CR4_PINNED_MASK, pinned = const PINNED_BITS,
        others = const !(CR4_PINNED_MASK as i64)
    }

    /// `xen_write_cr4`: clears the bits that Xen owns, then writes as on bare metal (Xen emulates the write).
    unsafe fn xen((cr4,): (u64,)) {
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        unsafe { Self::inline((cr4 & !CR4_XEN,)) };
    }

    /// The register's value.
    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        let control = ControlRegisters::new();
        cpu.cpu.control.cr4_pinned_bits = control.cr4_pinned_bits;
        (control.cr4,)
    }
}
