//! The guest's init process: built from the sources that this program carries, and packed into an archive for the kernel.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use sha2::{Digest, Sha256};

use crate::host::child;
use crate::report::write::temporary::TemporaryFolder;

/// The sources: its own, and what it shares with the model kernel's workload.
const SOURCES: [(&str, &str); 6] = [
    ("main.rs", include_str!("guest/main.rs")),
    ("linux.rs", include_str!("guest/linux.rs")),
    ("records.rs", include_str!("guest/records.rs")),
    ("workloads.rs", include_str!("guest/workloads.rs")),
    ("sequence.rs", include_str!("../workload/sequence.rs")),
    ("random.rs", include_str!("../workload/random.rs")),
];

/// A freestanding program at a fixed address. rustc's own linker needs no C compiler.
const OPTIONS: [&str; 12] = [
    "--edition=2024",
    "--crate-name=init",
    "--target=x86_64-unknown-linux-gnu",
    "-Copt-level=2",
    "-Ccodegen-units=1",
    "-Cpanic=abort",
    "-Crelocation-model=static",
    "-Cstrip=symbols",
    "-Clinker=rust-lld",
    "-Clinker-flavor=ld.lld",
    "-Clink-args=-static -no-pie",
    "-o",
];

/// Why there is no init process.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// No compiler.
    #[error(
        "rustc, which builds what runs in the guest, cannot be run ({program}): {source}; install Rust with the target \
         x86_64-unknown-linux-gnu (https://rustup.rs), or name a rustc in RUSTC"
    )]
    NoCompiler {
        /// What was to be run.
        program: String,
        /// Why it was not.
        source: io::Error,
    },
    /// The compiler refused.
    #[error(
        "rustc could not build what runs in the guest: {message}; `rustup target add x86_64-unknown-linux-gnu` adds a \
         missing target"
    )]
    Compiler {
        /// What it said last.
        message: String,
    },
    /// A file.
    #[error("{}: {source}; XDG_CACHE_HOME names another folder", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The init process.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The archive that the kernel unpacks.
    pub archive: Vec<u8>,
    /// SHA-256 of the program, in hexadecimal: other compilers make other programs, whose own instructions differ.
    pub sha256: String,
}

impl Guest {
    /// Builds it, or takes what was built before from the same sources by the same compiler. A compiler at work ends as
    /// soon as `stop` is set.
    ///
    /// # Errors
    /// Where there is no compiler, or it refuses, or is stopped.
    pub fn build(stop: &AtomicBool) -> Result<Guest, GuestError> {
        let rustc = std::env::var_os("RUSTC").filter(|it| !it.is_empty()).unwrap_or_else(|| "rustc".into());
        Guest::build_until(&rustc, &cache_folder(), stop)
    }

    /// As [`Guest::build`], with this compiler and in this folder.
    ///
    /// # Errors
    /// As [`Guest::build`].
    pub fn build_with(rustc: &OsString, cache: &Path) -> Result<Guest, GuestError> {
        Guest::build_until(rustc, cache, &AtomicBool::new(false))
    }

    fn build_until(rustc: &OsString, cache: &Path, stop: &AtomicBool) -> Result<Guest, GuestError> {
        let no_compiler = |source| GuestError::NoCompiler { program: rustc.to_string_lossy().into_owned(), source };
        let version = child::output(Command::new(rustc).arg("-vV"), stop).map_err(no_compiler)?;
        let mut key = Sha256::new();
        key.update(&version.stdout);
        for text in OPTIONS.iter().chain(SOURCES.iter().flat_map(|(name, text)| [name, text])) {
            key.update(text.len().to_le_bytes());
            key.update(text);
        }
        let program = cache.join(format!("init-{}", &hex(&key.finalize())[..16]));
        let bytes = match fs::read(&program) {
            Ok(bytes) => bytes,
            Err(_) => compile(rustc, cache, &program, stop)?,
        };
        Ok(Guest { archive: archive(&bytes).map_err(|source| file(&program, source))?, sha256: sha256(&bytes) })
    }
}

fn file(path: &Path, source: io::Error) -> GuestError {
    GuestError::File { path: path.to_owned(), source }
}

fn compile(rustc: &OsString, cache: &Path, program: &Path, stop: &AtomicBool) -> Result<Vec<u8>, GuestError> {
    fs::create_dir_all(cache).map_err(|source| file(cache, source))?;
    let folder = TemporaryFolder::new(cache, "init").map_err(|source| file(cache, source))?;
    for (name, text) in SOURCES {
        let path = folder.path().join(name);
        fs::write(&path, text).map_err(|source| file(&path, source))?;
    }
    let built = folder.path().join("init");
    let mut command = Command::new(rustc);
    command.args(OPTIONS).arg(&built).arg("main.rs").current_dir(folder.path());
    // What a build of the caller's own asks for is not for this one.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let done = child::output(&mut command, stop)
        .map_err(|source| GuestError::NoCompiler { program: rustc.to_string_lossy().into_owned(), source })?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        let line = said.lines().find(|line| line.starts_with("error")).unwrap_or("it said nothing");
        return Err(GuestError::Compiler { message: line.to_owned() });
    }
    let bytes = fs::read(&built).map_err(|source| file(&built, source))?;
    // Another process may build the same at the same time; each puts its own whole.
    fs::rename(&built, program).map_err(|source| file(program, source))?;
    Ok(bytes)
}

/// `$XDG_CACHE_HOME/pvbench`, `~/.cache/pvbench`, or a folder for temporary files.
fn cache_folder() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("pvbench")
}

/// A cpio archive of one file, `/init`, always of the same bytes.
fn archive(program: &[u8]) -> io::Result<Vec<u8>> {
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
