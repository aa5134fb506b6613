//! Identifying the CPU, reading its time-stamp counter, and emptying its caches.

use std::mem::offset_of;

use super::CPU_OP;
use crate::native;
use crate::op::{Bytes, CpuModel, Kind, Op, OpMeta, Since, catalogue::Slot};

/// The operands and results of `cpuid`, `rdtscp` and `read_msr_safe`.
#[repr(C)]
#[derive(Debug, Default)]
pub struct CpuidWords {
    /// In: the leaf.
    pub eax: u32,
    /// Out.
    pub ebx: u32,
    /// In: the sub-leaf.
    pub ecx: u32,
    /// Out.
    pub edx: u32,
    /// Out of `rdtscp`: the number of the CPU that it ran on.
    pub aux: u32,
    /// Out of `read_msr_safe`: the error, 0 if the register exists.
    pub err: u32,
}

const CACHES_EMPTY: usize = offset_of!(CpuModel, cpu.caches_empty);

/// `CPUID_MWAIT_LEAF`
const MWAIT: u32 = 5;
/// The leaf of extended topology.
const TOPOLOGY: u32 = 0xb;

/// Writes all caches back and empties them.
///
/// The model only sets a flag; it empties no cache.
pub struct Wbinvd;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: a byte store to the installed
// model.
unsafe impl Op for Wbinvd {
    const META: OpMeta = OpMeta {
        name: "wbinvd",
        site: 9,
        bytes: Bytes::Instruction,
        prototype: "void (*wbinvd)(void)",
        purpose: "write the caches back and empty them",
        source: "arch/x86/include/asm/special_insns.h, native_wbinvd",
        ..CPU_OP
    };
    const SLOT: usize = Slot::Wbinvd as usize;
    type Args = ();
    type Ret = ();

    native! { (); "mov byte ptr gs:[{empty}], 1"; empty = const CACHES_EMPTY }

    /// `xen_cpu_ops`: the native function, whose instruction Xen emulates.
    #[inline(always)]
    unsafe fn xen((): ()) {
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        unsafe { Self::inline(()) };
    }

    fn arguments(_: &mut CpuModel) {}
}

/// Identifies the CPU: the real instruction, which serialises, and traps in a virtual machine.
pub struct Cpuid;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: cpuid is legal in every ring.
// Four words are written, two of them also read, at the addresses that the caller gives. rbx is restored.
unsafe impl Op for Cpuid {
    const META: OpMeta = OpMeta {
        name: "cpuid",
        native_kind: Kind::Real,
        prototype: "void (*cpuid)(unsigned int *eax, unsigned int *ebx, unsigned int *ecx, unsigned int *edx)",
        purpose: "identify the CPU and its features (cpuid)",
        source: "arch/x86/include/asm/processor.h, native_cpuid",
        ..CPU_OP
    };
    const SLOT: usize = Slot::Cpuid as usize;
    type Args = (u64, u64, u64, u64);
    type Ret = ();

    // The instruction overwrites the registers of two pointers.
    native! {
        (eax: "rdi", ebx: "rsi", ecx: "rdx", edx: "rcx"); scratch("rax", "r8", "r9");
        "mov r8, rdx",
        "mov r9, rcx",
        "push rbx",
        "mov eax, [rdi]",
        "mov ecx, [rdx]",
        "cpuid",
        "mov [rdi], eax",
        "mov [rsi], ebx",
        "mov [r8], ecx",
        "mov [r9], edx",
        "pop rbx",
        "mov rdx, r8",
        "mov rcx, r9"
    }

    /// `xen_cpuid`: hides the extended topology, and gives fixed values for `mwait`. The model leaves out
    /// `XEN_EMULATE_PREFIX`, which makes Xen emulate the instruction: without Xen the prefix is an undefined
    /// instruction.
    unsafe fn xen((eax, ebx, ecx, edx): (u64, u64, u64, u64)) {
        // SAFETY: the caller's leaf.
        let leaf = unsafe { (eax as *const u32).read_volatile() };
        if leaf == MWAIT {
            for word in [eax, ebx, ecx, edx] {
                // SAFETY: the caller's words. Linux also gives zeros for ecx and edx if the hypervisor has no mwait.
                unsafe { (word as *mut u32).write_volatile(0) };
            }
            return;
        }
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        unsafe { Self::inline((eax, ebx, ecx, edx)) };
        if leaf == TOPOLOGY {
            // SAFETY: the caller's word.
            unsafe { (ebx as *mut u32).write_volatile(0) };
        }
    }

    /// Leaf 0. Each call overwrites the leaf of the next one with its result, because the hook's words are in-out; the
    /// instruction answers any value.
    fn arguments(cpu: &mut CpuModel) -> (u64, u64, u64, u64) {
        let words = &mut cpu.cpu.words;
        *words = CpuidWords::default();
        (&raw mut words.eax as u64, &raw mut words.ebx as u64, &raw mut words.ecx as u64, &raw mut words.edx as u64)
    }
}

/// Reads the time stamp counter: the real instruction.
pub struct ReadTsc;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: rdtsc is legal in ring 3
// unless a process gave it up (PR_SET_TSC).
unsafe impl Op for ReadTsc {
    const META: OpMeta = OpMeta {
        name: "read_tsc",
        since: Since::Linux2630Only,
        native_kind: Kind::Real,
        xen_kind: Kind::Real,
        prototype: "u64 (*read_tsc)(void)",
        purpose: "read the time stamp counter",
        source: "arch/x86/include/asm/msr.h, __native_read_tsc",
        ..CPU_OP
    };
    const SLOT: usize = Slot::ReadTsc as usize;
    type Args = ();
    type Ret = u64;

    native! { () -> "rax"; scratch("rdx"); "rdtsc", "shl rdx, 32", "or rax, rdx" }

    /// `native_read_tsc`
    #[inline(always)]
    unsafe fn xen((): ()) -> u64 {
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        unsafe { Self::inline(()) }
    }

    fn arguments(_: &mut CpuModel) {}
}

/// Reads the time stamp counter and the CPU's number: the real instruction, which every 64-bit CPU since 2008 has.
pub struct ReadTscp;

// SAFETY: bodies must accept their arguments and keep the registers of their convention: rdtscp is legal in ring 3 as
// rdtsc is; it stores four bytes at the address that the caller gives.
unsafe impl Op for ReadTscp {
    const META: OpMeta = OpMeta {
        name: "read_tscp",
        since: Since::Linux2630Only,
        native_kind: Kind::Real,
        xen_kind: Kind::Real,
        prototype: "unsigned long long (*read_tscp)(unsigned int *aux)",
        purpose: "read the time stamp counter and the CPU's number together",
        source: "arch/x86/include/asm/msr.h, native_read_tscp",
        ..CPU_OP
    };
    const SLOT: usize = Slot::ReadTscp as usize;
    type Args = (u64,);
    type Ret = u64;

    native! {
        (aux: "rdi") -> "rax"; scratch("rcx", "rdx");
        "rdtscp",
        "mov [rdi], ecx",
        "shl rdx, 32",
        "or rax, rdx"
    }

    /// 2.6.30 left the hook empty for Xen; later kernels use the native function.
    #[inline(always)]
    unsafe fn xen(args: (u64,)) -> u64 {
        // SAFETY: `Self::inline` has the contract of this function, which the caller meets.
        unsafe { Self::inline(args) }
    }

    fn arguments(cpu: &mut CpuModel) -> (u64,) {
        (&raw mut cpu.cpu.words.aux as u64,)
    }
}
