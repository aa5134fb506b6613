//! The file of a run, `.pvr`: small, never rewritten, and readable by standard tools.
//!
//! ```text
//! 0   4  50 2a 4d 18: the magic of a skippable frame of Zstandard, so that `zstd -d` reads the file
//! 4   4  44: length of the rest of that frame, little-endian as all numbers here
//! 8   8  "pvbench\n"
//! 16  4  version of the format: 1
//! 20  32 SHA-256 of all bytes after it
//! 52     Zstandard frames, each a section
//! ```
//!
//! A section is a tag, the number of its plane, and its bytes. The first one is the header, as JSON; the second one has
//! the texts; the others are columns of numbers (`columns`) whose tags are in `tags`. Each has a frame of its own,
//! because numbers of one kind compress well together, and so a reader gets the header without the rest.
//!
//! A file comes from anywhere. A reader checks lengths before it allocates, and every index before it is used.

mod columns;
mod decode;
mod encode;
mod error;
mod identities;
mod quantise;
mod tags;

use std::io::Read;

use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use sha2::{Digest as _, Sha256};

use self::columns::ColumnReader;
pub use self::error::RunFileError;
use super::commit::is_hex;
use super::kept::{Header, KeptRun};
use super::names::Names;

/// Extension of run files.
pub const EXTENSION: &str = "pvr";
/// The version that this build writes, and the newest one that it reads.
pub const VERSION: u32 = 1;
/// Maximum size of a run file in bytes: forty default runs.
pub const MAX_FILE: usize = 4 << 20;
/// Maximum size of all sections in bytes, decompressed.
const MAX_DECODED: usize = 32 << 20;
/// Maximum size of the header in bytes. Facts of a machine with a thousand CPUs take a tenth.
const MAX_HEADER: usize = 256 << 10;
/// Maximum number of cells: two and a half times those of a full run of both bodies.
const MAX_CELLS: usize = 1 << 18;
/// Maximum number of kernels per workload.
const MAX_KERNELS: usize = 1 << 12;
/// Maximum number of names, reasons included.
const MAX_STRINGS: usize = 1 << 15;
/// Maximum length of a name or reason in bytes. Longer reasons are clipped.
const MAX_TEXT: usize = 400;
/// Maximum number of digits of a commit: SHA-256.
const MAX_ID: usize = 64;
/// Maximum number of sections: every tag with all planes that it can have.
const MAX_SECTIONS: usize = 256 * 8;
/// Maximum window of a frame in bytes. The compressor uses less, and a decompressor allocates it at once.
const MAX_WINDOW: u64 = 8 << 20;

/// The first bytes of every version.
const MAGIC: [u8; 16] = *b"\x50\x2a\x4d\x18\x2c\0\0\0pvbench\n";
const VERSION_AT: usize = 16;
const DIGEST_AT: usize = 20;
const SECTIONS_AT: usize = 52;

/// The identity of a run file: SHA-256 of its sections.
pub type Digest = [u8; 32];

/// A run file in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFile {
    /// All of its bytes.
    pub bytes: Vec<u8>,
    /// Its identity.
    pub digest: Digest,
}

/// Makes the file of a run.
///
/// # Errors
/// If the run is larger than a reader accepts.
pub fn write(run: &KeptRun) -> Result<RunFile, RunFileError> {
    let mut bytes = vec![0; SECTIONS_AT];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    bytes[VERSION_AT..DIGEST_AT].copy_from_slice(&VERSION.to_le_bytes());
    for (tag, plane, section) in encode::sections(run)? {
        if tag == tags::HEADER && section.len() > MAX_HEADER {
            return Err(RunFileError::TooLarge { what: "header", max: MAX_HEADER });
        }
        let framed = [&[tag, plane], &section[..]].concat();
        bytes.extend(compress_to_vec(&framed[..], CompressionLevel::Fastest));
    }
    if bytes.len() > MAX_FILE {
        return Err(RunFileError::TooLarge { what: "size in bytes", max: MAX_FILE });
    }
    let digest: Digest = Sha256::digest(&bytes[SECTIONS_AT..]).into();
    bytes[DIGEST_AT..SECTIONS_AT].copy_from_slice(&digest);
    Ok(RunFile { bytes, digest })
}

/// Reads a run.
///
/// # Errors
/// A [`RunFileError`]: foreign, newer, damaged or too large.
pub fn read(bytes: &[u8], names: &mut Names) -> Result<KeptRun, RunFileError> {
    let mut rest = check(bytes)?.1;
    let header = header(&mut rest)?;
    let (mut strings, mut columns) = (None, ColumnReader::default());
    let (mut left, mut sections) = (MAX_DECODED, 0);
    while !rest.is_empty() {
        sections += 1;
        if sections > MAX_SECTIONS {
            return Err(RunFileError::TooLarge { what: "number of sections", max: MAX_SECTIONS });
        }
        let (tag, plane, section) = section(&mut rest, left)?;
        left -= section.len();
        match tag {
            tags::HEADER => return Err(RunFileError::damaged("it has two headers")),
            tags::STRINGS if strings.is_some() => return Err(RunFileError::damaged("it has two lists of names")),
            tags::STRINGS => strings = Some(section),
            _ => columns.add(tag, plane, section)?,
        }
    }
    decode::run(header, &strings.unwrap_or_default(), columns, names)
}

/// Reads the header of a run, and checks that its file is whole.
///
/// # Errors
/// As [`read`].
pub fn read_header(bytes: &[u8]) -> Result<(Header, Digest), RunFileError> {
    let (digest, mut rest) = check(bytes)?;
    Ok((header(&mut rest)?, digest))
}

/// Checks that a file is one of this version and has the bytes that were written. Returns its digest and sections.
fn check(bytes: &[u8]) -> Result<(Digest, &[u8]), RunFileError> {
    if bytes.len() > MAX_FILE {
        return Err(RunFileError::TooLarge { what: "size in bytes", max: MAX_FILE });
    }
    let rest = bytes.strip_prefix(&MAGIC);
    let Some(rest) = rest else {
        let is_cut = !bytes.is_empty() && MAGIC.starts_with(bytes);
        return Err(if is_cut { RunFileError::damaged("it is cut off") } else { RunFileError::Foreign });
    };
    let (version, rest) = rest.split_first_chunk().ok_or(RunFileError::damaged("it is cut off"))?;
    match u32::from_le_bytes(*version) {
        VERSION => {}
        0 => return Err(RunFileError::damaged("its version is 0")),
        version => return Err(RunFileError::Newer { version }),
    }
    let (digest, sections) = rest.split_first_chunk::<32>().ok_or(RunFileError::damaged("it is cut off"))?;
    if *digest != <Digest>::from(Sha256::digest(sections)) {
        return Err(RunFileError::damaged("its bytes have another SHA-256 than the one in it"));
    }
    Ok((*digest, sections))
}

fn header(rest: &mut &[u8]) -> Result<Header, RunFileError> {
    let (tag, _, section) = section(rest, MAX_HEADER)?;
    if tag != tags::HEADER {
        return Err(RunFileError::damaged("its first section is no header"));
    }
    let header: Header =
        serde_json::from_slice(&section).map_err(|_| RunFileError::damaged("its header lacks something"))?;
    let ids = header.commit.iter().flat_map(|commit| [Some(&commit.id), commit.first_parent.as_ref()]);
    let is_fit = |id: &String| is_hex(id) && id.len() <= MAX_ID;
    if ids.flatten().all(is_fit) { Ok(header) } else { Err(RunFileError::damaged("its commit has no id")) }
}

/// Reads the next section, of at most `max` bytes.
fn section(rest: &mut &[u8], max: usize) -> Result<(u8, u8, Vec<u8>), RunFileError> {
    let failed = |_| RunFileError::damaged("a section cannot be decompressed");
    let mut frame = StreamingDecoder::new_with_max_window_size(&mut *rest, MAX_WINDOW).map_err(failed)?;
    let mut start = [0; 2];
    frame.read_exact(&mut start).map_err(|_| RunFileError::damaged("a section cannot be decompressed"))?;
    let mut section = Vec::new();
    let read = frame.by_ref().take(max as u64 + 1).read_to_end(&mut section);
    if read.map_err(|_| RunFileError::damaged("a section cannot be decompressed"))? > max {
        return Err(RunFileError::TooLarge { what: "decompressed size in bytes", max });
    }
    Ok((start[0], start[1], section))
}

#[cfg(test)]
mod tests;
