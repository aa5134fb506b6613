//! The tracer by single steps: the hardware reports every executed instruction, with a signal each. It copies and
//! emulates nothing, so it is the reference for the library's tracer.

use std::io::Error;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use pvbench::measure::trace::{KNOWN_INSTRUCTIONS, Step, Trace, TraceError, known_code};
use pvbench::regime::Loop;

use crate::decode::decode_executed;
use crate::stepping::{self, FORMER, StepState, on_trap};

/// Steps of one trace at most: some seconds of signals. A unit of a kernel takes half of them.
const MAX_STEPS: usize = 1 << 20;

/// Bytes of the handler's stack. The kernel stores all registers there; those of AVX-512 and AMX take up to 11 KiB
/// (`AT_MINSIGSTKSZ`).
const STACK_BYTES: usize = 64 << 10;

/// Whether this process has a [`Stepper`]; a signal's handler belongs to the whole process.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Why single steps failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The kernel refused a system call of the set-up.
    #[error("cannot single-step: {step} was refused ({source})")]
    Refused {
        /// The system call.
        step: &'static str,
        /// The kernel's error.
        source: Error,
    },
    /// The steps stopped before the loop returned.
    #[error(
        "the steps stopped after {after:#x}, before the loop returned; the loop must neither handle SIGTRAP nor wait"
    )]
    Lost {
        /// Address of the last instruction that was seen.
        after: u64,
    },
    /// A step between two instructions was lost.
    #[error("a step was lost: {next:#x} was executed after {after:#x}, which does not lead there")]
    Gap {
        /// Address of the last instruction before the gap.
        after: u64,
        /// Address of the first instruction after it.
        next: u64,
    },
}

impl From<StepError> for TraceError {
    fn from(error: StepError) -> Self {
        TraceError::Other(Box::new(error))
    }
}

/// SIGTRAP's handler, its stack, and memory for a trace. There is one per process at a time, and it traces the thread
/// that made it.
///
/// Breakpoints still work: the handler passes their traps on. Dropping the stepper restores the former handler, signal
/// mask and alternate stack.
pub struct Stepper {
    record: Vec<u64>,
    /// The handler's stack; `drop` takes it back from the kernel before it is freed.
    stack: Box<[u8]>,
    /// The former settings, as far as they were replaced.
    former: Former,
    /// Not `Send`, because alternate stacks belong to threads.
    _thread: PhantomData<*mut ()>,
}

/// The settings to restore.
#[derive(Default)]
struct Former {
    stack: Option<libc::stack_t>,
    mask: Option<libc::sigset_t>,
    action: Option<libc::sigaction>,
}

impl Stepper {
    /// Installs the handler and traces code with a known count.
    ///
    /// # Errors
    /// [`TraceError::Busy`] if this process has a stepper, [`TraceError::Miscounts`] if the platform does not
    /// single-step correctly.
    pub fn install() -> Result<Self, TraceError> {
        if INSTALLED.swap(true, Acquire) {
            return Err(TraceError::Busy);
        }
        let stack = vec![0; STACK_BYTES].into_boxed_slice();
        stepping::set_stack(&stack);
        let mut stepper =
            Stepper { record: vec![0; MAX_STEPS], stack, former: Former::default(), _thread: PhantomData };
        // From here on `drop` restores what was replaced, also after an error.
        stepper.replace_stack()?;
        stepper.unblock()?;
        stepper.replace_action()?;
        stepper.check()?;
        Ok(stepper)
    }

    fn replace_stack(&mut self) -> Result<(), TraceError> {
        let stack = libc::stack_t { ss_sp: self.stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: self.stack.len() };
        let mut former = MaybeUninit::uninit();
        // SAFETY: `sigaltstack` needs a stack that stays alive: `drop` restores the former one before it frees this
        // one.
        check_result("sigaltstack", unsafe { libc::sigaltstack(&raw const stack, former.as_mut_ptr()) })?;
        // SAFETY: `assume_init` needs an initialised value: the call above succeeded, so it filled it in.
        self.former.stack = Some(unsafe { former.assume_init() });
        Ok(())
    }

    /// Unblocks SIGTRAP: the kernel kills a process that is stepped while it blocks the signal
    /// (`force_sig_info_to_task`).
    fn unblock(&mut self) -> Result<(), TraceError> {
        let mut former = MaybeUninit::uninit();
        let set = make_signal_set(|set| {
            // SAFETY: `sigaddset` needs an initialised set, and `make_signal_set` passes one.
            unsafe { libc::sigaddset(set, libc::SIGTRAP) };
        });
        // SAFETY: `pthread_sigmask` reads one set and writes the other; both are valid for the call.
        let error = unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, former.as_mut_ptr()) };
        if error != 0 {
            return Err(StepError::Refused { step: "pthread_sigmask", source: Error::from_raw_os_error(error) }.into());
        }
        // SAFETY: `assume_init` needs an initialised value: the call above succeeded, so it filled it in.
        self.former.mask = Some(unsafe { former.assume_init() });
        Ok(())
    }

    fn replace_action(&mut self) -> Result<(), TraceError> {
        let trap = libc::SIGTRAP;
        // The kernel's own form of the action, for the handler, which cannot use the C library.
        // SAFETY: `rt_sigaction` writes the former action, 32 bytes with a mask of 8, and `FORMER` has that size.
        let refused =
            unsafe { stepping::system_call(libc::SYS_rt_sigaction, [trap as u64, 0, FORMER.as_ptr() as u64, 8]) };
        if refused != 0 {
            let source = Error::from_raw_os_error((refused as i64).wrapping_neg() as i32);
            return Err(StepError::Refused { step: "rt_sigaction", source }.into());
        }
        let action = libc::sigaction {
            sa_sigaction: on_trap as *const () as usize,
            // No other handler interrupts this one.
            sa_mask: make_signal_set(|set| {
                // SAFETY: `sigfillset` needs a set to write, and `signals` passes one.
                unsafe { libc::sigfillset(set) };
            }),
            sa_flags: libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART,
            sa_restorer: None,
        };
        let mut former = MaybeUninit::uninit();
        // SAFETY: the handler must be async-signal-safe, and `on_trap` is. It passes traps that are not steps on to the
        // former action.
        check_result("sigaction", unsafe { libc::sigaction(trap, &raw const action, former.as_mut_ptr()) })?;
        // SAFETY: `assume_init` needs an initialised value: the call above succeeded, so it filled it in.
        self.former.action = Some(unsafe { former.assume_init() });
        Ok(())
    }

    /// Traces [`known_code`] and checks the count.
    fn check(&mut self) -> Result<(), TraceError> {
        // SAFETY: `record` needs the installed handler, which `install` set up, and a loop that can be called with
        // these arguments: `known_code` reads none and changes caller-saved registers only.
        let (ended, found, seen) =
            unsafe { stepping::record(&mut self.record, StepState::Checking, known_code, std::ptr::null(), 1) };
        let miscounts = TraceError::Miscounts { expected: KNOWN_INSTRUCTIONS, found };
        if ended != StepState::Done || found != KNOWN_INSTRUCTIONS || seen != 0 {
            return Err(miscounts);
        }
        // SAFETY: `decode_executed` needs addresses of executed, mapped instructions, and these were executed just now.
        match unsafe { decode_executed(&self.record[..found]) } {
            Ok(steps) if steps.len() == KNOWN_INSTRUCTIONS => Ok(()),
            _ => Err(miscounts),
        }
    }
}

impl Trace for Stepper {
    unsafe fn trace(&mut self, run: Loop, args: &[u64; 4], passes: u64) -> Result<Vec<Step>, TraceError> {
        // SAFETY: `record` needs the installed handler, which `install` set up, and a loop that can be called with
        // these arguments, which the caller guarantees.
        let (ended, length, _) =
            unsafe { stepping::record(&mut self.record, StepState::Stepping, run, std::ptr::from_ref(args), passes) };
        let addresses = &self.record[..length];
        match ended {
            // SAFETY: `decode_executed` needs addresses of executed, mapped instructions, and these were executed just
            // now.
            StepState::Done => unsafe { decode_executed(addresses) },
            StepState::Full => Err(TraceError::TooLong { limit: MAX_STEPS }),
            _ => Err(StepError::Lost { after: addresses.last().copied().unwrap_or_default() }.into()),
        }
    }
}

impl Drop for Stepper {
    fn drop(&mut self) {
        // The kernel refuses none of these, because each was set by the same call before.
        // SAFETY: each value is one that the kernel gave for this thread and process, so restoring it is valid.
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

/// A set of signals that is empty except for what `fill` adds.
fn make_signal_set(fill: impl FnOnce(*mut libc::sigset_t)) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `assume_init` needs an initialised set, and `sigemptyset` initialises it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        fill(set.as_mut_ptr());
        set.assume_init()
    }
}

fn check_result(step: &'static str, result: i32) -> Result<(), TraceError> {
    if result == 0 { Ok(()) } else { Err(StepError::Refused { step, source: Error::last_os_error() }.into()) }
}
