//! The recordings that ship with the program: Debian's cloud kernel 6.1.

use std::path::Path;

use super::RecordingError;
use super::recording::Recording;

/// The files, in the order of [`super::window::WINDOWS`].
const FILES: [(&str, &[u8]); 11] = [
    ("getppid.pvrec", include_bytes!("debian-6.1/getppid.pvrec")),
    ("mmap_perf.pvrec", include_bytes!("debian-6.1/mmap_perf.pvrec")),
    ("fault.pvrec", include_bytes!("debian-6.1/fault.pvrec")),
    ("mprotect.pvrec", include_bytes!("debian-6.1/mprotect.pvrec")),
    ("fork_exit.pvrec", include_bytes!("debian-6.1/fork_exit.pvrec")),
    ("fork_exec.pvrec", include_bytes!("debian-6.1/fork_exec.pvrec")),
    ("ping_pong.pvrec", include_bytes!("debian-6.1/ping_pong.pvrec")),
    ("open_close.pvrec", include_bytes!("debian-6.1/open_close.pvrec")),
    ("sched_yield.pvrec", include_bytes!("debian-6.1/sched_yield.pvrec")),
    ("futex.pvrec", include_bytes!("debian-6.1/futex.pvrec")),
    ("signal.pvrec", include_bytes!("debian-6.1/signal.pvrec")),
];

/// Reads them all.
///
/// # Errors
/// If one is of another version, which a test rules out.
pub fn read() -> Result<Vec<Recording>, RecordingError> {
    FILES.iter().map(|(name, bytes)| Recording::of(Path::new(name), bytes)).collect()
}
