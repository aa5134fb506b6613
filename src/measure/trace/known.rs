//! Code of which it is known what it executes: what every way of tracing proves itself on.

use std::arch::naked_asm;

/// `X86_EFLAGS_TF`
const TF: u64 = 1 << 8;

/// How many instructions [`known`] executes.
pub const KNOWN: usize = 23;

/// Code whose steps are known: a loop, flags read, flags loaded without TF by `popfq` and by `iretq`. Returns TF as it
/// saw it, which is to be 0.
#[unsafe(naked)]
pub unsafe extern "C" fn known(args: *const [u64; 4], passes: u64) -> u64 {
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
