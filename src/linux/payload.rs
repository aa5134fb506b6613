//! Unpacking the payload of a bzImage, which `scripts/Makefile.lib` of Linux packs.

use std::io::{self, Read};

use super::image::first_bytes;

/// Bound on the unpacked size, in bytes. Kernels of distributions unpack to 50 to 100 MB.
const MAX_UNPACKED_BYTES: u64 = 1 << 30;

/// Why a payload cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The compression is unsupported.
    #[error(
        "the packed kernel begins with {seen}: the compression{} is unsupported (gzip, xz, zstd and lz4 are \
         supported); unpack it with Linux's scripts/extract-vmlinux and name the vmlinux",
        known.map_or_else(String::new, |known| format!(" {known}"))
    )]
    Unknown {
        /// The first bytes, in hexadecimal.
        seen: String,
        /// Name of the compression, if recognised.
        known: Option<&'static str>,
    },
    /// The payload is damaged.
    #[error("the packed kernel ({format}) is damaged: {source}; copy or download the file again")]
    Damaged {
        /// Name of the compression.
        format: &'static str,
        /// The error of the decoder.
        source: io::Error,
    },
    /// The unpacked size is above the bound.
    #[error(
        "the packed kernel ({format}) unpacks to more than {MAX_UNPACKED_BYTES} bytes; copy or download the file again"
    )]
    TooLarge {
        /// Name of the compression.
        format: &'static str,
    },
    /// The unpacked payload is not an ELF file.
    #[error("the packed kernel is not an ELF file: it begins with {seen}; name a vmlinuz of Linux on x86-64")]
    NotElf {
        /// The first bytes, in hexadecimal.
        seen: String,
    },
}

/// First bytes of each supported format.
const FORMATS: [(&[u8], Format); 5] = [
    (b"\x1f\x8b", Format::Gzip),
    (b"\xfd7zXZ\0", Format::Xz),
    (b"\x28\xb5\x2f\xfd", Format::Zstd),
    (b"\x02\x21\x4c\x18", Format::Lz4Legacy),
    (b"\x04\x22\x4d\x18", Format::Lz4),
];

/// First bytes of unsupported formats: distributions no longer use them.
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

/// Unpacks a payload. The unpacked size that Linux appends to all formats but gzip is ignored.
///
/// # Errors
/// If the compression is unsupported or the payload damaged.
pub fn unpack(payload: &[u8]) -> Result<Vec<u8>, PayloadError> {
    if payload.starts_with(b"\x7fELF") {
        return Ok(payload.to_vec());
    }
    let Some((_, format)) = FORMATS.iter().find(|(magic, _)| payload.starts_with(magic)) else {
        let known = OTHERS.iter().find(|(magic, _)| payload.starts_with(magic)).map(|(_, name)| *name);
        return Err(PayloadError::Unknown { seen: first_bytes(payload), known });
    };
    let damaged = |source: io::Error| PayloadError::Damaged { format: format.name(), source };
    let mut reader: Box<dyn Read + '_> = match format {
        Format::Gzip => Box::new(flate2::read::GzDecoder::new(payload)),
        Format::Xz => Box::new(lzma_rust2::XzReader::new(payload, false)),
        Format::Zstd => Box::new(
            ruzstd::decoding::StreamingDecoder::new(payload).map_err(|error| damaged(io::Error::other(error)))?,
        ),
        Format::Lz4Legacy => Box::new(io::Cursor::new(unpack_lz4_legacy(payload).map_err(damaged)?)),
        Format::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(payload)),
    };
    let mut unpacked = Vec::new();
    reader.by_ref().take(MAX_UNPACKED_BYTES + 1).read_to_end(&mut unpacked).map_err(damaged)?;
    if unpacked.len() as u64 > MAX_UNPACKED_BYTES {
        return Err(PayloadError::TooLarge { format: format.name() });
    }
    Ok(unpacked)
}

/// Unpacks the legacy format of `lz4 -l`: after the magic, blocks of 8 MiB, each after its packed length. The last
/// length is the size of the unpacked kernel, which Linux appends.
fn unpack_lz4_legacy(payload: &[u8]) -> io::Result<Vec<u8>> {
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
                format!("after {made} unpacked bytes, a block of {length} bytes has only {has}"),
            )
        })?;
        unpacked.extend(lz4_flex::block::decompress(block, BLOCK).map_err(io::Error::other)?);
        if unpacked.len() as u64 > MAX_UNPACKED_BYTES {
            break;
        }
        rest = &after[length..];
    }
    Ok(unpacked)
}
