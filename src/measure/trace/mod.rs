//! Which instructions a loop executes, one by one: exact counts without a PMU, and what they were.
//!
//! The process steps itself: it sets the trap flag, and the handler of the SIGTRAP that follows every instruction notes
//! the address. That works where ptrace is refused (containers, Yama), and costs one signal per
//! instruction instead of two switches of processes.
//!
//! ```text
//! instructions per op = (executed(passes: 2) - executed(passes: 1)) / 8        the loop's own decrement and branch included
//! ```

mod code;
mod sequence;
mod stepping;

pub use code::Step;
pub use sequence::{OneOp, Passes};

use std::io::Error;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::regime::Loop;
use stepping::{FORMER, KNOWN, State, known, on_trap};

/// Most instructions of one trace.
pub const LIMIT: usize = 1 << 16;

/// Bytes of the handler's stack. The kernel stores all registers there, of which AVX-512 and AMX have up to 11 KiB
/// (`AT_MINSIGSTKSZ`).
const STACK_BYTES: usize = 64 << 10;

/// How often a loop whose passes differ is counted again before its count is believed.
const RECOUNTS: u64 = 3;

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// Two at a time.
    #[error("another trace is set up in this process; end it first")]
    Busy,
    /// The kernel refused a step of the set-up.
    #[error("cannot single-step: {step} was refused ({source}); count under callgrind instead (cargo bench)")]
    Refused {
        /// Which system call.
        step: &'static str,
        /// What it said.
        source: Error,
    },
    /// Known code was not stepped as it is executed.
    #[error(
        "this platform does not single-step: {found} of {expected} known instructions were seen, as under valgrind, an \
         emulator or a debugger; run without it, or count under callgrind (cargo bench)"
    )]
    Miscounts {
        /// How many it has.
        expected: usize,
        /// How many were seen.
        found: usize,
    },
    /// The record is full.
    #[error("the loop executes more than {limit} instructions; it waits for something, or needs fewer passes")]
    TooLong {
        /// What fits.
        limit: usize,
    },
    /// The steps stopped before the loop returned.
    #[error("the steps stopped after {after:#x}, before the loop returned; nothing in it may handle SIGTRAP or wait")]
    Lost {
        /// The last address that was seen.
        after: u64,
    },
    /// An instruction in between was not seen.
    #[error(
        "{next:#x} was executed after {after:#x}, which does not lead there: a step was lost; count under callgrind"
    )]
    Gap {
        /// The last instruction before the gap.
        after: u64,
        /// The first after it.
        next: u64,
    },
    /// Executed bytes that do not decode.
    #[error(
        "what was executed at {at:#x} does not decode; the code changed since, or the decoder is older than the CPU"
    )]
    Undecodable {
        /// Where.
        at: u64,
    },
    /// Passes differ.
    #[error(
        "the loop does not execute the same instructions twice ({first} in a pass, then {second}): it waits, or does some \
         work every so many calls; count more passes and take the mean"
    )]
    Unsteady {
        /// Instructions of a pass.
        first: i64,
        /// Of a later pass.
        second: i64,
    },
}

/// Whether there is a [`Tracer`] in this process: the handler of a signal belongs to all of it.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// SIGTRAP's handler, its stack, and room for a trace. One per process at a time; it traces the thread that made it.
///
/// While it is there a breakpoint still does what it did before: the trap is handed on. Dropping it puts back the former
/// handler, signal mask and alternate stack.
pub struct Tracer {
    record: Vec<u64>,
    /// The handler's; `drop` has the kernel forget it before it goes.
    stack: Box<[u8]>,
    /// What was there before, as far as it was replaced.
    former: Former,
    /// Alternate stacks belong to threads: not `Send`.
    _thread: PhantomData<*mut ()>,
}

/// What to put back.
#[derive(Default)]
struct Former {
    stack: Option<libc::stack_t>,
    mask: Option<libc::sigset_t>,
    action: Option<libc::sigaction>,
}

impl Tracer {
    /// Installs the handler and traces a few known instructions.
    ///
    /// # Errors
    /// [`TraceError::Busy`] where there is one, [`TraceError::Miscounts`] where the platform does not single-step.
    pub fn install() -> Result<Self, TraceError> {
        if INSTALLED.swap(true, Acquire) {
            return Err(TraceError::Busy);
        }
        let stack = vec![0; STACK_BYTES].into_boxed_slice();
        stepping::set_stack(&stack);
        let mut tracer = Tracer { record: vec![0; LIMIT], stack, former: Former::default(), _thread: PhantomData };
        // From here on dropping it puts back what was replaced, also after an error.
        tracer.replace_stack()?;
        tracer.unblock()?;
        tracer.replace_action()?;
        tracer.check()?;
        Ok(tracer)
    }

    /// Traces `run(args, passes)`: its executed instructions from its first to its return.
    ///
    /// # Safety
    /// `run` can be called with these arguments on this thread, and it returns. It does not handle SIGTRAP itself.
    ///
    /// # Errors
    /// Where it executes more than [`LIMIT`] instructions, or steps were lost.
    pub unsafe fn trace(&mut self, run: Loop, args: &[u64; 4], passes: u64) -> Result<Vec<Step>, TraceError> {
        // SAFETY: installed by `install`; the rest is the caller's.
        let (ended, length, _) =
            unsafe { stepping::record(&mut self.record, State::Stepping, run, std::ptr::from_ref(args), passes) };
        let addresses = &self.record[..length];
        match ended {
            // SAFETY: executed just now.
            State::Done => unsafe { code::executed(addresses) },
            State::Full => Err(TraceError::TooLong { limit: LIMIT }),
            _ => Err(TraceError::Lost { after: addresses.last().copied().unwrap_or_default() }),
        }
    }

    /// Traces one pass and two, after one that is not traced (whatever is only done the first time is done in that one).
    ///
    /// # Safety
    /// As for [`Tracer::trace`].
    ///
    /// # Errors
    /// Those of [`Tracer::trace`], and [`TraceError::Unsteady`] where a pass is not as long as another.
    pub unsafe fn passes(&mut self, run: Loop, args: &[u64; 4]) -> Result<Passes, TraceError> {
        // SAFETY: the caller's contract.
        unsafe { run(args, 1) };
        // SAFETY: the caller's contract.
        let passes = unsafe { self.pair(run, args) }?;
        if passes.alike() {
            return Ok(passes);
        }
        // Other instructions in another pass: the count may be the same for all that.
        let first = passes.instructions();
        for shift in 1..=RECOUNTS {
            // Another number of passes in between each time: work that is done every few passes falls elsewhere.
            // SAFETY: the caller's contract.
            unsafe { run(args, shift) };
            // SAFETY: the caller's contract.
            let second = unsafe { self.pair(run, args) }?.instructions();
            if first != second || first <= 0 {
                return Err(TraceError::Unsteady { first, second });
            }
        }
        Ok(passes)
    }

    /// Instructions per op, with the loop's own share: an eighth of those of a pass.
    ///
    /// # Safety
    /// As for [`Tracer::trace`].
    ///
    /// # Errors
    /// Those of [`Tracer::passes`].
    pub unsafe fn per_op(&mut self, run: Loop, args: &[u64; 4]) -> Result<f64, TraceError> {
        // SAFETY: the caller's contract.
        unsafe { self.passes(run, args) }.map(|passes| passes.per_op())
    }

    /// # Safety
    /// As for [`Tracer::trace`].
    unsafe fn pair(&mut self, run: Loop, args: &[u64; 4]) -> Result<Passes, TraceError> {
        // SAFETY: the caller's contract.
        unsafe { Ok(Passes { one: self.trace(run, args, 1)?, two: self.trace(run, args, 2)? }) }
    }

    fn replace_stack(&mut self) -> Result<(), TraceError> {
        let stack = libc::stack_t { ss_sp: self.stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: self.stack.len() };
        let mut former = MaybeUninit::uninit();
        // SAFETY: the stack lives until `drop` has put back the former one.
        succeeded("sigaltstack", unsafe { libc::sigaltstack(&raw const stack, former.as_mut_ptr()) })?;
        // SAFETY: filled in by the successful call.
        self.former.stack = Some(unsafe { former.assume_init() });
        Ok(())
    }

    /// The kernel kills a process that is stepped while it blocks SIGTRAP (`force_sig_info_to_task`).
    fn unblock(&mut self) -> Result<(), TraceError> {
        let mut former = MaybeUninit::uninit();
        let set = signals(|set| {
            // SAFETY: an initialised set.
            unsafe { libc::sigaddset(set, libc::SIGTRAP) };
        });
        // SAFETY: both sets are there.
        let error = unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, former.as_mut_ptr()) };
        if error != 0 {
            return Err(TraceError::Refused { step: "pthread_sigmask", source: Error::from_raw_os_error(error) });
        }
        // SAFETY: filled in by the successful call.
        self.former.mask = Some(unsafe { former.assume_init() });
        Ok(())
    }

    fn replace_action(&mut self) -> Result<(), TraceError> {
        let trap = libc::SIGTRAP;
        // In the kernel's own form for the handler, which cannot use the C library.
        // SAFETY: asks for the action, of 32 bytes with a mask of 8.
        let refused =
            unsafe { stepping::system_call(libc::SYS_rt_sigaction, [trap as u64, 0, FORMER.as_ptr() as u64, 8]) };
        if refused != 0 {
            let source = Error::from_raw_os_error((refused as i64).wrapping_neg() as i32);
            return Err(TraceError::Refused { step: "rt_sigaction", source });
        }
        let action = libc::sigaction {
            sa_sigaction: on_trap as *const () as usize,
            // No other handler runs in the middle of this one.
            sa_mask: signals(|set| {
                // SAFETY: a set to fill.
                unsafe { libc::sigfillset(set) };
            }),
            sa_flags: libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART,
            sa_restorer: None,
        };
        let mut former = MaybeUninit::uninit();
        // SAFETY: the handler is async-signal-safe and leaves traps that are not ours to the former action.
        succeeded("sigaction", unsafe { libc::sigaction(trap, &raw const action, former.as_mut_ptr()) })?;
        // SAFETY: filled in by the successful call.
        self.former.action = Some(unsafe { former.assume_init() });
        Ok(())
    }

    /// Traces [`known`].
    fn check(&mut self) -> Result<(), TraceError> {
        // SAFETY: installed; `known` takes no arguments and changes caller-saved registers only.
        let (ended, found, seen) =
            unsafe { stepping::record(&mut self.record, State::Checking, known, std::ptr::null(), 1) };
        let miscounts = TraceError::Miscounts { expected: KNOWN, found };
        if ended != State::Done || found != KNOWN || seen != 0 {
            return Err(miscounts);
        }
        // SAFETY: executed just now.
        match unsafe { code::executed(&self.record[..found]) } {
            Ok(steps) if steps.len() == KNOWN => Ok(()),
            _ => Err(miscounts),
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // None of these can be refused: each was set by the same call before.
        // SAFETY: each is what the kernel gave for this thread and process.
        unsafe {
            if let Some(action) = &self.former.action {
                let _ = libc::sigaction(libc::SIGTRAP, action, std::ptr::null_mut());
            }
            if let Some(mask) = &self.former.mask {
                let _ = libc::pthread_sigmask(libc::SIG_SETMASK, mask, std::ptr::null_mut());
            }
            if let Some(stack) = &self.former.stack {
                let _ = libc::sigaltstack(stack, std::ptr::null_mut());
            }
        }
        stepping::set_stack(&[]);
        INSTALLED.store(false, Release);
    }
}

/// A set of signals, empty but for what `fill` does.
fn signals(fill: impl FnOnce(*mut libc::sigset_t)) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: makes it an empty set, so it is initialised.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        fill(set.as_mut_ptr());
        set.assume_init()
    }
}

fn succeeded(step: &'static str, result: i32) -> Result<(), TraceError> {
    if result == 0 { Ok(()) } else { Err(TraceError::Refused { step, source: Error::last_os_error() }) }
}
