//! Unpacking what a bzImage holds: `scripts/Makefile.lib` of Linux knows how each came about.

use std::io::{self, Read};

use super::image::first;

/// The most that is unpacked: distributions' kernels come to 50 to 100 MB.
const LARGEST: u64 = 1 << 30;

/// Why a payload cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// A compression that is not known here.
    #[error(
        "the packed kernel begins with {seen}, which is none of gzip, xz, zstd and lz4{}; unpack it with Linux's \
         scripts/extract-vmlinux and name the vmlinux",
        known.map_or_else(String::new, |known| format!(" but {known}"))
    )]
    Unknown {
        /// Its first bytes.
        seen: String,
        /// Its name, where it has one.
        known: Option<&'static str>,
    },
    /// It is damaged.
    #[error("the packed kernel ({format}) is damaged: {source}; copy or download the file again")]
    Damaged {
        /// Its compression.
        format: &'static str,
        /// What the decoder said.
        source: io::Error,
    },
    /// It unpacks to more than any kernel has.
    #[error("the packed kernel ({format}) unpacks to more than {LARGEST} bytes")]
    TooLarge {
        /// Its compression.
        format: &'static str,
    },
    /// What comes out is no ELF file.
    #[error("what is packed is no ELF file, it begins with {seen}")]
    NotElf {
        /// Its first bytes.
        seen: String,
    },
}

/// What payloads begin with, and what reads them.
const FORMATS: [(&[u8], Format); 5] = [
    (b"\x1f\x8b", Format::Gzip),
    (b"\xfd7zXZ\0", Format::Xz),
    (b"\x28\xb5\x2f\xfd", Format::Zstd),
    (b"\x02\x21\x4c\x18", Format::Lz4Legacy),
    (b"\x04\x22\x4d\x18", Format::Lz4),
];

/// Known and not read: nobody has shipped them for years.
const OTHERS: [(&[u8], &str); 3] = [(b"BZh", "bzip2"), (b"\x5d\0\0", "lzma"), (b"\x89LZO", "lzo")];

#[derive(Clone, Copy)]
enum Format {
    Gzip,
    Xz,
    Zstd,
    Lz4Legacy,
    Lz4,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Format::Gzip => "gzip",
            Format::Xz => "xz",
            Format::Zstd => "zstd",
            Format::Lz4Legacy => "lz4 legacy",
            Format::Lz4 => "lz4",
        }
    }
}

/// Unpacks a payload. Linux appends the unpacked size to all but gzip; it is not needed.
///
/// # Errors
/// Where the compression is unknown or the payload damaged.
pub fn unpack(payload: &[u8]) -> Result<Vec<u8>, PayloadError> {
    if payload.starts_with(b"\x7fELF") {
        return Ok(payload.to_vec());
    }
    let Some((_, format)) = FORMATS.iter().find(|(magic, _)| payload.starts_with(magic)) else {
        let known = OTHERS.iter().find(|(magic, _)| payload.starts_with(magic)).map(|(_, name)| *name);
        return Err(PayloadError::Unknown { seen: first(payload), known });
    };
    let damaged = |source: io::Error| PayloadError::Damaged { format: format.name(), source };
    let mut reader: Box<dyn Read + '_> = match format {
        Format::Gzip => Box::new(flate2::read::GzDecoder::new(payload)),
        Format::Xz => Box::new(lzma_rust2::XzReader::new(payload, false)),
        Format::Zstd => Box::new(
            ruzstd::decoding::StreamingDecoder::new(payload).map_err(|error| damaged(io::Error::other(error)))?,
        ),
        Format::Lz4Legacy => Box::new(io::Cursor::new(lz4_legacy(payload).map_err(damaged)?)),
        Format::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(payload)),
    };
    let mut unpacked = Vec::new();
    reader.by_ref().take(LARGEST + 1).read_to_end(&mut unpacked).map_err(damaged)?;
    if unpacked.len() as u64 > LARGEST {
        return Err(PayloadError::TooLarge { format: format.name() });
    }
    Ok(unpacked)
}

/// The legacy format of `lz4 -l`: after the magic, blocks of 8 MiB, each behind its packed length. The last length is
/// that of the unpacked kernel, which Linux appends.
fn lz4_legacy(payload: &[u8]) -> io::Result<Vec<u8>> {
    const BLOCK: usize = 8 << 20;
    const MAGIC: usize = 4;
    let mut rest = payload.get(MAGIC..).unwrap_or_default();
    let mut unpacked = Vec::new();
    while rest.len() > 4 {
        let (length, after) = rest.split_at(4);
        let length = u32::from_le_bytes(length.try_into().unwrap_or_default()) as usize;
        let block = after.get(..length).ok_or_else(|| {
            let (has, made) = (after.len(), unpacked.len());
            io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("a block of {length} bytes after {made} unpacked ones has {has}"),
            )
        })?;
        unpacked.extend(lz4_flex::block::decompress(block, BLOCK).map_err(io::Error::other)?);
        if unpacked.len() as u64 > LARGEST {
            break;
        }
        rest = &after[length..];
    }
    Ok(unpacked)
}
