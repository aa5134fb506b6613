//! Kernel files: which kind one is, and the ELF file inside.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::payload::{self, PayloadError};

/// The largest kernel file that is read; distributions' have 10 to 20 MB, an unstripped vmlinux some hundreds.
pub const LARGEST: u64 = 1 << 30;

/// What kind of file a kernel came as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageKind {
    /// `vmlinuz`: real-mode header, loader and compressed payload.
    BzImage,
    /// The ELF file itself.
    Vmlinux,
}

impl ImageKind {
    /// As shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ImageKind::BzImage => "bzImage",
            ImageKind::Vmlinux => "vmlinux",
        }
    }
}

/// Why a file is no kernel that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It cannot be read.
    #[error("{}: {source}; distributions keep kernels as /boot/vmlinuz-* or /usr/lib/modules/*/vmlinuz", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is larger than any kernel.
    #[error("{}: {bytes} bytes are more than the {LARGEST} a kernel may have", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Something else.
    #[error("{}: neither a bzImage nor an ELF file, it begins with {seen}; name a vmlinuz or vmlinux", path.display())]
    NotAKernel {
        /// Which.
        path: PathBuf,
        /// Its first bytes.
        seen: String,
    },
    /// Another machine's.
    #[error("{}: a kernel for {machine}; pv_ops and this emulation are x86-64's, name an x86-64 kernel", path.display())]
    OtherMachine {
        /// Which.
        path: PathBuf,
        /// The machine.
        machine: String,
    },
    /// It ends before its header says.
    #[error("{}: cut short: {what} needs {needed} bytes, the file has {has}; copy or download it again", path.display())]
    Truncated {
        /// Which.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
        /// Bytes up to its end.
        needed: u64,
        /// Bytes there are.
        has: u64,
    },
    /// A boot protocol from before 2.6.26, or no protected-mode kernel.
    #[error(
        "{}: boot protocol {}.{:02}, which does not say where the payload is (2.08 does, since Linux 2.6.26)",
        path.display(), version >> 8, version & 0xff
    )]
    OldProtocol {
        /// Which.
        path: PathBuf,
        /// The version, as the header has it.
        version: u16,
    },
    /// What is packed in it cannot be unpacked.
    #[error("{}: {source}", path.display())]
    Payload {
        /// Which.
        path: PathBuf,
        /// Why.
        source: PayloadError,
    },
}

/// A kernel file.
#[derive(Clone, Debug)]
pub struct Image {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: ImageKind,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// `HdrS` of the setup header (Documentation/arch/x86/boot.rst).
const HEADER: &[u8] = b"HdrS";
const HEADER_AT: usize = 0x202;
const VERSION_AT: usize = 0x206;
const SETUP_SECTORS_AT: usize = 0x1f1;
const PAYLOAD_OFFSET_AT: usize = 0x248;
const PAYLOAD_LENGTH_AT: usize = 0x24c;
/// Where the header ends that has these fields.
const HEADER_END: usize = 0x250;
/// The version that brought `payload_offset`.
const FIRST_WITH_PAYLOAD: u16 = 0x0208;
const ELF: &[u8] = b"\x7fELF";
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;

impl Image {
    /// Reads a file and tells what it is.
    ///
    /// # Errors
    /// Where it cannot be read or is no x86-64 kernel.
    pub fn read(path: &Path) -> Result<Image, ImageError> {
        let failed = |source| ImageError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        if size > LARGEST {
            return Err(ImageError::TooLarge { path: path.to_owned(), bytes: size });
        }
        let mut bytes = Vec::new();
        file.by_ref().take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > LARGEST {
            return Err(ImageError::TooLarge { path: path.to_owned(), bytes: bytes.len() as u64 });
        }
        Image::of(path, bytes)
    }

    /// Tells what these bytes are.
    ///
    /// # Errors
    /// Where they are no x86-64 kernel.
    pub fn of(path: &Path, bytes: Vec<u8>) -> Result<Image, ImageError> {
        let kind = kind(path, &bytes)?;
        Ok(Image { path: path.to_owned(), kind, bytes })
    }

    /// The ELF file: this one, or what is packed in it.
    ///
    /// # Errors
    /// Where the payload is unknown, damaged or cut short.
    pub fn vmlinux(&self) -> Result<Vec<u8>, ImageError> {
        if self.kind == ImageKind::Vmlinux {
            return Ok(self.bytes.clone());
        }
        let path = || self.path.clone();
        let version = word(&self.bytes, VERSION_AT).unwrap_or(0);
        if version < FIRST_WITH_PAYLOAD {
            return Err(ImageError::OldProtocol { path: path(), version });
        }
        let setup = match self.bytes.get(SETUP_SECTORS_AT) {
            // As the protocol has it: 0 means 4.
            None | Some(0) => 4,
            Some(sectors) => u64::from(*sectors),
        };
        let offset = u64::from(long(&self.bytes, PAYLOAD_OFFSET_AT).unwrap_or(0));
        let length = u64::from(long(&self.bytes, PAYLOAD_LENGTH_AT).unwrap_or(0));
        let start = (setup + 1) * 512 + offset;
        let (needed, has) = (start + length, self.bytes.len() as u64);
        let payload = self.bytes.get(start as usize..needed as usize).ok_or_else(|| ImageError::Truncated {
            path: path(),
            what: "the packed kernel",
            needed,
            has,
        })?;
        let vmlinux = payload::unpack(payload).map_err(|source| ImageError::Payload { path: path(), source })?;
        match machine(&vmlinux) {
            Some(EM_X86_64) => Ok(vmlinux),
            Some(other) => Err(ImageError::OtherMachine { path: path(), machine: machine_name(other) }),
            None => Err(ImageError::Payload { path: path(), source: PayloadError::NotElf { seen: first(&vmlinux) } }),
        }
    }
}

fn kind(path: &Path, bytes: &[u8]) -> Result<ImageKind, ImageError> {
    let other = |machine: String| ImageError::OtherMachine { path: path.to_owned(), machine };
    if bytes.starts_with(ELF) {
        return match machine(bytes) {
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
    // The header of arm64 images (Documentation/arch/arm64/booting.rst); their EFI wrapper says `zimg`.
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
    Err(ImageError::NotAKernel { path: path.to_owned(), seen: first(bytes) })
}

/// The machine of an ELF file; `None` where it is none.
fn machine(bytes: &[u8]) -> Option<u16> {
    (bytes.starts_with(ELF) && bytes.len() >= 64).then(|| word(bytes, 18)).flatten()
}

fn machine_name(machine: u16) -> String {
    if machine == EM_AARCH64 { "arm64".to_owned() } else { format!("ELF machine {machine}") }
}

/// The first bytes, in hexadecimal.
pub(super) fn first(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "nothing: it is empty".to_owned();
    }
    bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
