//! Failures of the emulator, and of the guest in it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{MAX_OUTPUT_BYTES, MEMORY_MB, MIN_VERSION, PROGRAM};
use crate::linux::output::OutputError;

/// Why a boot has no results.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// The emulator is missing.
    #[error(
        "{PROGRAM} is not on the PATH; run `apt-get install qemu-system-x86`, or install your distribution's package \
         of QEMU"
    )]
    Missing,
    /// The emulator cannot be run.
    #[error("{} cannot be run: {source}; reinstall QEMU (package qemu-system-x86)", path.display())]
    Run {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The program is not QEMU.
    #[error(
        "{} is not QEMU: `--version` printed '{said}' ({status}); put QEMU's {PROGRAM} first on the PATH",
        path.display()
    )]
    NotQemu {
        /// The file.
        path: PathBuf,
        /// Its output.
        said: String,
        /// Its ending.
        status: String,
    },
    /// The version is too old.
    #[error(
        "{} is QEMU {}.{}, which is too old; install {}.{} or later, which counts instructions without sleeping \
         (-icount sleep=off with -accel tcg,thread=single) and starts unpacked kernels (PVH, 4.0)",
        path.display(), version.0, version.1, MIN_VERSION.0, MIN_VERSION.1
    )]
    TooOld {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: (u32, u32),
    },
    /// A file of the boot cannot be read or written.
    #[error("{} cannot be read or written: {source}; set TMPDIR to another folder", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// QEMU refused the kernel.
    #[error("{kernel}: QEMU did not start it ({status}): {said}")]
    Refused {
        /// Name of the kernel.
        kernel: String,
        /// Its ending.
        status: String,
        /// Its output.
        said: String,
    },
    /// The guest did not end in time.
    #[error(
        "{kernel}: the guest did not end within {} s; the last line of its console is '{last}', and the console is \
         kept in {}; raise --timeout if it was still at work",
        after.as_secs(), console.display()
    )]
    Hung {
        /// Name of the kernel.
        kernel: String,
        /// The time limit.
        after: Duration,
        /// The last line of the console.
        last: String,
        /// The console.
        console: PathBuf,
    },
    /// The kernel panicked.
    #[error("{kernel}: the kernel panicked: {message}; the console is kept in {}", console.display())]
    Panic {
        /// Name of the kernel.
        kernel: String,
        /// The message on the console.
        message: String,
        /// The console.
        console: PathBuf,
    },
    /// The guest has too little memory.
    #[error(
        "{kernel}: the guest ran out of its {MEMORY_MB} MB of memory: {message}; the console is kept in {}; name a \
         kernel without debugging options, which need more memory",
        console.display()
    )]
    Memory {
        /// Name of the kernel.
        kernel: String,
        /// The message on the console.
        message: String,
        /// The console.
        console: PathBuf,
    },
    /// The guest ended before its results were complete.
    #[error(
        "{kernel}: the guest ended early ({status}); the last line of its console is '{last}', and the console is kept \
         in {}",
        console.display()
    )]
    Ended {
        /// Name of the kernel.
        kernel: String,
        /// Its ending.
        status: String,
        /// The last line of the console.
        last: String,
        /// The console.
        console: PathBuf,
    },
    /// The run was interrupted, and with it the boot.
    #[error("{kernel}: interrupted")]
    Interrupted {
        /// Name of the kernel.
        kernel: String,
    },
    /// The output is above the bound.
    #[error(
        "{kernel}: the guest wrote more than {MAX_OUTPUT_BYTES} bytes and was stopped; its output is kept in {}",
        file.display()
    )]
    Flood {
        /// Name of the kernel.
        kernel: String,
        /// The file with the output.
        file: PathBuf,
    },
    /// The results are malformed.
    #[error("{kernel}: {source}; the results are kept in {}, with the console in the same folder", file.display())]
    Output {
        /// Name of the kernel.
        kernel: String,
        /// The fault.
        source: OutputError,
        /// The file with the results.
        file: PathBuf,
    },
}
