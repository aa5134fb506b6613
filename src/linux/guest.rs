//! The guest's init process: its build from embedded sources, and the archive with it for the kernel.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use sha2::{Digest, Sha256};

use crate::host::child;
use crate::report::write::temporary::TemporaryFolder;

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

/// Linkers with rustc's options for them, in order of preference. The first is rustc's own, which distributions leave
/// out. LLVM's and GNU's are in packages of distributions.
const LINKERS: [(&str, [&str; 2]); 3] = [
    ("rust-lld", ["-Clinker=rust-lld", "-Clinker-flavor=ld.lld"]),
    ("ld.lld", ["-Clinker=ld.lld", "-Clinker-flavor=ld"]),
    ("ld", ["-Clinker=ld", "-Clinker-flavor=ld"]),
];

/// Why the init process cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The compiler cannot be run.
    #[error(
        "rustc, which builds the init process of the guest, cannot be run ({program}): {source}; install Rust with the \
         target x86_64-unknown-linux-gnu (https://rustup.rs), or name a rustc in RUSTC"
    )]
    NoCompiler {
        /// The program.
        program: String,
        /// The cause.
        source: io::Error,
    },
    /// The compiler failed.
    #[error(
        "rustc could not build the init process of the guest: {message}; install the core library of \
         x86_64-unknown-linux-gnu: `rustup target add x86_64-unknown-linux-gnu`, or your distribution's package \
         (Debian: libstd-rust-dev, Fedora: rust-std-static)"
    )]
    Compiler {
        /// Its first error.
        message: String,
    },
    /// All linkers failed.
    #[error(
        "rustc could not link the init process of the guest: {}; install LLVM's linker (package lld) or GNU's (package \
         binutils); Rust from rustup includes its own, rust-lld",
        tried.join("; ")
    )]
    NoLinker {
        /// The linkers, each with the error of rustc.
        tried: Vec<String>,
    },
    /// A file cannot be read or written.
    #[error("{} cannot be read or written: {source}; set XDG_CACHE_HOME to another folder", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

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
        let rustc = std::env::var_os("RUSTC").filter(|it| !it.is_empty()).unwrap_or_else(|| "rustc".into());
        Guest::build_until(&rustc, &cache_folder(), stop)
    }

    /// Builds the init process as [`Guest::build`] does, with this compiler and in this cache folder.
    ///
    /// # Errors
    /// As for [`Guest::build`].
    pub fn build_with(rustc: &OsStr, cache: &Path) -> Result<Guest, GuestError> {
        Guest::build_until(rustc, cache, &AtomicBool::new(false))
    }

    fn build_until(rustc: &OsStr, cache: &Path, stop: &AtomicBool) -> Result<Guest, GuestError> {
        let rustc = make_absolute(rustc);
        // A rust-toolchain.toml may select another `rustc` per folder, so its version is asked in the folder of the
        // compilation. Without a writable folder, a cached program can still be used.
        let workspace = create_workspace(cache);
        let asked = workspace.as_ref().map_or(cache, |folder| folder.path());
        let mut command = Command::new(&rustc);
        let version = match child::output(command.arg("-vV").current_dir(asked), stop) {
            Ok(version) => version,
            // The error names the folder if that is missing, and otherwise the program.
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
        Ok(Guest {
            archive: pack_archive(&bytes).map_err(|source| file_error(&program, source))?,
            sha256: sha256(&bytes),
        })
    }
}

/// Makes a relative path absolute: the compilation runs in another folder.
fn make_absolute(rustc: &OsStr) -> OsString {
    let path = Path::new(rustc);
    let is_relative = path.is_relative() && path.components().count() > 1;
    let absolute = is_relative.then(|| std::path::absolute(path).ok()).flatten();
    absolute.map_or_else(|| rustc.to_owned(), PathBuf::into_os_string)
}

/// Creates a folder with the sources.
fn create_workspace(cache: &Path) -> Result<TemporaryFolder, GuestError> {
    fs::create_dir_all(cache).map_err(|source| file_error(cache, source))?;
    let folder = TemporaryFolder::new(cache, "init").map_err(|source| file_error(cache, source))?;
    for (name, text) in SOURCES {
        let path = folder.path().join(name);
        fs::write(&path, text).map_err(|source| file_error(&path, source))?;
    }
    Ok(folder)
}

fn no_compiler(rustc: &OsStr, source: io::Error) -> GuestError {
    GuestError::NoCompiler { program: rustc.to_string_lossy().into_owned(), source }
}

fn file_error(path: &Path, source: io::Error) -> GuestError {
    GuestError::File { path: path.to_owned(), source }
}

fn compile(rustc: &OsStr, folder: &Path, program: &Path, stop: &AtomicBool) -> Result<Vec<u8>, GuestError> {
    let built = folder.join("init");
    let mut tried = Vec::new();
    for (linker, options) in LINKERS {
        let mut command = Command::new(rustc);
        command.args(options).args(OPTIONS).arg(&built).arg("main.rs").current_dir(folder);
        // Options of the caller's own build do not apply here.
        command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        let done = child::output(&mut command, stop).map_err(|source| no_compiler(rustc, source))?;
        if done.status.success() {
            let bytes = fs::read(&built).map_err(|source| file_error(&built, source))?;
            // Another process may build the same program; each renames its own complete file.
            fs::rename(&built, program).map_err(|source| file_error(program, source))?;
            return Ok(bytes);
        }
        let said = String::from_utf8_lossy(&done.stderr);
        let line = said.lines().find(|line| line.starts_with("error")).unwrap_or("it printed no error");
        // "linker `ld` not found", "linking with `ld` failed", "could not exec the linker `ld`": another linker may
        // work.
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
