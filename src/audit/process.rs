//! Runs a program to be audited: by itself for its CPU time, then under callgrind for its counts.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::{NamedTempFile, TempDir};

/// Why a program could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// A program does not start.
    #[error("{program} does not start: {source}{}", if program == VALGRIND { INSTALL } else { "" })]
    Start {
        /// The program.
        program: String,
        /// The cause.
        source: io::Error,
    },
    /// The program ends otherwise under callgrind than alone.
    #[error(
        "{program} ended with {counted} under callgrind and with {alone} alone, so its counts are not those of a usual \
         run; its output is in {}", output.display()
    )]
    Failed {
        /// The program.
        program: String,
        /// How it ended under callgrind.
        counted: ExitStatus,
        /// How it ended by itself.
        alone: ExitStatus,
        /// Its output under callgrind.
        output: PathBuf,
    },
    /// A temporary file cannot be written.
    #[error("a temporary file cannot be written: {0}; set TMPDIR to another folder")]
    File(io::Error),
}

const VALGRIND: &str = "valgrind";
const INSTALL: &str = "; install it (Debian: `apt-get install valgrind`)";

/// A program that ran.
#[derive(Debug)]
pub struct Counted {
    /// CPU time of the run without callgrind.
    pub cpu_time: Duration,
    /// How it ended.
    pub status: ExitStatus,
    folder: TempDir,
}

impl Counted {
    /// The file of counts; it is gone when this value is.
    #[must_use]
    pub fn counts(&self) -> PathBuf {
        self.folder.path().join(COUNTS)
    }
}

const COUNTS: &str = "callgrind.out";

/// Runs a program twice: for its CPU time, and for its counts. Its output goes to a file, which is kept if it fails.
///
/// # Errors
/// If the program or valgrind does not start, or the program ends differently under callgrind.
pub fn run(program: &Path, arguments: &[String]) -> Result<Counted, ProcessError> {
    let shown = program.display().to_string();
    let folder = tempfile::Builder::new().prefix("pvbench-audit-").tempdir().map_err(ProcessError::File)?;
    let before = children_time();
    let output = NamedTempFile::with_prefix("pvbench-audit-output-").map_err(ProcessError::File)?;
    let alone = start(Command::new(program).args(arguments), &shown, output.as_file())?;
    let cpu_time = children_time().saturating_sub(before);
    let mut out = std::ffi::OsString::from("--callgrind-out-file=");
    out.push(folder.path().join(COUNTS));
    let mut command = Command::new(VALGRIND);
    command.args(["--tool=callgrind", "--dump-instr=yes", "--quiet"]).arg(out).arg("--").arg(program).args(arguments);
    let counted = start(&mut command, VALGRIND, output.as_file())?;
    if counted != alone {
        let (_, output) = output.keep().map_err(|error| ProcessError::File(error.error))?;
        return Err(ProcessError::Failed { program: shown, counted, alone, output });
    }
    Ok(Counted { cpu_time, status: alone, folder })
}

fn start(command: &mut Command, program: &str, output: &File) -> Result<ExitStatus, ProcessError> {
    let failed = |source| ProcessError::Start { program: program.to_owned(), source };
    let (out, error) = (output.try_clone(), output.try_clone());
    let out = out.map_err(ProcessError::File)?;
    let error = error.map_err(ProcessError::File)?;
    command.stdin(Stdio::inherit()).stdout(out).stderr(error).status().map_err(failed)
}

/// The CPU time of all ended children of this process.
fn children_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the call needs a writable `rusage`, which `usage` is.
    let done = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) };
    if done != 0 {
        return Duration::ZERO;
    }
    // SAFETY: `assume_init` needs an initialised value; all zeros are a valid `rusage`.
    let usage = unsafe { usage.assume_init() };
    let time = |it: libc::timeval| {
        Duration::from_secs(it.tv_sec.unsigned_abs()) + Duration::from_micros(it.tv_usec.unsigned_abs())
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}
