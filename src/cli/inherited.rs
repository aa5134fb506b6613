//! State that a process inherits across `execve` and that a measurement depends on: signal dispositions, the mask of
//! blocked signals, and resource limits.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGBUS, SIGCHLD, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGSEGV, SIGTERM, SIGTRAP, SIGXFSZ};

use super::error::CliError;

/// Signals that end a run: Ctrl-C, a supervisor, a lost connection.
const STOP_SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Signals that must not be blocked: those that end a run, SIGCHLD, and those that instructions raise. The kernel kills
/// a process that is stepped while it blocks SIGTRAP.
const UNBLOCKED_SIGNALS: [i32; 9] = [SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE];

/// Smallest soft limit on the stack of this process and its workers, in bytes: the default of Linux. 1/4 MiB is enough
/// for both; with 1/8 MiB workers die, with 1/16 MiB the parent.
const MIN_STACK_BYTES: u64 = 8 << 20;

/// Resets inherited state that a measurement depends on. Must be called before anything is started.
pub(crate) fn reset() {
    let mut stack = getrlimit(Resource::Stack);
    if stack.current.is_some_and(|bytes| bytes < MIN_STACK_BYTES) {
        stack.current = Some(stack.maximum.map_or(MIN_STACK_BYTES, |most| most.min(MIN_STACK_BYTES)));
        // Raising up to the hard limit is allowed. If it fails nevertheless, the smaller stack may be enough.
        let _ = setrlimit(Resource::Stack, stack);
    }
    // Some supervisors and init programs leave SIGCHLD ignored. The kernel then reaps children as they end, and waiting
    // for one fails.
    // SAFETY: SIG_DFL runs no code of ours.
    unsafe { libc::signal(SIGCHLD, libc::SIG_DFL) };
    // A write past a limit on file sizes (`ulimit -f`) becomes an error that names the file instead of a sudden death.
    // SAFETY: SIG_IGN runs no code of ours; nothing else in this process handles SIGXFSZ.
    unsafe { libc::signal(SIGXFSZ, libc::SIG_IGN) };
    let mut unblocked = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set; the later calls read and write that set. All signals of the list exist,
    // and the calls can fail for no other reason.
    unsafe {
        libc::sigemptyset(unblocked.as_mut_ptr());
        for signal in UNBLOCKED_SIGNALS {
            libc::sigaddset(unblocked.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, unblocked.as_ptr(), std::ptr::null_mut());
    }
}

/// Returns a flag that a signal to end this process sets. A signal that is ignored at the start, as by `nohup` or a
/// shell's `&`, stays ignored.
///
/// # Errors
/// A handler cannot be installed.
pub(crate) fn stop_on_signals() -> Result<Arc<AtomicBool>, CliError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in STOP_SIGNALS.into_iter().filter(|signal| !is_ignored(*signal)) {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(CliError::Output)?;
    }
    Ok(stop)
}

fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes the present one through its pointer, and a zeroed action is
    // valid.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
