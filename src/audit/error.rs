//! Why a file cannot be audited.

use std::io;
use std::path::PathBuf;

use crate::linux::image::ImageError;
use crate::linux::payload::PayloadError;

/// Why a file cannot be audited.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is larger than the bound.
    #[error(
        "{}: more than {max} bytes; audit its parts, for example the object files it was linked from",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound, in bytes.
        max: u64,
    },
    /// The file has another format.
    #[error("{path}: {what}; name an x86-64 ELF file (program, library, object file, module) or a kernel")]
    Foreign {
        /// The file, or the member of an archive.
        path: String,
        /// What it is, as far as its first bytes tell.
        what: String,
    },
    /// The file is packed.
    #[error("{path}: packed by UPX, so its code is not in the file; unpack it with `upx -d` and name the result")]
    Packed {
        /// The file.
        path: String,
    },
    /// The file is an ELF file that cannot be read.
    #[error("{path}: the ELF file is damaged: {what}; build or copy it again")]
    Damaged {
        /// The file, or the member of an archive.
        path: String,
        /// The finding.
        what: String,
    },
    /// The file has no machine code.
    #[error("{path}: no executable section; name the program itself, not its debug information")]
    NoCode {
        /// The file, or the member of an archive.
        path: String,
    },
    /// The archive has no object file for x86-64.
    #[error("{path}: none of its {members} members is an x86-64 object file; name another archive")]
    NoMembers {
        /// The archive.
        path: String,
        /// The number of its members.
        members: usize,
    },
    /// The kernel image cannot be unpacked.
    #[error(transparent)]
    Kernel(#[from] ImageError),
    /// A packed module cannot be unpacked.
    #[error("{}: {source}", path.display())]
    Module {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: PayloadError,
    },
}
