//! Errors of recordings: making one, and reading one.

use std::io;
use std::path::PathBuf;

use crate::linux::count::CountError;

/// Why a kernel could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The plugin interface of this emulator is unknown.
    #[error(
        "QEMU {version} has a plugin interface that this program does not know; install QEMU {} to {}",
        super::plugin::FIRST,
        super::plugin::LAST
    )]
    Interface {
        /// The version of the emulator.
        version: String,
    },
    /// The emulator was built without plugins.
    #[error(
        "QEMU {version} accepts no plugins: {said}; install a QEMU that is built with --enable-plugins, as those of \
         distributions are"
    )]
    NoPlugins {
        /// The version of the emulator.
        version: String,
        /// Its message.
        said: String,
    },
    /// The emulator refused the plugin.
    #[error(
        "QEMU {version} did not load the recorder: {said}; install QEMU {} to {}",
        super::plugin::FIRST,
        super::plugin::LAST
    )]
    Refused {
        /// The version of the emulator.
        version: String,
        /// Its message.
        said: String,
    },
    /// The entries of interrupts are not where they are expected.
    #[error(
        "{}: {what}; interrupts cannot be told from the work of the kernel; name a kernel of Linux 5.16 or later",
        path.display()
    )]
    Entries {
        /// The kernel.
        path: PathBuf,
        /// What was not found.
        what: &'static str,
    },
    /// The recorder's own output is incomplete.
    #[error("the recorder wrote a malformed trace: {what}; run the command again, with space in TMPDIR for 1 GB")]
    Trace {
        /// The fault.
        what: String,
    },
    /// The kernel cannot be compared with its own counters.
    #[error("{0}; record it without --check")]
    NoCounters(#[from] CountError),
    /// A boot with counters disagrees with the recorder.
    #[error(
        "{workload}: the recorder and the kernel's own counters disagree on {what}: {recorded} and {counted}; report \
         this with the version of QEMU"
    )]
    Check {
        /// The workload.
        workload: String,
        /// What was counted.
        what: String,
        /// By the recorder.
        recorded: u64,
        /// By the kernel or the guest.
        counted: u64,
    },
    /// A recording is larger than the bound.
    #[error(
        "{workload}: the recording has {bytes} bytes, and is larger than the bound of {} bytes or of 33 million \
         instructions; record fewer --units",
        super::MAX_FILE_BYTES
    )]
    TooLarge {
        /// The workload.
        workload: String,
        /// Its size.
        bytes: usize,
    },
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A folder has no recordings.
    #[error("{} has no recordings (*.{}); make some with `pvbench linux record`", path.display(), super::EXTENSION)]
    None {
        /// The folder.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{}: not a recording; name a file that `pvbench linux record` wrote", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The format has another version.
    #[error(
        "{}: the recording has format {found}, and this program reads {}; use the pvbench that wrote it, or record \
         again",
        path.display(), super::recording::VERSION
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The file is cut short or damaged.
    #[error("{}: the recording is damaged: {what}; copy it again, or record again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The fault.
        what: String,
    },
}
