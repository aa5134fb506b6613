//! Single steps: the trap flag, the handler that runs after every instruction, and the call that starts a trace.
//!
//! With TF (bit 8 of RFLAGS) set, the CPU raises #DB after each instruction (Intel SDM volume 3, 19.3.1.4 "Single-Step
//! Exception Condition"). Linux turns that into a SIGTRAP with `si_code` `TRAP_TRACE` (`exc_debug_user`,
//! `arch/x86/kernel/traps.c`). The handler runs with TF off. The interrupted code continues with the flags that the
//! handler leaves in the saved context.

use std::arch::{asm, naked_asm};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize};

use pvbench::regime::Loop;

/// `X86_EFLAGS_TF`
const TF: u64 = 1 << 8;
/// `pushfq`
const PUSHFQ: u8 = 0x9c;

/// `struct sigaction` as the system call takes it (`arch/x86/include/uapi/asm/signal.h`), as words: handler, flags,
/// restorer, mask.
pub type KernelAction = [AtomicU64; 4];

/// What the handler does with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StepState {
    /// Nothing is traced. A step may still come from flags that were saved during a trace.
    Idle,
    /// Tracing known code without a breakpoint, so that every trap is a step of the platform.
    Checking,
    /// Tracing.
    Stepping,
    /// The trace is complete.
    Done,
    /// The record is full; the rest runs without steps.
    Full,
}

static STATE: AtomicU8 = AtomicU8::new(StepState::Idle as u8);
/// The record, the number of addresses in it, and its capacity.
static RECORD: AtomicPtr<u64> = AtomicPtr::new(null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);
static CAPACITY: AtomicUsize = AtomicUsize::new(0);
/// Return address of the loop, which ends the trace; [`enter`] stores it.
static EXIT: AtomicU64 = AtomicU64::new(0);
/// The alternate stack of the one thread that is traced.
static STACK: AtomicUsize = AtomicUsize::new(0);
static STACK_SIZE: AtomicUsize = AtomicUsize::new(0);
/// The former action of SIGTRAP.
pub static FORMER: KernelAction = [const { AtomicU64::new(0) }; 4];

/// Sets the alternate stack that the handler runs on.
pub fn set_stack(stack: &[u8]) {
    STACK.store(stack.as_ptr() as usize, Relaxed);
    STACK_SIZE.store(stack.len(), Relaxed);
}

/// Calls `run(args, passes)` with single steps and records the address of every instruction in it, its return included.
/// Returns how the trace ended, the number of addresses in `record`, and the result of the loop.
///
/// # Safety
/// [`on_trap`] is the handler of SIGTRAP, on the alternate stack that was passed to [`set_stack`], and SIGTRAP is not
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
    // SAFETY: `enter` needs a loop that can be called with these arguments (caller's contract), and a record that
    // outlives the call (borrowed here).
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

/// It may run between any two instructions of any body, so it allocates nothing, locks nothing and calls no library. It
/// uses no thread-local storage, because a body may have set another `fs` base. It leaves the traced stack alone, whose
/// red zone (psABI, 3.2.2 "The Stack Frame") may be in use, except for the word that `pushfq` has just written.
pub extern "C" fn on_trap(_signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes two valid pointers until the handler returns, and nothing else refers
    // to them.
    let (code, registers) = unsafe { ((*info).si_code, &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs) };
    // The context lies on the handler's stack, and alternate stacks belong to threads.
    let of_this_thread = (context as usize).wrapping_sub(STACK.load(Relaxed)) < STACK_SIZE.load(Relaxed);
    let state = STATE.load(Relaxed);
    registers[libc::REG_EFL as usize] &= !(TF as i64);
    if !of_this_thread || code != libc::TRAP_TRACE {
        if of_this_thread && state == StepState::Checking as u8 {
            // The steps of this platform look different. The trace ends here, and the count reveals it.
            return;
        }
        return pass_on();
    }
    if state != StepState::Checking as u8 && state != StepState::Stepping as u8 {
        return;
    }
    let length = LENGTH.load(Relaxed);
    let next = RECORD.load(Relaxed).wrapping_add(length);
    if length > 0 {
        // SAFETY: both accesses need valid addresses. The record holds `length` addresses of executed instructions,
        // whose first byte can be read. After `pushfq` the stack pointer points to the word that it wrote.
        unsafe {
            if *(*next.wrapping_sub(1) as *const u8) == PUSHFQ {
                // Clears TF in the saved flags, so that no code sees it or sets it again later.
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
    // SAFETY: the write stays in the record, because `length` is less than its capacity.
    unsafe { *next = at };
    LENGTH.store(length.wrapping_add(1), Relaxed);
    // Set again even if the instruction loaded flags without TF (`popfq`, `iretq`).
    registers[libc::REG_EFL as usize] |= TF as i64;
}

/// Passes a trap that is not a step of this trace (a breakpoint, another thread's trap) to the former handler of
/// SIGTRAP. It restores that handler and sends the signal again, which arrives when this handler returns. If SIGTRAP
/// was ignored, the default action applies, as the kernel does with a trap.
fn pass_on() {
    const SIG_IGN: u64 = libc::SIG_IGN as u64;
    let action = FORMER.as_ptr() as u64;
    let _ = FORMER[0].compare_exchange(SIG_IGN, libc::SIG_DFL as u64, Relaxed, Relaxed);
    let trap = libc::SIGTRAP as u64;
    // Bare system calls, because those of the C library store `errno`, which is thread-local.
    // SAFETY: the action is one that the kernel gave and stays valid; the other calls only name this thread and signal
    // it.
    unsafe {
        system_call(libc::SYS_rt_sigaction, [trap, action, 0, 8]);
        let process = system_call(libc::SYS_getpid, [0; 4]);
        let thread = system_call(libc::SYS_gettid, [0; 4]);
        system_call(libc::SYS_tgkill, [process, thread, trap, 0]);
    }
}

/// Makes a system call without the C library.
///
/// # Safety
/// As for the system call.
pub unsafe fn system_call(number: libc::c_long, [a, b, c, d]: [u64; 4]) -> u64 {
    let result: u64;
    // SAFETY: the clobbers must cover the kernel's convention (psABI, A.2.1): it changes rax, rcx and r11 only. The
    // caller guarantees the arguments.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}
