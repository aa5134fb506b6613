//! Model-specific registers behind a password: 2.6.30 only.

use super::CPU_OP;
use super::msr::FILE;
use crate::native;
use crate::op::{CpuModel, Op, OpMeta, Since, catalogue::Slot};

/// A register of that kind on the K8: the features that `cpuid` reports (`arch/x86/kernel/cpu/amd.c`).
const MSR_K8_FEATURES: u64 = 0xc001_100d;
/// The password in `edi` with which AMD's CPUs of that time give access to such a register.
const PASSWORD: u32 = 0x9c5a_203a;

/// Reads a model-specific register that AMD protects with a password and that may not exist. The model has all of them,
/// so the error is always 0. 2.6.32 has `rdmsr_regs` instead.
pub struct ReadMsrAmd;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a load from the installed
// model, within the register file for any number; stores the four bytes the caller points to.
unsafe impl Op for ReadMsrAmd {
    const META: OpMeta = OpMeta {
        name: "read_msr_amd",
        since: Since::Linux2630Only,
        prototype: "u64 (*read_msr_amd)(unsigned int msr, int *err)",
        purpose: "read a model-specific register behind AMD's password, with an error if it does not exist",
        source: "arch/x86/include/asm/msr.h, native_read_msr_amd_safe",
        ..CPU_OP
    };
    const SLOT: usize = Slot::ReadMsrAmd as usize;
    type Args = (u64, u64);
    type Ret = u64;

    // The password is in r8 instead of edi, because edi holds an argument and must not be spoiled here.
    native! {
        (msr: "rdi", err: "rsi") -> "rax"; scratch("rcx", "rdx", "r8");
        "movzx ecx, dil",
        "mov r8d, {password}",
        "mov eax, gs:[rcx*8 + {file}]",
        "mov edx, gs:[rcx*8 + {file} + 4]",
        "xor ecx, ecx",
        "mov [rsi], ecx",
        "shl rdx, 32",
        "or rax, rdx";
        file = const FILE, password = const PASSWORD
    }

    /// 2.6.30 left the hook empty for Xen, and it must not be called there. This body reads as on bare metal, since Xen
    /// would emulate the instruction.
    #[inline(always)]
    unsafe fn xen(args: (u64, u64)) -> u64 {
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        unsafe { Self::inline(args) }
    }

    fn arguments(cpu: &mut CpuModel) -> (u64, u64) {
        (MSR_K8_FEATURES, &raw mut cpu.cpu.words.err as u64)
    }
}
