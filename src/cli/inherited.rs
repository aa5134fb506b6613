//! What a process inherits from whoever starts it, and what of that holds: dispositions of signals, the mask of blocked
//! ones and limits outlive `execve`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGBUS, SIGCHLD, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGSEGV, SIGTERM, SIGTRAP, SIGXFSZ};

use super::error::CliError;

/// What asks a run to end: Ctrl-C, a supervisor, a lost connection.
const STOP: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Signals that are wanted here: what stops a run, and what instructions raise. The kernel kills a process that is
/// stepped while it blocks SIGTRAP.
const WANTED: [i32; 9] = [SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE];

/// Bytes of stack that this process and its workers may take, which is what Linux gives to any. At a quarter of a
/// mebibyte both do; with an eighth workers die, with a sixteenth the parent.
const MIN_STACK: u64 = 8 << 20;

/// Puts right what a measurement relies on. To be called before anything is started.
pub fn settle() {
    let mut stack = getrlimit(Resource::Stack);
    if stack.current.is_some_and(|bytes| bytes < MIN_STACK) {
        stack.current = Some(stack.maximum.map_or(MIN_STACK, |most| most.min(MIN_STACK)));
        // Up to the hard limit it is allowed. Where it is refused all the same, less may do.
        let _ = setrlimit(Resource::Stack, stack);
    }
    // Some supervisors and init programs leave SIGCHLD ignored. Then the kernel forgets children as they end, and
    // waiting for one fails.
    // SAFETY: SIG_DFL runs no code of ours.
    unsafe { libc::signal(SIGCHLD, libc::SIG_DFL) };
    // A write past a limit on file sizes (`ulimit -f`) becomes an error that names the file instead of a sudden death.
    // SAFETY: SIG_IGN runs no code of ours; nothing else in this process handles SIGXFSZ.
    unsafe { libc::signal(SIGXFSZ, libc::SIG_IGN) };
    let mut wanted = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset makes a set of what it points to; the calls after it read and write that set, and signals of
    // this list exist. The calls fail for no other reason.
    unsafe {
        libc::sigemptyset(wanted.as_mut_ptr());
        for signal in WANTED {
            libc::sigaddset(wanted.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, wanted.as_ptr(), std::ptr::null_mut());
    }
}

/// Set once somebody wants this process to end. A signal that is ignored at the start, as `nohup` and a shell's `&`
/// have it, stays ignored.
///
/// # Errors
/// Where a signal cannot be handled.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>, CliError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in STOP.into_iter().filter(|signal| !is_ignored(*signal)) {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(CliError::Output)?;
    }
    Ok(stop)
}

fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes the present one to where it points; a zeroed action is a valid
    // one.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
