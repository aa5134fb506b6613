//! Switches between this program and traced code: two sets of registers, one of which is kept here.

use std::arch::naked_asm;
use std::cell::UnsafeCell;

/// RFLAGS of ordinary code: interrupts on, and bit 1, which is always set.
pub(crate) const FLAGS: u64 = 0x202;
/// CF, PF, AF, ZF, SF, OF: what arithmetic changes.
const STATUS: u64 = 0x8d5;

/// Registers of the traced code while it does not run, and the state that a switch needs.
#[repr(C)]
pub struct Registers {
    /// rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 .. r15, in the order of their numbers in machine code.
    pub(crate) general: [u64; 16],
    /// RFLAGS
    pub(crate) flags: u64,
    /// Address that [`resume`] jumps to.
    pub(crate) code: u64,
    /// This program's stack pointer while the traced code runs.
    own_stack: u64,
    /// Base of `fs` of the traced code, and of this program. They are swapped if user space can write the base
    /// (`FSGSBASE`).
    pub(crate) fs: u64,
    own_fs: u64,
    swaps_fs: u64,
    /// Address of the area for `xsave`, and the components that it saves; 0 components if there is only `fxsave`.
    pub(crate) vectors: u64,
    pub(crate) components: u64,
    /// Whether the code at `code` may use the vector state or the base of `fs`. If not, neither is exchanged: loading
    /// and storing some kilobytes takes most of the time of a short block.
    pub(crate) full_state: u64,
}

/// The only set of registers; [`resume`] and [`leave`] find it without a register of their own.
pub struct Shared(UnsafeCell<Registers>);

// SAFETY: sharing is sound because only the one `Tracer` of the process uses it, on one thread.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared(UnsafeCell::new(Registers {
    general: [0; 16],
    flags: 0,
    code: 0,
    own_stack: 0,
    fs: 0,
    own_fs: 0,
    swaps_fs: 0,
    vectors: 0,
    components: 0,
    full_state: 0,
}));

/// The traced code's registers. They must not be used while it runs.
pub fn registers() -> *mut Registers {
    SHARED.0.get()
}

/// Enables the swap of the `fs` base if the CPU and the kernel let user space write it; otherwise traced code cannot
/// change it either.
pub(crate) fn prepare_fs() {
    // AT_HWCAP2, bit 1: HWCAP2_FSGSBASE (arch/x86/include/uapi/asm/hwcap2.h).
    // SAFETY: `getauxval` allows any number. The registers are exclusively the tracer's. `rdfsbase` needs FSGSBASE,
    // which the condition checks.
    unsafe {
        let registers = &mut *registers();
        registers.swaps_fs = libc::getauxval(libc::AT_HWCAP2) >> 1 & 1;
        if registers.swaps_fs == 1 {
            std::arch::asm!("rdfsbase {}", out(reg) registers.own_fs, options(nomem, nostack, preserves_flags));
            registers.fs = registers.own_fs;
        }
    }
}

/// Stores the present vector registers, so that the area has a valid state to load.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn store_vectors() {
    naked_asm!(
        "mov rcx, [rip + {r} + 176]",
        "mov eax, [rip + {r} + 184]",
        "mov edx, [rip + {r} + 188]",
        "test eax, eax",
        "jz 22f",
        "xsave64 [rcx]",
        "ret",
        "22:",
        "fxsave64 [rcx]",
        "ret",
        r = sym SHARED,
    )
}

/// Continues the traced code at `code`, and returns when that jumps or returns to [`leave`].
///
/// # Safety
/// The registers are those of code that can continue at `code` and that reaches [`leave`].
#[unsafe(naked)]
pub unsafe extern "C" fn resume() {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rip + {r} + 144], rsp",
        "cmp qword ptr [rip + {r} + 192], 0",
        "je 23f",
        "mov rcx, [rip + {r} + 176]",
        "mov eax, [rip + {r} + 184]",
        "mov edx, [rip + {r} + 188]",
        "test eax, eax",
        "jz 22f",
        "xrstor64 [rcx]",
        "jmp 23f",
        "22:",
        "fxrstor64 [rcx]",
        "23:",
        // Both are 0 if the base is not swapped.
        "mov rax, [rip + {r} + 152]",
        "cmp rax, [rip + {r} + 160]",
        "je 24f",
        "wrfsbase rax",
        "24:",
        "push qword ptr [rip + {r} + 128]",
        "popfq",
        "mov rax, [rip + {r}]",
        "mov rcx, [rip + {r} + 8]",
        "mov rdx, [rip + {r} + 16]",
        "mov rbx, [rip + {r} + 24]",
        "mov rsp, [rip + {r} + 32]",
        "mov rbp, [rip + {r} + 40]",
        "mov rsi, [rip + {r} + 48]",
        "mov rdi, [rip + {r} + 56]",
        "mov r8, [rip + {r} + 64]",
        "mov r9, [rip + {r} + 72]",
        "mov r10, [rip + {r} + 80]",
        "mov r11, [rip + {r} + 88]",
        "mov r12, [rip + {r} + 96]",
        "mov r13, [rip + {r} + 104]",
        "mov r14, [rip + {r} + 112]",
        "mov r15, [rip + {r} + 120]",
        "jmp qword ptr [rip + {r} + 136]",
        r = sym SHARED,
    )
}

/// The end of traced code: saves its registers and returns from [`resume`]. It does not touch the traced code's stack,
/// whose red zone may be in use, nor its flags before they are saved.
#[unsafe(naked)]
pub unsafe extern "C" fn leave() {
    naked_asm!(
        "mov [rip + {r}], rax",
        "mov [rip + {r} + 8], rcx",
        "mov [rip + {r} + 16], rdx",
        "mov [rip + {r} + 24], rbx",
        "mov [rip + {r} + 32], rsp",
        "mov [rip + {r} + 40], rbp",
        "mov [rip + {r} + 48], rsi",
        "mov [rip + {r} + 56], rdi",
        "mov [rip + {r} + 64], r8",
        "mov [rip + {r} + 72], r9",
        "mov [rip + {r} + 80], r10",
        "mov [rip + {r} + 88], r11",
        "mov [rip + {r} + 96], r12",
        "mov [rip + {r} + 104], r13",
        "mov [rip + {r} + 112], r14",
        "mov [rip + {r} + 120], r15",
        "mov rsp, [rip + {r} + 144]",
        "pushfq",
        "pop qword ptr [rip + {r} + 128]",
        // Clears the direction and alignment-check flags, as this program's code expects. They are rarely set, and
        // `popfq` is slow.
        "test dword ptr [rip + {r} + 128], {unusual}",
        "jz 21f",
        "push {flags}",
        "popfq",
        "21:",
        "cmp qword ptr [rip + {r} + 192], 0",
        "je 23f",
        "mov rcx, [rip + {r} + 176]",
        "mov eax, [rip + {r} + 184]",
        "mov edx, [rip + {r} + 188]",
        "test eax, eax",
        "jz 22f",
        "xsave64 [rcx]",
        "jmp 24f",
        "22:",
        "fxsave64 [rcx]",
        "24:",
        "cmp qword ptr [rip + {r} + 168], 0",
        "je 23f",
        "rdfsbase rax",
        "mov [rip + {r} + 152], rax",
        "23:",
        "mov rax, [rip + {r} + 160]",
        "cmp rax, [rip + {r} + 152]",
        "je 25f",
        "wrfsbase rax",
        "25:",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        r = sym SHARED,
        flags = const FLAGS,
        unusual = const !(FLAGS | STATUS) as u32,
    )
}

// The offsets that the assembly uses.
const _: () = assert!(
    std::mem::offset_of!(Registers, flags) == 128
        && std::mem::offset_of!(Registers, code) == 136
        && std::mem::offset_of!(Registers, own_stack) == 144
        && std::mem::offset_of!(Registers, fs) == 152
        && std::mem::offset_of!(Registers, own_fs) == 160
        && std::mem::offset_of!(Registers, swaps_fs) == 168
        && std::mem::offset_of!(Registers, vectors) == 176
        && std::mem::offset_of!(Registers, components) == 184
        && std::mem::offset_of!(Registers, full_state) == 192
);

/// Serialises the CPU; to be called between writing code and running it. `iretq` is serialising (Intel SDM volume 3,
/// 10.3 "Serializing Instructions"), and unlike `cpuid` it never leaves a virtual machine.
pub fn serialise() {
    // SAFETY: the code must preserve stack and flags: `iretq` returns to the next instruction with both restored, and
    // the absence of `nostack` declares the pushes.
    unsafe {
        std::arch::asm!(
            "mov {a}, rsp",
            "mov {b:e}, ss",
            "push {b}",
            "push {a}",
            "pushfq",
            "mov {b:e}, cs",
            "push {b}",
            "lea {b}, [rip + 22f]",
            "push {b}",
            "iretq",
            "22:",
            a = out(reg) _,
            b = out(reg) _,
        );
    }
}
