//! Code with a known number of instructions, which every tracer traces first to prove itself.

use std::arch::naked_asm;

/// `X86_EFLAGS_TF`
const TF: u64 = 1 << 8;

/// Number of instructions that [`known_code`] executes.
pub const KNOWN_INSTRUCTIONS: usize = 23;

/// Code with known steps: a loop, a read of the flags, and loads of the flags without TF by `popfq` and by `iretq`.
/// Returns TF as it reads it, which must be 0.
///
/// # Safety
/// May be called with any arguments: it reads none and changes caller-saved registers only.
#[unsafe(naked)]
pub unsafe extern "C" fn known_code(args: *const [u64; 4], passes: u64) -> u64 {
    naked_asm!(
        "mov ecx, 3",
        "22:",
        "dec ecx",
        "jnz 22b",
        "pushfq",
        "pop rax",
        "and eax, {tf}",
        "push 0x202",
        "popfq",
        "mov r8, rsp",
        "mov ecx, ss",
        "push rcx",
        "push r8",
        "push 0x202",
        "mov ecx, cs",
        "push rcx",
        "lea rcx, [rip + 23f]",
        "push rcx",
        "iretq",
        "23:",
        "ret",
        tf = const TF,
    )
}
