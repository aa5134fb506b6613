//! The guest's init process: built from the sources that this program carries, and packed into an archive for the
//! kernel.

use std::ffi::{OsStr, OsString};
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

/// A freestanding program at a fixed address, linked without a C compiler.
const OPTIONS: [&str; 10] = [
    "--edition=2024",
    "--crate-name=init",
    "--target=x86_64-unknown-linux-gnu",
    "-Copt-level=2",
    "-Ccodegen-units=1",
    "-Cpanic=abort",
    "-Crelocation-model=static",
    "-Cstrip=symbols",
    "-Clink-args=-static -no-pie",
    "-o",
];

/// Linkers and how rustc is to call them, the first that works: rustc's own, which distributions leave out, then LLVM's
/// and GNU's, which their packages have.
const LINKERS: [(&str, [&str; 2]); 3] = [
    ("rust-lld", ["-Clinker=rust-lld", "-Clinker-flavor=ld.lld"]),
    ("ld.lld", ["-Clinker=ld.lld", "-Clinker-flavor=ld"]),
    ("ld", ["-Clinker=ld", "-Clinker-flavor=ld"]),
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
        "rustc could not build what runs in the guest: {message}; it needs the core library of x86_64-unknown-linux-gnu: \
         `rustup target add x86_64-unknown-linux-gnu`, or your distribution's package (Debian: libstd-rust-dev, Fedora: \
         rust-std-static)"
    )]
    Compiler {
        /// What it said last.
        message: String,
    },
    /// No linker links it.
    #[error(
        "rustc could not link what runs in the guest: {}; install LLVM's linker (package lld) or GNU's (package binutils); \
         rustup's Rust brings its own, rust-lld",
        tried.join("; ")
    )]
    NoLinker {
        /// Which were tried, and what rustc said of each.
        tried: Vec<String>,
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
    pub fn build_with(rustc: &OsStr, cache: &Path) -> Result<Guest, GuestError> {
        Guest::build_until(rustc, cache, &AtomicBool::new(false))
    }

    fn build_until(rustc: &OsStr, cache: &Path, stop: &AtomicBool) -> Result<Guest, GuestError> {
        let rustc = with_folder(rustc);
        // What a folder's rust-toolchain.toml makes of `rustc` is asked where it compiles. A cache that is full and
        // cannot be written to is of use, too.
        let workspace = workspace(cache);
        let asked = workspace.as_ref().map_or(cache, |folder| folder.path());
        let mut command = Command::new(&rustc);
        let version = match child::output(command.arg("-vV").current_dir(asked), stop) {
            Ok(version) => version,
            // A folder that is not there is told from a program that is not.
            Err(source) => return Err(workspace.err().unwrap_or_else(|| no_compiler(&rustc, source))),
        };
        let mut key = Sha256::new();
        key.update(&version.stdout);
        let linkers = LINKERS.iter().flat_map(|(_, options)| options);
        let sources = SOURCES.iter().flat_map(|(name, text)| [name, text]);
        for text in OPTIONS.iter().chain(linkers).chain(sources) {
            key.update(text.len().to_le_bytes());
            key.update(text);
        }
        let program = cache.join(format!("init-{}", &hex(&key.finalize())[..16]));
        let bytes = match fs::read(&program) {
            Ok(bytes) => bytes,
            Err(_) => compile(&rustc, workspace?.path(), &program, stop)?,
        };
        Ok(Guest { archive: archive(&bytes).map_err(|source| file(&program, source))?, sha256: sha256(&bytes) })
    }
}

/// A path that is relative to this folder would be to that of the compilation.
fn with_folder(rustc: &OsStr) -> OsString {
    let path = Path::new(rustc);
    let is_relative = path.is_relative() && path.components().count() > 1;
    let absolute = is_relative.then(|| std::path::absolute(path).ok()).flatten();
    absolute.map_or_else(|| rustc.to_owned(), PathBuf::into_os_string)
}

/// A folder with the sources.
fn workspace(cache: &Path) -> Result<TemporaryFolder, GuestError> {
    fs::create_dir_all(cache).map_err(|source| file(cache, source))?;
    let folder = TemporaryFolder::new(cache, "init").map_err(|source| file(cache, source))?;
    for (name, text) in SOURCES {
        let path = folder.path().join(name);
        fs::write(&path, text).map_err(|source| file(&path, source))?;
    }
    Ok(folder)
}

fn no_compiler(rustc: &OsStr, source: io::Error) -> GuestError {
    GuestError::NoCompiler { program: rustc.to_string_lossy().into_owned(), source }
}

fn file(path: &Path, source: io::Error) -> GuestError {
    GuestError::File { path: path.to_owned(), source }
}

fn compile(rustc: &OsStr, folder: &Path, program: &Path, stop: &AtomicBool) -> Result<Vec<u8>, GuestError> {
    let built = folder.join("init");
    let mut tried = Vec::new();
    for (linker, options) in LINKERS {
        let mut command = Command::new(rustc);
        command.args(options).args(OPTIONS).arg(&built).arg("main.rs").current_dir(folder);
        // What a build of the caller's own asks for is not for this one.
        command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        let done = child::output(&mut command, stop).map_err(|source| no_compiler(rustc, source))?;
        if done.status.success() {
            let bytes = fs::read(&built).map_err(|source| file(&built, source))?;
            // Another process may build the same at the same time; each puts its own whole.
            fs::rename(&built, program).map_err(|source| file(program, source))?;
            return Ok(bytes);
        }
        let said = String::from_utf8_lossy(&done.stderr);
        let line = said.lines().find(|line| line.starts_with("error")).unwrap_or("it said nothing");
        // "linker `ld` not found", "linking with `ld` failed", "could not exec the linker `ld`": others may do.
        if !line.contains("link") {
            return Err(GuestError::Compiler { message: line.to_owned() });
        }
        tried.push(format!("with {linker}: {line}"));
    }
    Err(GuestError::NoLinker { tried })
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
