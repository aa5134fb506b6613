//! Runs a replay: enters the generated code, and comes back from it.

use std::arch::naked_asm;

use super::arena::{EXIT, PASSES, SAVED_STACK, STACK, STREAM, STREAM_END};
use super::memory::Memory;

/// Where a replay is entered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Address of the image.
    pub base: usize,
    /// Address of the first instruction.
    pub first: usize,
}

/// Runs the window `passes` times.
///
/// # Safety
/// `entry` is that of an image that was made for `memory`'s arena and stream, and that is in executable memory.
pub(super) unsafe fn run(entry: Entry, memory: &Memory, passes: u64) {
    let origin = memory.origin();
    let [stream, stream_end] = memory.stream();
    let header = [
        (EXIT, leave as *const () as u64),
        (PASSES, passes.max(1)),
        (STREAM, stream as u64),
        (STREAM_END, stream_end as u64),
        (STACK, memory.stack() as u64),
    ];
    for (offset, word) in header {
        // SAFETY: the header lies in the first page of the data, which is mapped and writable, and no replay runs.
        unsafe { (origin.wrapping_add_signed(offset as isize) as *mut u64).write(word) };
    }
    // SAFETY: `enter` needs the code of a replay: the caller guarantees it. The header is complete.
    unsafe { enter(entry.first, origin, entry.base, stream, memory.stack()) };
}

/// Enters a replay, and returns when it jumps to [`leave`].
///
/// # Safety
/// As for [`run`].
#[unsafe(naked)]
unsafe extern "C" fn enter(first: usize, origin: usize, base: usize, stream: usize, stack: usize) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov rbp, rsi",
        "mov [rbp + {saved}], rsp",
        "mov r11, rdi",
        "mov r15, rdx",
        "mov r14, rcx",
        "mov rsp, r8",
        "xor eax, eax",
        "xor ebx, ebx",
        "xor ecx, ecx",
        "xor edx, edx",
        "xor esi, esi",
        "xor edi, edi",
        "xor r8d, r8d",
        "xor r9d, r9d",
        "xor r10d, r10d",
        "xor r12d, r12d",
        "xor r13d, r13d",
        "jmp r11",
        saved = const SAVED_STACK,
    )
}

/// Returns from [`enter`].
///
/// # Safety
/// A replay that `enter` entered jumps here.
#[unsafe(naked)]
unsafe extern "C" fn leave() {
    naked_asm!(
        "mov rsp, [rbp + {saved}]",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        saved = const SAVED_STACK,
    )
}
