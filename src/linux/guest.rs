//! The guest's init process: its build from embedded sources, and the archive with it for the kernel.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use sha2::{Digest, Sha256};

pub use super::compile::CompileError as GuestError;
use super::compile::{Embedded, cache_folder, file_error, find_rustc, hex};

/// The sources: those of the init process, and two that it shares with the model kernel's workload.
const SOURCES: [(&str, &str); 6] = [
    ("main.rs", include_str!("guest/main.rs")),
    ("linux.rs", include_str!("guest/linux.rs")),
    ("records.rs", include_str!("guest/records.rs")),
    ("workloads.rs", include_str!("guest/workloads.rs")),
    ("sequence.rs", include_str!("../workload/sequence.rs")),
    ("random.rs", include_str!("../workload/random.rs")),
];

/// Options for a freestanding program at a fixed address, linked without a C compiler.
pub(super) const OPTIONS: [&str; 9] = [
    "--edition=2024",
    "--crate-name=init",
    "--target=x86_64-unknown-linux-gnu",
    "-Copt-level=2",
    "-Ccodegen-units=1",
    "-Cpanic=abort",
    "-Crelocation-model=static",
    "-Cstrip=symbols",
    "-Clink-args=-static -no-pie",
];

/// The init process.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The archive for the kernel.
    pub archive: Vec<u8>,
    /// SHA-256 of the program, in hexadecimal. Programs of different compilers execute different instructions.
    pub sha256: String,
}

impl Guest {
    /// Builds the init process, or takes a cached one of the same sources and compiler. A running compiler ends as soon
    /// as `stop` is set.
    ///
    /// # Errors
    /// If the compiler is missing, fails or is stopped.
    pub fn build(stop: &AtomicBool) -> Result<Guest, GuestError> {
        Guest::build_until(&find_rustc(), &cache_folder(), stop)
    }

    /// Builds the init process as [`Guest::build`] does, with this compiler and in this cache folder.
    ///
    /// # Errors
    /// As for [`Guest::build`].
    pub fn build_with(rustc: &OsStr, cache: &Path) -> Result<Guest, GuestError> {
        Guest::build_until(rustc, cache, &AtomicBool::new(false))
    }

    fn build_until(rustc: &OsStr, cache: &Path, stop: &AtomicBool) -> Result<Guest, GuestError> {
        let init = Embedded { name: "init", sources: &SOURCES, options: &OPTIONS };
        let (program, bytes) = init.build(rustc, cache, stop)?;
        let archive = pack_archive(&bytes).map_err(|source| file_error(&program, source))?;
        Ok(Guest { archive, sha256: sha256(&bytes) })
    }
}

/// Packs a cpio archive of one file, `/init`. Equal programs give equal bytes.
fn pack_archive(program: &[u8]) -> io::Result<Vec<u8>> {
    let size = u32::try_from(program.len()).map_err(io::Error::other)?;
    let mut writer = cpio::newc::Builder::new("init").mode(0o100_755).nlink(1).write(Vec::new(), size);
    writer.write_all(program)?;
    cpio::newc::trailer(writer.finish()?)
}

/// SHA-256, in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
