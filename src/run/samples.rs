//! The samples file of a run, from which its report can be made again. The same build makes the same report to the
//! byte; a later build uses its own estimates.
//!
//! The file holds JSON lines. The first is a [`Header`], the last the run's [`Facts`]. Between them is a line for every
//! job that a worker measured, in order of arrival, with the worker's own line unchanged.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::assemble::Estimators;
use super::plan::Plan;
use super::protocol::{Target, WorkerLine};
use super::report::Facts;
use crate::report::Report;
use crate::suite::Suite;

/// Version of the file that this build writes and reads.
pub(crate) const FORMAT: &str = "pvbench.samples/2";

/// Longest line that is read, in bytes. A worker's line for a comparison of 64 variants has 10 KB, one for a workload
/// at most 10 MB. At half of this value a long run's workloads would be refused.
const MAX_LINE_BYTES: u64 = 32 << 20;

/// The reason why a samples file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SamplesError {
    /// The file could not be written. The previous file is unchanged.
    #[error("cannot write samples to {}: {source}; free some space or name another file", path.display())]
    Write {
        /// Path of the file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The file could not be read.
    #[error("cannot read samples from {}: {source}; `pvbench run --samples FILE` writes such a file", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// A line is malformed.
    #[error("line {line} of {} is malformed: {what}; record the run again", path.display())]
    Malformed {
        /// Path of the file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// The fault in the line.
        what: String,
    },
    /// The file has another format version, or samples of another suite.
    #[error("{}: {what}", path.display())]
    Foreign {
        /// Path of the file.
        path: PathBuf,
        /// The difference.
        what: String,
    },
}

/// The first line of a samples file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Always [`FORMAT`].
    pub(crate) format: String,
    /// The suite that was measured.
    pub(crate) suite: String,
    /// The plan of the run.
    pub(crate) plan: Plan,
}

/// A line after the header.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum SamplesLine {
    Samples { worker: usize, target: Target, line: WorkerLine },
    Facts(Box<Facts>),
}

/// A writer of a run's samples, as they arrive. The file gets its name when it is complete.
pub struct SamplesWriter {
    file: BufWriter<NamedTempFile>,
    path: PathBuf,
    /// The first write that failed; nothing is written after it.
    failed: Option<io::Error>,
}

impl SamplesWriter {
    /// Begins a file.
    ///
    /// # Errors
    /// [`SamplesError::Write`] where the folder cannot be written to.
    pub(crate) fn begin(path: &Path, header: &Header) -> Result<Self, SamplesError> {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = |source| SamplesError::Write { path: path.to_owned(), source };
        // A temporary file is private; samples are to be read.
        let permissions = std::fs::Permissions::from_mode(0o644);
        let file = tempfile::Builder::new().prefix(".pvbench-tmp-").permissions(permissions).tempfile_in(folder);
        let file = BufWriter::new(file.map_err(failed)?);
        let mut writer = SamplesWriter { file, path: path.to_owned(), failed: None };
        writer.write_line(|file| Ok(serde_json::to_writer(file, header)?));
        match writer.failed.take() {
            Some(source) => Err(failed(source)),
            None => Ok(writer),
        }
    }

    /// Writes a worker's line with what it is of. The line itself is copied byte for byte, because numbers that are
    /// parsed and printed again may change in their last digit.
    pub(crate) fn write_samples(&mut self, worker: usize, target: &Target, raw: &[u8]) {
        self.write_line(|file| {
            write!(file, r#"{{"samples":{{"worker":{worker},"target":"#)?;
            serde_json::to_writer(&mut *file, target)?;
            file.write_all(br#","line":"#)?;
            file.write_all(raw)?;
            file.write_all(b"}}")
        });
    }

    /// Ends the file with the run's facts, and gives it its name.
    ///
    /// # Errors
    /// [`SamplesError::Write`] where any line could not be written.
    pub(crate) fn finish(mut self, facts: &Facts) -> Result<(), SamplesError> {
        self.write_line(|file| {
            file.write_all(br#"{"facts":"#)?;
            serde_json::to_writer(&mut *file, facts)?;
            file.write_all(b"}")
        });
        let SamplesWriter { file, path, failed } = self;
        let persisted = match failed {
            Some(source) => Err(source),
            None => file.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| {
                file.as_file().sync_all()?;
                file.persist(&path).map(drop).map_err(|error| error.error)
            }),
        };
        persisted.map_err(|source| SamplesError::Write { path, source })
    }

    fn write_line(&mut self, write: impl FnOnce(&mut BufWriter<NamedTempFile>) -> io::Result<()>) {
        if self.failed.is_none() {
            self.failed = write(&mut self.file).and_then(|()| self.file.write_all(b"\n")).err();
        }
    }
}

/// Makes the report of a samples file.
///
/// # Errors
/// [`SamplesError`], with the file and the line.
pub fn report(path: &Path, suite: &Suite) -> Result<Report, SamplesError> {
    let failed = |source| SamplesError::Read { path: path.to_owned(), source };
    let malformed = |line, what: String| SamplesError::Malformed { path: path.to_owned(), line, what };
    let mut input = BufReader::new(File::open(path).map_err(failed)?);
    let mut text = Vec::new();
    let mut header: Option<Header> = None;
    let mut estimators = Estimators::default();
    for number in 1.. {
        text.clear();
        let read = input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut text).map_err(failed)?;
        if read == 0 {
            return Err(malformed(number, "the file ends before the facts of the run".to_owned()));
        }
        if text.pop() != Some(b'\n') {
            return Err(malformed(number, "the line is cut short or too long".to_owned()));
        }
        let Some(header) = &header else {
            let found: Header = serde_json::from_slice(&text).map_err(|error| malformed(number, error.to_string()))?;
            check(path, &found, suite)?;
            header = Some(found);
            continue;
        };
        match serde_json::from_slice(&text).map_err(|error| malformed(number, error.to_string()))? {
            SamplesLine::Samples { worker, target, line: WorkerLine::Done(found) } if found.belong_to(&target) => {
                estimators.add(worker, &target, found);
            }
            SamplesLine::Facts(facts) => return Ok(estimators.report(&header.plan, suite, *facts)),
            SamplesLine::Samples { .. } => {
                return Err(malformed(number, "a worker's line holds no samples of its job".to_owned()));
            }
        }
    }
    Err(malformed(0, "the file has too many lines".to_owned()))
}

fn check(path: &Path, header: &Header, suite: &Suite) -> Result<(), SamplesError> {
    let foreign = |what| Err(SamplesError::Foreign { path: path.to_owned(), what });
    if header.format != FORMAT {
        let found: String = header.format.chars().take(60).collect();
        return foreign(format!("the format is '{found}', this build reads '{FORMAT}'; use the build that wrote it"));
    }
    if header.suite != suite.name() {
        let found: String = header.suite.chars().take(60).collect();
        let here = suite.name();
        return foreign(format!(
            "these are samples of suite '{found}', this is '{here}'; use the program of that suite"
        ));
    }
    Ok(())
}
