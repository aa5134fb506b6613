//! Bytes that live as long as the audit of a binary: split debug files, and sections that were decompressed.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

/// Largest file with debug information that is read, in bytes. That of a distribution's kernel has half of it.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// A list of bytes to which more are added while those before are borrowed.
#[derive(Default)]
pub struct Storage {
    bytes: OnceCell<Vec<u8>>,
    next: OnceCell<Box<Storage>>,
}

impl Storage {
    /// Keeps bytes.
    pub fn keep(&self, bytes: Vec<u8>) -> &[u8] {
        let mut last = self;
        while last.bytes.get().is_some() {
            last = last.next.get_or_init(Box::default);
        }
        last.bytes.get_or_init(|| bytes)
    }

    /// Reads a file whole; `None` if it is no ordinary file, too large, or unreadable.
    pub(super) fn read(&self, path: &Path) -> Option<&[u8]> {
        // Opening a pipe would wait for its writer.
        let size = fs::metadata(path).ok().filter(|it| it.is_file() && it.len() <= MAX_FILE_BYTES)?.len();
        let mut bytes = Vec::with_capacity(usize::try_from(size).ok()?);
        File::open(path).ok()?.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
        Some(self.keep(bytes))
    }
}

impl Drop for Storage {
    /// One after the other: thousands of nested drops would need a deep stack.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(mut one) = next {
            next = one.next.take();
        }
    }
}
