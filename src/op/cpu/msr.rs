//! Model-specific registers and performance counters.

use std::mem::offset_of;

use super::CPU_OP;
use crate::native;
use crate::op::xen::Call;
use crate::op::{CpuModel, Op, OpMeta, catalogue::Slot};

/// The base of `fs` (`arch/x86/include/asm/msr-index.h`).
pub const MSR_FS_BASE: u64 = 0xc000_0100;
/// The base of `gs`.
pub const MSR_GS_BASE: u64 = 0xc000_0101;
/// The base that `swapgs` exchanges with that of `gs`.
pub const MSR_KERNEL_GS_BASE: u64 = 0xc000_0102;

/// Model-specific registers of the model.
pub const MSRS: usize = 256;
/// Performance counters of the model.
pub const PMCS: usize = 8;

/// The offset of the model-specific registers in the model.
pub(super) const FILE: usize = offset_of!(CpuModel, cpu.msr);
const PMC: usize = offset_of!(CpuModel, cpu.pmc);

/// The index of a register in the model.
pub(super) const fn index(msr: u64) -> usize {
    msr as usize % MSRS
}

/// `MSR_IA32_APICBASE`
const MSR_IA32_APICBASE: u64 = 0x1b;
/// `X2APIC_ENABLE`
const X2APIC_ENABLE: u64 = 1 << 10;
/// `SEGBASE_FS`, `SEGBASE_GS_USER`, `SEGBASE_GS_KERNEL` (`include/xen/interface/xen.h`)
const SEGBASE: [(u64, u64); 3] = [(MSR_FS_BASE, 0), (MSR_KERNEL_GS_BASE, 1), (MSR_GS_BASE, 2)];
/// Registers that Xen sets up itself, so that guest writes are ignored: STAR, LSTAR, CSTAR, SYSCALL_MASK; SYSENTER_CS,
/// _ESP, _EIP.
const IGNORED: [u64; 7] = [0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084, 0x174, 0x175, 0x176];
/// `-EIO`
const EIO: i32 = -5;

/// The value of an `unsigned int` in an argument register.
fn truncate_to_u32(msr: u64) -> u64 {
    msr & 0xffff_ffff
}

/// Hides the x2APIC from a guest, as `xen_do_read_msr` does.
fn hide_x2apic(msr: u64, value: u64) -> u64 {
    if truncate_to_u32(msr) == MSR_IA32_APICBASE { value & !X2APIC_ENABLE } else { value }
}

/// `xen_do_write_msr` for a guest without virtual performance counters. It writes segment bases by hypercall, ignores
/// entry points of system calls, and writes all others as on bare metal, since Xen emulates the instruction. Returns 0
/// or `-EIO`.
///
/// # Safety
/// As for [`CpuModel::current`].
unsafe fn xen_write(msr: u64, low: u64, high: u64) -> i32 {
    if let Some(&(_, which)) = SEGBASE.iter().find(|&&(base, _)| base == truncate_to_u32(msr)) {
        let base = truncate_to_u32(high) << 32 | truncate_to_u32(low);
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one.
        let cpu = &mut *unsafe { CpuModel::current() };
        if cpu.xen.hypercall(Call::SetSegmentBase { which, base }) == 0 { 0 } else { EIO }
    } else if IGNORED.contains(&truncate_to_u32(msr)) {
        0
    } else {
        // SAFETY: `WriteMsrSafe::inline` has the contract of this function, which the caller meets.
        unsafe { WriteMsrSafe::inline((msr, low, high)) as i32 }
    }
}

/// Reads a model-specific register; a failure is a warning in the kernel's log.
pub struct ReadMsr;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a load from the installed
// model, within the register file for any number.
unsafe impl Op for ReadMsr {
    const META: OpMeta = OpMeta {
        name: "read_msr",
        prototype: "u64 (*read_msr)(unsigned int msr)",
        purpose: "read a model-specific register (rdmsr)",
        source: "arch/x86/include/asm/msr.h, native_read_msr",
        ..CPU_OP
    };
    const SLOT: usize = Slot::ReadMsr as usize;
    type Args = (u64,);
    type Ret = u64;

    native! {
        (msr: "rdi") -> "rax"; scratch("rcx", "rdx");
        "movzx ecx, dil",
        "mov eax, gs:[rcx*8 + {file}]",
        "mov edx, gs:[rcx*8 + {file} + 4]",
        "shl rdx, 32",
        "or rax, rdx";
        file = const FILE
    }

    /// `xen_read_msr`: reads as on bare metal, because Xen emulates the instruction.
    unsafe fn xen((msr,): (u64,)) -> u64 {
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        hide_x2apic(msr, unsafe { Self::inline((msr,)) })
    }

    fn arguments(_: &mut CpuModel) -> (u64,) {
        (MSR_FS_BASE,)
    }
}

/// Writes a model-specific register; a failure is a warning in the kernel's log.
pub struct WriteMsr;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a store to the installed
// model, within the register file for any number.
unsafe impl Op for WriteMsr {
    const META: OpMeta = OpMeta {
        name: "write_msr",
        prototype: "void (*write_msr)(unsigned int msr, unsigned low, unsigned high)",
        purpose: "write a model-specific register (wrmsr)",
        source: "arch/x86/include/asm/msr.h, native_write_msr",
        ..CPU_OP
    };
    const SLOT: usize = Slot::WriteMsr as usize;
    type Args = (u64, u64, u64);
    type Ret = ();

    native! {
        (msr: "rdi", low: "rsi", high: "rdx"); scratch("rcx");
        "movzx ecx, dil",
        "mov gs:[rcx*8 + {file}], esi",
        "mov gs:[rcx*8 + {file} + 4], edx";
        file = const FILE
    }

    /// `xen_write_msr`: failures are not reported, which is the default (`CONFIG_XEN_PV_MSR_SAFE`).
    unsafe fn xen((msr, low, high): (u64, u64, u64)) {
        // SAFETY: `xen_write` has the contract of this function, which the caller meets.
        unsafe { xen_write(msr, low, high) };
    }

    /// The base of thread-local storage, which a context switch wrote before the FSGSBASE instructions existed.
    fn arguments(_: &mut CpuModel) -> (u64, u64, u64) {
        (MSR_FS_BASE, 0xf7d8_a740, 0x7fff)
    }
}

/// Reads a model-specific register that may not exist. The model has all of them, so the error is always 0.
pub struct ReadMsrSafe;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a load from the installed
// model; stores the four bytes the caller points to.
unsafe impl Op for ReadMsrSafe {
    const META: OpMeta = OpMeta {
        name: "read_msr_safe",
        prototype: "u64 (*read_msr_safe)(unsigned int msr, int *err)",
        purpose: "read a model-specific register, with an error if it does not exist",
        source: "arch/x86/include/asm/msr.h, native_read_msr_safe",
        ..CPU_OP
    };
    const SLOT: usize = Slot::ReadMsrSafe as usize;
    type Args = (u64, u64);
    type Ret = u64;

    native! {
        (msr: "rdi", err: "rsi") -> "rax"; scratch("rcx", "rdx");
        "movzx ecx, dil",
        "mov eax, gs:[rcx*8 + {file}]",
        "mov edx, gs:[rcx*8 + {file} + 4]",
        "xor ecx, ecx",
        "mov [rsi], ecx",
        "shl rdx, 32",
        "or rax, rdx";
        file = const FILE
    }

    /// `xen_read_msr_safe`
    unsafe fn xen((msr, err): (u64, u64)) -> u64 {
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        hide_x2apic(msr, unsafe { Self::inline((msr, err)) })
    }

    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        (MSR_FS_BASE, &raw mut cpu.cpu.words.err as u64)
    }
}

/// Writes a model-specific register that may not exist. The model has all of them, so the result is always 0.
pub struct WriteMsrSafe;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a store to the installed
// model, within the register file for any number.
unsafe impl Op for WriteMsrSafe {
    const META: OpMeta = OpMeta {
        name: "write_msr_safe",
        prototype: "int (*write_msr_safe)(unsigned int msr, unsigned low, unsigned high)",
        purpose: "write a model-specific register, with an error if it does not exist",
        source: "arch/x86/include/asm/msr.h, native_write_msr_safe",
        ..CPU_OP
    };
    const SLOT: usize = Slot::WriteMsrSafe as usize;
    type Args = (u64, u64, u64);
    type Ret = u64;

    native! {
        (msr: "rdi", low: "rsi", high: "rdx") -> "rax"; scratch("rcx");
        "movzx ecx, dil",
        "mov gs:[rcx*8 + {file}], esi",
        "mov gs:[rcx*8 + {file} + 4], edx",
        "xor eax, eax";
        file = const FILE
    }

    /// `xen_write_msr_safe`
    unsafe fn xen((msr, low, high): (u64, u64, u64)) -> u64 {
        // SAFETY: `xen_write` has the contract of this function, which the caller meets.
        u64::from(unsafe { xen_write(msr, low, high) }.cast_unsigned())
    }

    fn arguments(cpu: &mut CpuModel) -> (u64, u64, u64) {
        WriteMsr::arguments(cpu)
    }
}

/// Reads a performance counter.
pub struct ReadPmc;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a load from the installed
// model, within the counters for any number.
unsafe impl Op for ReadPmc {
    const META: OpMeta = OpMeta {
        name: "read_pmc",
        prototype: "u64 (*read_pmc)(int counter)",
        purpose: "read a performance counter (rdpmc)",
        source: "arch/x86/include/asm/msr.h, native_read_pmc",
        ..CPU_OP
    };
    const SLOT: usize = Slot::ReadPmc as usize;
    type Args = (u64,);
    type Ret = u64;

    native! {
        (counter: "rdi") -> "rax"; scratch("rcx", "rdx");
        "mov ecx, edi",
        "and ecx, {last}",
        "mov eax, gs:[rcx*8 + {pmc}]",
        "mov edx, gs:[rcx*8 + {pmc} + 4]",
        "shl rdx, 32",
        "or rax, rdx";
        last = const PMCS - 1, pmc = const PMC
    }

    /// `arch/x86/xen/pmu.c`, `xen_intel_read_pmc` outside of a counter interrupt: reads the model-specific register of
    /// the counter instead, since `rdpmc` would read the host's counter.
    unsafe fn xen((counter,): (u64,)) -> u64 {
        /// `MSR_IA32_PERFCTR0`
        const GENERAL: u64 = 0xc1;
        /// `MSR_CORE_PERF_FIXED_CTR0`
        const FIXED: u64 = 0x309;
        let msr = if counter >> 30 & 1 != 0 { FIXED + (counter & 0xffff) } else { GENERAL + truncate_to_u32(counter) };
        // SAFETY: `current` needs an installed model, as bodies have, and no other reference in use: this is the only
        // one; it ends here.
        let err = &raw mut unsafe { CpuModel::current() }.cpu.words.err;
        // SAFETY: `ReadMsrSafe::inline` needs a valid error pointer: it points into the model.
        unsafe { ReadMsrSafe::inline((msr, err as u64)) }
    }

    fn arguments(_: &mut CpuModel) -> (u64,) {
        (0,)
    }
}
