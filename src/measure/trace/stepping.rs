//! The stepping itself: the trap flag, the handler that it calls after every instruction, and the way in.
//!
//! With TF (bit 8 of RFLAGS) set, the CPU raises #DB after each instruction (Intel SDM volume 3, 19.3.1.4 "Single-Step
//! Exception Condition"), and Linux makes that a SIGTRAP with `si_code` `TRAP_TRACE` (`exc_debug_user`,
//! `arch/x86/kernel/traps.c`). The handler runs with TF off; the flags that it leaves in the saved context are those
//! that the interrupted code goes on with.

use std::arch::{asm, naked_asm};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize};

use crate::regime::Loop;

/// `X86_EFLAGS_TF`
const TF: u64 = 1 << 8;
/// `pushfq`
const PUSHFQ: u8 = 0x9c;

/// `struct sigaction` as the system call takes it (`arch/x86/include/uapi/asm/signal.h`), as words: handler, flags,
/// restorer, mask.
pub type KernelAction = [AtomicU64; 4];

/// What the handler is to do with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StepState {
    /// Nothing is traced; a step is left over from flags that were saved during a trace.
    Idle,
    /// Tracing code of this program's own that has no breakpoint: whatever trap comes is the platform's.
    Checking,
    /// Tracing.
    Stepping,
    /// The trace came to its end.
    Done,
    /// The record is full; the rest ran without steps.
    Full,
}

static STATE: AtomicU8 = AtomicU8::new(StepState::Idle as u8);
/// Where the next address goes, and how many there are and fit.
static RECORD: AtomicPtr<u64> = AtomicPtr::new(null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);
static CAPACITY: AtomicUsize = AtomicUsize::new(0);
/// Where the loop returns to, which ends the trace; [`enter`] stores it.
static EXIT: AtomicU64 = AtomicU64::new(0);
/// The alternate stack of the one thread that is traced.
static STACK: AtomicUsize = AtomicUsize::new(0);
static STACK_SIZE: AtomicUsize = AtomicUsize::new(0);
/// What SIGTRAP did before.
pub static FORMER: KernelAction = [const { AtomicU64::new(0) }; 4];

/// Says which alternate stack the handler runs on.
pub fn set_stack(stack: &[u8]) {
    STACK.store(stack.as_ptr() as usize, Relaxed);
    STACK_SIZE.store(stack.len(), Relaxed);
}

/// Calls `run(args, passes)` with single steps and records the address of every instruction in it, its return
/// included. Gives how it ended, how many addresses stand in `record`, and what the loop returned.
///
/// # Safety
/// [`on_trap`] is the handler of SIGTRAP, on the alternate stack that was named to [`set_stack`], and SIGTRAP is not
/// blocked. The loop can be called with these arguments.
pub unsafe fn record(
    record: &mut [u64],
    state: StepState,
    run: Loop,
    args: *const [u64; 4],
    passes: u64,
) -> (StepState, usize, u64) {
    RECORD.store(record.as_mut_ptr(), Relaxed);
    CAPACITY.store(record.len(), Relaxed);
    LENGTH.store(0, Relaxed);
    STATE.store(state as u8, Relaxed);
    // SAFETY: this function's contract; the record outlives the call.
    let result = unsafe { enter(run, args, passes) };
    let ended = match STATE.swap(StepState::Idle as u8, Relaxed) {
        ended if ended == StepState::Done as u8 => StepState::Done,
        ended if ended == StepState::Full as u8 => StepState::Full,
        _ => state,
    };
    (ended, LENGTH.load(Relaxed), result)
}

/// Sets TF and calls the loop. The flags that `popfq` loads are in force from the instruction after it on, so the first
/// step comes after the call, at the loop's first instruction, and the last one after the loop's return, at `22`.
#[unsafe(naked)]
unsafe extern "C" fn enter(run: Loop, args: *const [u64; 4], passes: u64) -> u64 {
    naked_asm!(
        "sub rsp, 8",
        "mov rax, rdi",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "lea rcx, [rip + 22f]",
        "mov [rip + {exit}], rcx",
        "pushfq",
        "or dword ptr [rsp], {tf}",
        "popfq",
        "call rax",
        "22:",
        "add rsp, 8",
        "ret",
        exit = sym EXIT,
        tf = const TF,
    )
}

/// The handler of SIGTRAP.
///
/// It runs between any two instructions of any body, so it allocates nothing, locks nothing, calls no library, and uses
/// no thread-local storage: a body may have set another `fs` base. It writes nothing to the traced stack, whose red
/// zone (psABI, 3.2.2 "The Stack Frame") may be in use, but for the one word that `pushfq` has just written.
pub extern "C" fn on_trap(_signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes both (SA_SIGINFO), valid until the handler returns, and nobody else refers to them.
    let (code, registers) = unsafe { ((*info).si_code, &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs) };
    // The context lies on the stack the handler runs on, and alternate stacks belong to threads.
    let of_this_thread = (context as usize).wrapping_sub(STACK.load(Relaxed)) < STACK_SIZE.load(Relaxed);
    let state = STATE.load(Relaxed);
    registers[libc::REG_EFL as usize] &= !(TF as i64);
    if !of_this_thread || code != libc::TRAP_TRACE {
        if of_this_thread && state == StepState::Checking as u8 {
            // A platform whose steps look otherwise. The trace ends here, and the count tells.
            return;
        }
        return hand_on();
    }
    if state != StepState::Checking as u8 && state != StepState::Stepping as u8 {
        return;
    }
    let length = LENGTH.load(Relaxed);
    let next = RECORD.load(Relaxed).wrapping_add(length);
    if length > 0 {
        // SAFETY: the record holds `length` addresses, each of an instruction that was just executed, so its first byte
        // can be read; after `pushfq` the stack pointer points to the word that it wrote.
        unsafe {
            if *(*next.wrapping_sub(1) as *const u8) == PUSHFQ {
                // The flags as they are without a trace: nothing is to see TF, or to set it again later.
                *(registers[libc::REG_RSP as usize] as *mut u64) &= !TF;
            }
        }
    }
    let at = registers[libc::REG_RIP as usize] as u64;
    if at == EXIT.load(Relaxed) {
        return STATE.store(StepState::Done as u8, Relaxed);
    }
    if length >= CAPACITY.load(Relaxed) {
        return STATE.store(StepState::Full as u8, Relaxed);
    }
    // SAFETY: `length` is less than the record's capacity.
    unsafe { *next = at };
    LENGTH.store(length.wrapping_add(1), Relaxed);
    // Also where the instruction was one that loads flags without TF (`popfq`, `iretq`).
    registers[libc::REG_EFL as usize] |= TF as i64;
}

/// Leaves a trap that is no step of ours (a breakpoint, another thread's) to whatever handled SIGTRAP before: puts that
/// back and sends the signal again, which is delivered when the handler returns. What was ignored gets the default
/// action, as the kernel does with a trap.
fn hand_on() {
    const SIG_IGN: u64 = libc::SIG_IGN as u64;
    let action = FORMER.as_ptr() as u64;
    let _ = FORMER[0].compare_exchange(SIG_IGN, libc::SIG_DFL as u64, Relaxed, Relaxed);
    let trap = libc::SIGTRAP as u64;
    // By bare system calls: those of the C library store `errno`, which is thread-local.
    // SAFETY: the action is one that the kernel gave; the other calls only name this thread and signal it.
    unsafe {
        system_call(libc::SYS_rt_sigaction, [trap, action, 0, 8]);
        let process = system_call(libc::SYS_getpid, [0; 4]);
        let thread = system_call(libc::SYS_gettid, [0; 4]);
        system_call(libc::SYS_tgkill, [process, thread, trap, 0]);
    }
}

/// A system call without the C library.
///
/// # Safety
/// That of the call.
pub unsafe fn system_call(number: libc::c_long, [a, b, c, d]: [u64; 4]) -> u64 {
    let result: u64;
    // SAFETY: the kernel's convention (psABI, A.2.1): it changes rax, rcx and r11 alone.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}
