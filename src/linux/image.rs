//! Kernel files: their kind, and the ELF file inside.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::payload::{self, PayloadError};

/// Bound on the size of a kernel file, in bytes. Kernels of distributions have 10 to 20 MB, an unstripped vmlinux some
/// hundreds.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// The kind of a kernel file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageKind {
    /// `vmlinuz`: real-mode header, loader and compressed payload.
    BzImage,
    /// The ELF file itself.
    Vmlinux,
}

impl ImageKind {
    /// Name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ImageKind::BzImage => "bzImage",
            ImageKind::Vmlinux => "vmlinux",
        }
    }
}

/// Why a file is not a usable kernel.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file cannot be read.
    #[error(
        "{} cannot be read: {source}; distributions keep kernels as /boot/vmlinuz-* or /usr/lib/modules/*/vmlinuz",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is larger than any kernel.
    #[error("{}: {bytes} bytes are more than the bound of {MAX_FILE_BYTES}; name a vmlinuz or vmlinux", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
    },
    /// The file has no known format.
    #[error("{}: neither a bzImage nor an ELF file: it begins with {seen}; name a vmlinuz or vmlinux", path.display())]
    NotAKernel {
        /// The file.
        path: PathBuf,
        /// The first bytes, in hexadecimal.
        seen: String,
    },
    /// The kernel is for another machine.
    #[error(
        "{}: a kernel for {machine}; pv_ops and this emulation are for x86-64; name an x86-64 kernel",
        path.display()
    )]
    OtherMachine {
        /// The file.
        path: PathBuf,
        /// The machine.
        machine: String,
    },
    /// The file is shorter than its header says.
    #[error(
        "{}: cut short: {what} needs {needed} bytes, the file has {has}; copy or download it again",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The missing part.
        what: &'static str,
        /// Size up to the end of that part, in bytes.
        needed: u64,
        /// Size of the file, in bytes.
        has: u64,
    },
    /// The boot protocol is older than Linux 2.6.26.
    #[error(
        "{}: boot protocol {}.{:02} does not name the offset of the payload; name a kernel with protocol 2.08 or later \
         (Linux 2.6.26)",
        path.display(), version >> 8, version & 0xff
    )]
    OldProtocol {
        /// The file.
        path: PathBuf,
        /// The version field of the header.
        version: u16,
    },
    /// The payload cannot be unpacked.
    #[error("{}: {source}", path.display())]
    Payload {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: PayloadError,
    },
}

/// A kernel file.
#[derive(Clone, Debug)]
pub struct Image {
    /// Path of the file.
    pub path: PathBuf,
    /// Its kind.
    pub kind: ImageKind,
    /// All bytes of the file.
    pub bytes: Vec<u8>,
}

/// Magic of the setup header (Documentation/arch/x86/boot.rst).
const HEADER: &[u8] = b"HdrS";
/// Offsets of its fields.
const HEADER_AT: usize = 0x202;
const VERSION_AT: usize = 0x206;
const SETUP_SECTORS_AT: usize = 0x1f1;
const PAYLOAD_OFFSET_AT: usize = 0x248;
const PAYLOAD_LENGTH_AT: usize = 0x24c;
/// End of a header with these fields.
const HEADER_END: usize = 0x250;
/// The first version with `payload_offset`.
const FIRST_WITH_PAYLOAD: u16 = 0x0208;
const ELF: &[u8] = b"\x7fELF";
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;

impl Image {
    /// Reads a file and detects its kind.
    ///
    /// # Errors
    /// If it cannot be read or is not an x86-64 kernel.
    pub fn read(path: &Path) -> Result<Image, ImageError> {
        let failed = |source| ImageError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        if size > MAX_FILE_BYTES {
            return Err(ImageError::TooLarge { path: path.to_owned(), bytes: size });
        }
        let mut bytes = Vec::new();
        file.by_ref().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(ImageError::TooLarge { path: path.to_owned(), bytes: bytes.len() as u64 });
        }
        Image::of(path, bytes)
    }

    /// Detects the kind of these bytes.
    ///
    /// # Errors
    /// If they are not an x86-64 kernel.
    pub fn of(path: &Path, bytes: Vec<u8>) -> Result<Image, ImageError> {
        let kind = detect_kind(path, &bytes)?;
        Ok(Image { path: path.to_owned(), kind, bytes })
    }

    /// The ELF file: the file itself, or its unpacked payload.
    ///
    /// # Errors
    /// If the payload has an unsupported compression, is damaged or cut short.
    pub fn vmlinux(&self) -> Result<Vec<u8>, ImageError> {
        if self.kind == ImageKind::Vmlinux {
            return Ok(self.bytes.clone());
        }
        let path = || self.path.clone();
        let version = read_u16(&self.bytes, VERSION_AT).unwrap_or(0);
        if version < FIRST_WITH_PAYLOAD {
            return Err(ImageError::OldProtocol { path: path(), version });
        }
        let setup = match self.bytes.get(SETUP_SECTORS_AT) {
            // In the boot protocol, 0 stands for 4.
            None | Some(0) => 4,
            Some(sectors) => u64::from(*sectors),
        };
        let offset = u64::from(read_u32(&self.bytes, PAYLOAD_OFFSET_AT).unwrap_or(0));
        let length = u64::from(read_u32(&self.bytes, PAYLOAD_LENGTH_AT).unwrap_or(0));
        let start = (setup + 1) * 512 + offset;
        let (needed, has) = (start + length, self.bytes.len() as u64);
        let payload = self.bytes.get(start as usize..needed as usize).ok_or_else(|| ImageError::Truncated {
            path: path(),
            what: "the packed kernel",
            needed,
            has,
        })?;
        let vmlinux = payload::unpack(payload).map_err(|source| ImageError::Payload { path: path(), source })?;
        match read_machine(&vmlinux) {
            Some(EM_X86_64) => Ok(vmlinux),
            Some(other) => Err(ImageError::OtherMachine { path: path(), machine: machine_name(other) }),
            None => {
                Err(ImageError::Payload { path: path(), source: PayloadError::NotElf { seen: first_bytes(&vmlinux) } })
            }
        }
    }
}

fn detect_kind(path: &Path, bytes: &[u8]) -> Result<ImageKind, ImageError> {
    let other = |machine: String| ImageError::OtherMachine { path: path.to_owned(), machine };
    if bytes.starts_with(ELF) {
        return match read_machine(bytes) {
            Some(EM_X86_64) => Ok(ImageKind::Vmlinux),
            Some(machine) => Err(other(machine_name(machine))),
            None => Err(ImageError::Truncated {
                path: path.to_owned(),
                what: "the ELF header",
                needed: 64,
                has: bytes.len() as u64,
            }),
        };
    }
    // The header of arm64 images (Documentation/arch/arm64/booting.rst); their EFI wrapper has `zimg`.
    if bytes.get(0x38..0x3c) == Some(b"ARM\x64") || bytes.get(4..8) == Some(b"zimg") {
        return Err(other("arm64".to_owned()));
    }
    if bytes.get(HEADER_AT..HEADER_AT + HEADER.len()) == Some(HEADER) {
        if bytes.len() < HEADER_END {
            let (needed, has) = (HEADER_END as u64, bytes.len() as u64);
            return Err(ImageError::Truncated { path: path.to_owned(), what: "the setup header", needed, has });
        }
        return Ok(ImageKind::BzImage);
    }
    Err(ImageError::NotAKernel { path: path.to_owned(), seen: first_bytes(bytes) })
}

/// The machine field of an ELF file; `None` for other files.
fn read_machine(bytes: &[u8]) -> Option<u16> {
    (bytes.starts_with(ELF) && bytes.len() >= 64).then(|| read_u16(bytes, 18)).flatten()
}

fn machine_name(machine: u16) -> String {
    if machine == EM_AARCH64 { "arm64".to_owned() } else { format!("ELF machine {machine}") }
}

/// The first bytes, in hexadecimal.
pub(super) fn first_bytes(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "nothing: it is empty".to_owned();
    }
    bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
