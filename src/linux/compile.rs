//! Programs that are compiled from embedded sources by the installed rustc, and kept in a cache.
//!
//! The emulator needs two: the guest's init process, and the plugin that records. Neither needs a C compiler.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use sha2::{Digest, Sha256};

use crate::host::child;
use crate::report::write::temporary::TemporaryFolder;

/// A program: its name, its sources by file name, and the options of rustc. Its main file is `main.rs`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Embedded<'a> {
    /// The beginning of its name in the cache.
    pub name: &'static str,
    /// File names and texts.
    pub sources: &'a [(&'static str, &'a str)],
    /// Options, without those of the linker and `-o`.
    pub options: &'static [&'static str],
}

/// Linkers with rustc's options for them, in order of preference. The first is rustc's own, which distributions leave
/// out. LLVM's and GNU's are in packages of distributions.
const LINKERS: [(&str, [&str; 2]); 3] = [
    ("rust-lld", ["-Clinker=rust-lld", "-Clinker-flavor=ld.lld"]),
    ("ld.lld", ["-Clinker=ld.lld", "-Clinker-flavor=ld"]),
    ("ld", ["-Clinker=ld", "-Clinker-flavor=ld"]),
];

/// Why a program for the emulator cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The compiler cannot be run.
    #[error(
        "rustc, which builds the programs for the emulator, cannot be run ({program}): {source}; install Rust with the \
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
        "rustc could not build a program for the emulator: {message}; install the core library of \
         x86_64-unknown-linux-gnu: `rustup target add x86_64-unknown-linux-gnu`, or your distribution's package \
         (Debian: libstd-rust-dev, Fedora: rust-std-static)"
    )]
    Compiler {
        /// Its first error.
        message: String,
    },
    /// All linkers failed.
    #[error(
        "rustc could not link a program for the emulator: {}; install LLVM's linker (package lld) or GNU's (package \
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

impl Embedded<'_> {
    /// Builds the program, or takes a cached one of the same sources and compiler. Returns its file, and its bytes. A
    /// running compiler ends as soon as `stop` is set.
    ///
    /// # Errors
    /// If the compiler is missing, fails or is stopped.
    pub fn build(&self, rustc: &OsStr, cache: &Path, stop: &AtomicBool) -> Result<(PathBuf, Vec<u8>), CompileError> {
        let rustc = make_absolute(rustc);
        // A rust-toolchain.toml may select another `rustc` per folder, so its version is asked in the folder of the
        // compilation. Without a writable folder, a cached program can still be used.
        let workspace = self.create_workspace(cache);
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
        let sources = self.sources.iter().flat_map(|(name, text)| [name, text]);
        for text in self.options.iter().chain(linkers).chain(sources) {
            key.update(text.len().to_le_bytes());
            key.update(text);
        }
        let program = cache.join(format!("{}-{}", self.name, &hex(&key.finalize())[..16]));
        let bytes = match fs::read(&program) {
            Ok(bytes) => bytes,
            Err(_) => self.compile(&rustc, workspace?.path(), &program, stop)?,
        };
        Ok((program, bytes))
    }

    /// Creates a folder with the sources.
    fn create_workspace(&self, cache: &Path) -> Result<TemporaryFolder, CompileError> {
        fs::create_dir_all(cache).map_err(|source| file_error(cache, source))?;
        let folder = TemporaryFolder::new(cache, self.name).map_err(|source| file_error(cache, source))?;
        for (name, text) in self.sources {
            let path = folder.path().join(name);
            fs::write(&path, text).map_err(|source| file_error(&path, source))?;
        }
        Ok(folder)
    }

    fn compile(
        &self,
        rustc: &OsStr,
        folder: &Path,
        program: &Path,
        stop: &AtomicBool,
    ) -> Result<Vec<u8>, CompileError> {
        let built = folder.join(self.name);
        let mut tried = Vec::new();
        for (linker, options) in LINKERS {
            let mut command = Command::new(rustc);
            command.args(options).args(self.options).arg("-o").arg(&built).arg("main.rs").current_dir(folder);
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
                return Err(CompileError::Compiler { message: line.to_owned() });
            }
            tried.push(format!("with {linker}: {line}"));
        }
        Err(CompileError::NoLinker { tried })
    }
}

/// Makes a relative path absolute: the compilation runs in another folder.
fn make_absolute(rustc: &OsStr) -> OsString {
    let path = Path::new(rustc);
    let is_relative = path.is_relative() && path.components().count() > 1;
    let absolute = is_relative.then(|| std::path::absolute(path).ok()).flatten();
    absolute.map_or_else(|| rustc.to_owned(), PathBuf::into_os_string)
}

fn no_compiler(rustc: &OsStr, source: io::Error) -> CompileError {
    CompileError::NoCompiler { program: rustc.to_string_lossy().into_owned(), source }
}

pub(super) fn file_error(path: &Path, source: io::Error) -> CompileError {
    CompileError::File { path: path.to_owned(), source }
}

/// The compiler: `$RUSTC`, or `rustc` of the PATH.
pub(super) fn find_rustc() -> OsString {
    std::env::var_os("RUSTC").filter(|it| !it.is_empty()).unwrap_or_else(|| "rustc".into())
}

/// `$XDG_CACHE_HOME/pvbench`, `~/.cache/pvbench`, or a folder for temporary files.
pub(super) fn cache_folder() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("pvbench")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
