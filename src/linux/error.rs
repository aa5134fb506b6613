//! Everything that can go wrong with kernels.

use std::io;
use std::path::PathBuf;

use super::elf::ElfError;
use super::find::FindError;
use super::guest::GuestError;
use super::hooks::HooksError;
use super::image::ImageError;
use super::qemu::QemuError;
use super::unpatch::UnpatchError;

/// Why kernels could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum LinuxError {
    /// None is to be had.
    #[error(transparent)]
    Find(#[from] FindError),
    /// A file is no kernel.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// An ELF file does not do.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// Its call sites are not known.
    #[error(transparent)]
    Hooks(#[from] HooksError),
    /// It cannot be unpatched.
    #[error(transparent)]
    Unpatch(#[from] UnpatchError),
    /// The init process.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The emulator, or what ran in it.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// A file that is needed meanwhile.
    #[error("{}: {source}; TMPDIR names another folder", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Kernels that cannot all be started in one way.
    #[error(
        "{bz} has no PVH entry and starts as a bzImage only, {elf} is a vmlinux: the two ways differ by 0.1% themselves, so \
         that they are not compared; name the bzImage of both"
    )]
    Mixed {
        /// A bzImage without PVH.
        bz: String,
        /// A vmlinux.
        elf: String,
    },
    /// Interrupted.
    #[error("interrupted; nothing was written")]
    Interrupted,
}

impl LinuxError {
    /// Whether what was named is at fault, and not what happened with it.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            LinuxError::Find(error) => error.is_usage(),
            LinuxError::Image(_)
            | LinuxError::Elf(_)
            | LinuxError::Hooks(_)
            | LinuxError::Unpatch(_)
            | LinuxError::Mixed { .. } => true,
            LinuxError::Guest(_) | LinuxError::Qemu(_) | LinuxError::File { .. } | LinuxError::Interrupted => false,
        }
    }
}
