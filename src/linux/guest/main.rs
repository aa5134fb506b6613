//! The init process of a guest kernel: runs one workload after another, and reads the instruction count before and
//! after each.
//!
//! Under `-icount shift=0` the time stamp counter is the number of executed instructions. Results stay in memory
//! and leave through ports at the very end: a process with I/O privileges costs more at every switch.
//!
//! Arguments, all numbers: `reps=`, `scale=` (percent of the usual units), `spin=` (instructions spent first, to
//! move the phase of the timer's tick), `only=` (bit mask of workloads), `counters=` (number of counters in the page
//! that the kernel shares with all processes; 0 for a kernel without counters).
#![no_std]
#![no_main]

mod linux;
// The model kernel's workload has `random` and `sequence`, too; the build copies them here.
mod random;
mod records;
mod sequence;
mod workloads;

use records::Records;

/// The path of this program, which `fork_exec` starts and `open_close` opens.
const PROGRAM: &core::ffi::CStr = c"/init";

/// Time before the first workload, in seconds of guest time.
const SETTLE_SECONDS: usize = 2;

/// The arguments, which the kernel passes on.
pub struct Options {
    reps: u64,
    scale: u64,
    spin: u64,
    only: u64,
    counters: usize,
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
    let mut options = Options { reps: 3, scale: 100, spin: 0, only: u64::MAX, counters: 0 };
    for index in 1..count {
        // SAFETY: index < argc; each argument is a string that ends with 0.
        let parsed = unsafe { linux::parse(*arguments.add(index) as *const u8) };
        if let Some((name, value)) = parsed {
            match name {
                b'r' => options.reps = value,
                b's' => options.scale = value,
                b'p' => options.spin = value,
                b'o' => options.only = value,
                b'c' => options.counters = value as usize,
                // `fork_exec` starts this program with `x=1`, which ends at once.
                b'x' => linux::exit(0),
                _ => {}
            }
        }
    }
    // SAFETY: the environment follows the arguments.
    let page = unsafe { linux::shared_page(arguments.add(count + 1)) };
    let mut records = Records::new(page, options.counters);
    settle();
    spin(options.spin);
    records.known(workloads::known());
    workloads::all(&options, &mut records);
    records.send();
    linux::power_off()
}

/// Waits while the kernel finishes its start-up work, which continues after the start of its first process. The time
/// of an idle guest costs nothing.
fn settle() {
    let time = [SETTLE_SECONDS, 0];
    linux::simple(linux::Call::Nanosleep, time.as_ptr() as usize, 0, 0);
}

fn spin(instructions: u64) {
    // SAFETY: the block changes one register.
    unsafe {
        core::arch::asm!(
            "2:", "sub $2, {0}", "jg 2b", inout(reg) instructions => _,
            options(att_syntax, nomem, nostack)
        )
    }
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
