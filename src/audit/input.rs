//! The binaries in a file: the file itself, the members of an archive, the kernel in a bzImage, a packed module.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use object::read::archive::ArchiveFile;

use super::error::AuditError;
use crate::linux::image::Image;
use crate::linux::payload;

/// Bound on the size of a file, in bytes. Programs of 1 GB with debug information exist; at twice this bound an audit
/// would need more than 4 GB of memory.
const MAX_FILE_BYTES: u64 = 2 << 30;

/// Bound on the name of a member. Names of a hostile archive overlap: without a bound, each has the size of the file.
const MAX_NAME_BYTES: usize = 256;

const ELF: &[u8] = b"\x7fELF";
const ARCHIVE: &[u8] = b"!<arch>\n";
const THIN_ARCHIVE: &[u8] = b"!<thin>\n";
/// First bytes of packed modules: gzip, xz, zstd.
const PACKED: [&[u8]; 3] = [b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
/// The header of a bzImage (`Documentation/arch/x86/boot.rst`), and where it is.
const BZ_IMAGE: &[u8] = b"HdrS";
const BZ_IMAGE_AT: usize = 0x202;

/// A file with one or several binaries.
#[derive(Debug)]
pub struct Input {
    /// The file.
    pub path: PathBuf,
    bytes: Vec<u8>,
    binaries: Vec<(String, Range<usize>)>,
    /// Whether the bytes are those of a kernel that was unpacked.
    pub is_unpacked_kernel: bool,
    /// Members of an archive that are no x86-64 object files, for example metadata of Rust.
    pub skipped_members: usize,
}

impl Input {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or has no x86-64 machine code in a known format.
    pub fn read(path: &Path) -> Result<Input, AuditError> {
        let failed = |source| AuditError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
        }
        let too_large = || AuditError::TooLarge { path: path.to_owned(), max: MAX_FILE_BYTES };
        if metadata.len() > MAX_FILE_BYTES {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(too_large());
        }
        Input::of(path, bytes)
    }

    /// Finds the binaries in the bytes of a file.
    ///
    /// # Errors
    /// As for [`Input::read`].
    pub fn of(path: &Path, bytes: Vec<u8>) -> Result<Input, AuditError> {
        let shown = path.display().to_string();
        let whole = |bytes: Vec<u8>, is_unpacked_kernel| Input {
            path: path.to_owned(),
            binaries: vec![(shown.clone(), 0..bytes.len())],
            bytes,
            is_unpacked_kernel,
            skipped_members: 0,
        };
        if bytes.starts_with(ELF) {
            check_elf(&shown, &bytes)?;
            return Ok(whole(bytes, false));
        }
        if bytes.get(BZ_IMAGE_AT..BZ_IMAGE_AT + BZ_IMAGE.len()) == Some(BZ_IMAGE) {
            let vmlinux = Image::of(path, bytes)?.vmlinux()?;
            check_elf(&shown, &vmlinux)?;
            return Ok(whole(vmlinux, true));
        }
        if PACKED.iter().any(|magic| bytes.starts_with(magic)) {
            let unpacked =
                payload::unpack(&bytes).map_err(|source| AuditError::Module { path: path.to_owned(), source })?;
            check_elf(&shown, &unpacked)?;
            return Ok(whole(unpacked, false));
        }
        if bytes.starts_with(ARCHIVE) {
            return read_archive(path, &shown, bytes);
        }
        Err(AuditError::Foreign { path: shown, what: describe(&bytes) })
    }

    /// Whether the file is an archive.
    #[must_use]
    pub fn is_archive(&self) -> bool {
        self.bytes.starts_with(ARCHIVE)
    }

    /// The binaries: name and bytes.
    pub fn binaries(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.binaries.iter().map(|(name, range)| (name.as_str(), self.bytes.get(range.clone()).unwrap_or_default()))
    }
}

fn read_archive(path: &Path, shown: &str, bytes: Vec<u8>) -> Result<Input, AuditError> {
    let damaged = |error: object::Error| AuditError::Damaged { path: shown.to_owned(), what: error.to_string() };
    let mut binaries = Vec::new();
    let mut members = 0;
    {
        let archive = ArchiveFile::parse(bytes.as_slice()).map_err(damaged)?;
        for member in archive.members() {
            let member = member.map_err(damaged)?;
            members += 1;
            let (offset, size) = member.file_range();
            // Members follow one another.
            let range = offset as usize..offset.saturating_add(size) as usize;
            let Some(content) = bytes.get(range.clone()) else { continue };
            let name = member.name();
            let name = format!("{shown}({})", String::from_utf8_lossy(&name[..name.len().min(MAX_NAME_BYTES)]));
            if content.starts_with(ELF) && check_elf(&name, content).is_ok() {
                binaries.push((name, range));
            }
        }
    }
    if binaries.is_empty() {
        return Err(AuditError::NoMembers { path: shown.to_owned(), members });
    }
    let skipped_members = members - binaries.len();
    Ok(Input { path: path.to_owned(), bytes, binaries, is_unpacked_kernel: false, skipped_members })
}

/// Checks that an ELF file is for x86-64 and not packed.
fn check_elf(path: &str, bytes: &[u8]) -> Result<(), AuditError> {
    /// `EM_X86_64` and `EM_AARCH64` of the ELF header's `e_machine`.
    const X86_64: u16 = 62;
    const AARCH64: u16 = 183;
    let foreign = |what: String| Err(AuditError::Foreign { path: path.to_owned(), what });
    if !bytes.starts_with(ELF) {
        return foreign(describe(bytes));
    }
    let (Some(class), Some(machine)) = (bytes.get(4), bytes.get(18..20)) else {
        return Err(AuditError::Damaged { path: path.to_owned(), what: "the ELF header is cut short".to_owned() });
    };
    let machine = u16::from_le_bytes([machine[0], machine[1]]);
    match (*class, machine) {
        (1, _) => foreign("a 32-bit ELF file".to_owned()),
        (_, X86_64) => {
            // UPX writes its name behind the program headers, and no section headers.
            const SEARCHED: usize = 1024;
            let start = bytes.get(..SEARCHED.min(bytes.len())).unwrap_or_default();
            if start.windows(4).any(|window| window == b"UPX!") {
                return Err(AuditError::Packed { path: path.to_owned() });
            }
            Ok(())
        }
        (_, AARCH64) => foreign("an ELF file for arm64".to_owned()),
        (_, other) => foreign(format!("an ELF file for machine {other}")),
    }
}

/// What the first bytes of a file tell.
fn describe(bytes: &[u8]) -> String {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    if bytes.is_empty() {
        "an empty file".to_owned()
    } else if starts(b"MZ") {
        "a program for Windows or EFI (PE)".to_owned()
    } else if [b"\xfe\xed\xfa\xcf", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"].iter().any(|magic| starts(*magic)) {
        "a program for macOS (Mach-O)".to_owned()
    } else if starts(THIN_ARCHIVE) {
        "a thin archive, which has names of object files instead of the files".to_owned()
    } else if starts(b"#!") {
        "a script; its interpreter is the program".to_owned()
    } else if starts(b"BC\xc0\xde") {
        "LLVM bitcode, which is not machine code yet".to_owned()
    } else {
        let seen: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("an unknown format that begins with {}", seen.join(" "))
    }
}
