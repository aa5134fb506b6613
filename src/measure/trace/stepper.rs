//! Tracing by single steps: the hardware's own account of what is executed, a signal per instruction.

use std::io::Error;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use super::known::{KNOWN, known};
use super::stepping::{self, FORMER, StepState, on_trap};
use super::{Step, Trace, TraceError, code};
use crate::regime::Loop;

/// Most steps of one trace: half a second of signals, or less.
const STEPS: usize = 1 << 16;

/// Bytes of the handler's stack. The kernel stores all registers there, of which AVX-512 and AMX have up to 11 KiB
/// (`AT_MINSIGSTKSZ`).
const STACK_BYTES: usize = 64 << 10;

/// Whether there is a [`Stepper`] in this process: the handler of a signal belongs to all of it.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// SIGTRAP's handler, its stack, and room for a trace. One per process at a time; it traces the thread that made it.
///
/// While it is there a breakpoint still does what it did before: the trap is handed on. Dropping it puts back the
/// former handler, signal mask and alternate stack.
pub struct Stepper {
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

impl Stepper {
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
        let mut stepper = Stepper { record: vec![0; STEPS], stack, former: Former::default(), _thread: PhantomData };
        // From here on dropping it puts back what was replaced, also after an error.
        stepper.replace_stack()?;
        stepper.unblock()?;
        stepper.replace_action()?;
        stepper.check()?;
        Ok(stepper)
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
            unsafe { stepping::record(&mut self.record, StepState::Checking, known, std::ptr::null(), 1) };
        let miscounts = TraceError::Miscounts { expected: KNOWN, found };
        if ended != StepState::Done || found != KNOWN || seen != 0 {
            return Err(miscounts);
        }
        // SAFETY: executed just now.
        match unsafe { code::executed(&self.record[..found]) } {
            Ok(steps) if steps.len() == KNOWN => Ok(()),
            _ => Err(miscounts),
        }
    }
}

impl Trace for Stepper {
    unsafe fn trace(&mut self, run: Loop, args: &[u64; 4], passes: u64) -> Result<Vec<Step>, TraceError> {
        // SAFETY: installed by `install`; the rest is the caller's.
        let (ended, length, _) =
            unsafe { stepping::record(&mut self.record, StepState::Stepping, run, std::ptr::from_ref(args), passes) };
        let addresses = &self.record[..length];
        match ended {
            // SAFETY: executed just now.
            StepState::Done => unsafe { code::executed(addresses) },
            StepState::Full => Err(TraceError::TooLong { limit: STEPS }),
            _ => Err(TraceError::Lost { after: addresses.last().copied().unwrap_or_default() }),
        }
    }
}

impl Drop for Stepper {
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
