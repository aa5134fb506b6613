//! Counts of a run in a file: which format it has, and what it says of one binary.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::branch_records::{self, Binary, Records};
use super::callgrind::{self, CallgrindError, Executed};
use super::coverage::{self, LineCounts};

/// Why counts cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CountFileError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// A file of callgrind cannot be used.
    #[error(transparent)]
    Callgrind(#[from] CallgrindError),
    /// A line is malformed.
    #[error("{path}:{line}: {message}; {how}")]
    Line {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// The fault.
        message: String,
        /// How to make such a file.
        how: &'static str,
    },
    /// The format is another one.
    #[error("{path}: {what}; {how}")]
    Format {
        /// The file.
        path: String,
        /// What it is, as far as it tells.
        what: &'static str,
        /// What to do.
        how: &'static str,
    },
    /// The file is larger than the bound.
    #[error("{path}: more than {max} bytes of text; make counts of the source files of this program only")]
    TooLarge {
        /// The file.
        path: String,
        /// The bound, in bytes.
        max: u64,
    },
    /// Nothing of the binary ran.
    #[error("{path}: nothing of {binary} ran; these files did: {ran}")]
    OtherBinary {
        /// The file.
        path: String,
        /// The binary.
        binary: String,
        /// Files with machine code.
        ran: String,
    },
    /// Another build of the binary ran.
    #[error("{path}: the build id of {binary} is {own}, and {ran} ran; name the build that ran, or run this one")]
    OtherBuild {
        /// The file.
        path: String,
        /// The binary.
        binary: String,
        /// The build id that ran.
        ran: String,
        /// That of the binary.
        own: String,
    },
}

/// A format of counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountFormat {
    /// callgrind.
    Callgrind,
    /// `perf script` of branch records.
    BranchRecords,
    /// JSON of gcov or llvm-cov.
    Coverage,
}

impl CountFormat {
    /// What makes such files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CountFormat::Callgrind => "callgrind",
            CountFormat::BranchRecords => "perf script",
            CountFormat::Coverage => "gcov or llvm-cov",
        }
    }
}

/// The counts of a binary.
#[derive(Debug)]
pub enum Measured {
    /// By instruction.
    Executed(Executed),
    /// By sampled branch.
    Records(Records),
    /// By source line.
    Lines(LineCounts),
}

/// First bytes of a file that tell its format. Headers of callgrind and the first mappings of perf are shorter.
const HEAD_BYTES: usize = 1 << 16;
const GZIP: &[u8] = b"\x1f\x8b";
/// Formats that another program has to print first: their first bytes, what they are, and what to do.
const UNPRINTED: [(&[u8], &str, &str); 6] = [
    (
        b"PERFILE2",
        "a recording of perf",
        "print it with `perf script -F comm,pid,period,event,brstack --show-mmap-events`",
    ),
    (b"adcg", "data of gcov", GCOV),
    (b"oncg", "notes of gcov", GCOV),
    (b"\x81rforpl\xff", "a raw profile of LLVM", LLVM_COV),
    (b"\x81Rforpl\xff", "a raw profile of LLVM", LLVM_COV),
    (b"\xfflprofi\x81", "a profile of LLVM", LLVM_COV),
];
const GCOV: &str = "print it with `gcov --json-format --stdout FILE.gcda`";
const LLVM_COV: &str = "print it with `llvm-profdata merge` and `llvm-cov export -instr-profile=FILE PROGRAM`";
const UNKNOWN: (&str, &str) = (
    "no counts of a run that pvbench knows",
    "make them with callgrind, perf script, gcov or llvm-cov; `docs/audit.md` has the commands",
);
/// Words of the coverage documents. Other documents that begin with a brace have none of them.
const COVERAGE_WORDS: [&str; 4] =
    ["\"gcc_version\"", "\"unexecuted_block\"", "\"llvm.coverage.json.export\"", "\"expansions\""];

/// Tells the format of a file by its first bytes; `None` for a file that has no counts of a program.
#[must_use]
pub fn detect(path: &Path) -> Option<CountFormat> {
    let mut head = Vec::new();
    // What is read from a pipe is gone.
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    File::open(path).ok()?.take(HEAD_BYTES as u64).read_to_end(&mut head).ok()?;
    detect_bytes(&head)
}

fn detect_bytes(head: &[u8]) -> Option<CountFormat> {
    if head.starts_with(GZIP) {
        // The end of the head is in the middle of the packed bytes: what came before counts.
        let mut text = Vec::new();
        let _ = MultiGzDecoder::new(head).take(HEAD_BYTES as u64).read_to_end(&mut text);
        return detect_text(&text).filter(|format| *format == CountFormat::Coverage);
    }
    detect_text(head)
}

fn detect_text(head: &[u8]) -> Option<CountFormat> {
    let text = String::from_utf8_lossy(head);
    if text.trim_start().starts_with('{') {
        return COVERAGE_WORDS.iter().any(|word| text.contains(word)).then_some(CountFormat::Coverage);
    }
    if text.starts_with("# callgrind format") {
        return Some(CountFormat::Callgrind);
    }
    if text.contains("PERF_RECORD_MMAP") || text.split_ascii_whitespace().any(branch_records::is_record) {
        return Some(CountFormat::BranchRecords);
    }
    // Older callgrind has no comment in front.
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let is_header = |line: &str| line.starts_with("version: 1") || line.starts_with("creator: callgrind");
    lines.next().is_some_and(is_header).then_some(CountFormat::Callgrind)
}

/// Reads the counts of a binary.
///
/// # Errors
/// If the file cannot be read, has another format, or has no counts of the binary.
pub fn read(path: &Path, binary: &Binary<'_>) -> Result<Measured, CountFileError> {
    let shown = path.display().to_string();
    let unreadable = |source| CountFileError::Read { path: shown.clone(), source };
    let mut input = BufReader::with_capacity(HEAD_BYTES, File::open(path).map_err(unreadable)?);
    let head = input.fill_buf().map_err(unreadable)?;
    let format = |(what, how)| CountFileError::Format { path: shown.clone(), what, how };
    if let Some((_, what, how)) = UNPRINTED.iter().find(|(first, _, _)| head.starts_with(first)) {
        return Err(format((what, how)));
    }
    let is_packed = head.starts_with(GZIP);
    match detect_bytes(head) {
        Some(CountFormat::Callgrind) => Ok(Measured::Executed(callgrind::read(&shown, &mut input, binary.path)?)),
        Some(CountFormat::BranchRecords) => branch_records::read(&shown, &mut input, binary).map(Measured::Records),
        Some(CountFormat::Coverage) if is_packed => {
            coverage::read(&shown, &mut BufReader::new(MultiGzDecoder::new(input))).map(Measured::Lines)
        }
        Some(CountFormat::Coverage) => coverage::read(&shown, &mut input).map(Measured::Lines),
        None => Err(format(UNKNOWN)),
    }
}

/// Whether two paths lead to the same file. A file of counts of another machine is compared by name.
pub(super) fn is_same_file(a: &Path, b: &Path) -> bool {
    if a == b {
        return true;
    }
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a.file_name().is_some() && a.file_name() == b.file_name(),
    }
}

#[cfg(test)]
mod tests;
