//! The workloads of the guest as an ordinary process of the running kernel.
//!
//! Argument: `only=`, the bit mask of the workload. A first word on standard input starts it. A window begins with a
//! word on standard input, its number of units. Standard output gets three words for it: the time stamps before and
//! after the units, and the error of the worst unit (0 if all was well). The process ends with its standard input.
#![no_std]
#![no_main]
// The init process uses more of `linux.rs`.
#![allow(dead_code)]

mod linux;
mod random;
mod records;
mod sequence;
mod workloads;

use records::Records;

/// The path of this program, which `fork_exec` starts and `open_close` opens: the process runs in the folder of it, so
/// that the kernel looks up one name, as in the guest.
const PROGRAM: &core::ffi::CStr = c"init";

/// As in the init process; all but `only` have one value here.
pub struct Options {
    reps: u64,
    scale: u64,
    only: u64,
}

core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor %ebp, %ebp",
    "mov %rsp, %rdi",
    "and $-16, %rsp",
    "call {main}",
    "ud2",
    main = sym main,
    options(att_syntax)
);

/// # Safety
/// `stack` is the initial stack of a new process: argc, argv, 0, environment, 0, auxiliary vector.
unsafe extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: the reads need the initial stack of a process: the caller vouches for it.
    let (count, arguments) = unsafe { (*stack, stack.add(1)) };
    let mut options = Options { reps: 1, scale: 100, only: 0 };
    for index in 0..count {
        // SAFETY: index < argc; each argument is a string that ends with 0.
        let parsed = unsafe { linux::parse(*arguments.add(index) as *const u8) };
        match parsed {
            Some((b'o', only)) => options.only = only,
            // `fork_exec` starts this program with `x=1`, which ends at once.
            Some((b'x', _)) => linux::exit(0),
            _ => {}
        }
    }
    let mut word = 0u64;
    if linux::simple(linux::Call::Read, 0, (&raw mut word) as usize, 8) == 8 {
        workloads::all(&options, &mut Records);
    }
    linux::exit(0)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    linux::exit(101)
}

/// The tables of `core`, which is compiled to unwind, refer to it; this program aborts instead.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As `rust_eh_personality`.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    linux::exit(102)
}
