//! Errors of the subcommand `linux`.

use std::io;
use std::path::PathBuf;

use super::elf::ElfError;
use super::find::FindError;
use super::guest::GuestError;
use super::hooks::HooksError;
use super::image::ImageError;
use super::native::NativeError;
use super::qemu::QemuError;
use super::record::{RecordError, RecordingError};
use super::unpatch::UnpatchError;

/// Why kernels could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum LinuxError {
    /// No kernel was found.
    #[error(transparent)]
    Find(#[from] FindError),
    /// A file is not a usable kernel.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// An ELF file is damaged or incomplete.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// Call sites of pv_ops are missing or in an unknown form.
    #[error(transparent)]
    Hooks(#[from] HooksError),
    /// The variant cannot be made.
    #[error(transparent)]
    Unpatch(#[from] UnpatchError),
    /// The init process cannot be built.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The emulator, or the guest in it, failed.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// A kernel could not be recorded.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A recording cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The running kernel could not be measured.
    #[error(transparent)]
    Native(#[from] NativeError),
    /// A temporary file cannot be written.
    #[error("{} cannot be written: {source}; set TMPDIR to another folder", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Kernels that cannot all be started in the same way.
    #[error(
        "{bz} has no PVH entry and starts only as a bzImage; {elf} is a vmlinux. The two ways of starting differ by \
         0.1%, so these kernels are not compared; name the bzImage of both"
    )]
    Mixed {
        /// A bzImage without PVH.
        bz: String,
        /// A vmlinux.
        elf: String,
    },
    /// The run was interrupted.
    #[error("interrupted; nothing was written")]
    Interrupted,
}

impl LinuxError {
    /// Whether the input is at fault (exit code 2), not the measurement (exit code 4).
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            LinuxError::Find(error) => error.is_usage(),
            LinuxError::Image(_)
            | LinuxError::Elf(_)
            | LinuxError::Hooks(_)
            | LinuxError::Unpatch(_)
            | LinuxError::Recording(_)
            | LinuxError::Record(RecordError::Entries { .. } | RecordError::TooLarge { .. })
            | LinuxError::Mixed { .. } => true,
            LinuxError::Guest(_)
            | LinuxError::Qemu(_)
            | LinuxError::Record(_)
            | LinuxError::Native(_)
            | LinuxError::File { .. }
            | LinuxError::Interrupted => false,
        }
    }
}
