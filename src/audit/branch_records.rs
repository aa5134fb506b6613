//! Branch records of the CPU (LBR), as `perf script -F comm,pid,period,event,brstack --show-mmap-events` prints them.
//!
//! ```text
//! app  1234 PERF_RECORD_MMAP2 1234/1234: [0x557a0000(0x3000) @ 0x1000 fe:00 99 0]: r-xp /bin/app   a mapping
//! app  1234  1000003 br_inst_retired.near_taken:u:  0x557a0388/0x557a1000/P/-/-/3 0x..              a sample
//! ```
//!
//! A sample has the last taken branches, the newest first, as `from/to/flags`. An address of a running program is one
//! of the file by its mapping (address to offset) and by the segments of the file (offset to address). If the event
//! counts taken branches, then each sample stands for `period` of them, and a record for `period / records of the
//! sample`.

mod parse;

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;
use std::ops::Range;
use std::path::Path;

use super::counts::{CountFileError, is_same_file};
use parse::{ParsedMapping, parse_event, parse_mapping, parse_record, without_files};

/// Longest line in bytes. 32 records with the paths of their files have some 10,000.
const MAX_LINE_BYTES: usize = 1 << 18;
/// Bound on mappings. A process has some hundred; twice as many would be a gigabyte of text.
const MAX_MAPPINGS: usize = 1 << 20;
/// Bound on different branches that are counted, 40 bytes each. A program of 100 MB executes some hundred thousand.
const MAX_BRANCHES: usize = 1 << 22;
/// Instructions between two taken branches cover fewer bytes than this. Longer runs are code without a branch, which
/// compilers write for unrolled loops only.
const MAX_RUN_BYTES: u64 = 4096;
/// Share of neighbouring records that must follow each other, if no kind of a branch was filtered out. Interrupts and
/// system calls break a few per mille.
const MIN_FOLLOWING_SHARE: f64 = 0.9;
/// Events of taken branches: Intel's, AMD's, and Intel's by number.
const TAKEN_BRANCHES: [&str; 3] = ["br_inst_retired.near_taken", "ex_ret_brn_tkn", "r20c4"];
/// Addresses from here on are the kernel's.
const KERNEL: u64 = 1 << 63;

/// A part of the file that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its bytes in the file.
    pub offsets: Range<u64>,
    /// Address of the first byte.
    pub address: u64,
}

/// What is known of the binary.
pub struct Binary<'a> {
    /// Its file.
    pub path: &'a Path,
    /// Its build id, in hexadecimal digits.
    pub build_id: Option<String>,
    /// Its segments.
    pub segments: Vec<Segment>,
}

/// Where a branch went.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BranchTarget {
    /// An address of the binary.
    Own(u64),
    /// A file, by its number in [`Records::files`], and an offset in it.
    Other(usize, u64),
    /// An address where no file lies.
    Unknown(u64),
}

/// The branches of a binary.
#[derive(Debug)]
pub struct Records {
    /// All records, also of other binaries.
    pub total: u64,
    /// The branches of this binary: by the address of the instruction, the records of each target.
    pub branches: HashMap<u64, BTreeMap<BranchTarget, u64>>,
    /// Names of files.
    pub files: Vec<String>,
    /// Taken branches for which a record stands, or why that is unknown.
    pub branches_per_record: Result<f64, Unscaled>,
}

/// Why the number of branches for which a record stands is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unscaled {
    /// The file has no periods.
    #[error(
        "the file has no period and event, so the number of calls is unknown; print them with `perf script -F \
         comm,pid,period,event,brstack --show-mmap-events`"
    )]
    NoPeriod,
    /// The event counts something else.
    #[error(
        "{0} does not count taken branches, so the number of calls is unknown; record them with `perf record -j any,u \
         -e br_inst_retired.near_taken:u -c 1000003`"
    )]
    OtherEvent(String),
    /// Records of some branches are missing.
    #[error(
        "the records do not follow each other: kinds of branches were filtered out, so the number of calls is unknown; \
         record all with `perf record -j any,u`"
    )]
    Filtered,
    /// The event counts the kernel, too.
    #[error(
        "{0} also counts the kernel's branches, and the records have none, so the number of calls is unknown; record \
         with `-e {0}:u`"
    )]
    Kernel(String),
}

/// Reads the branches of a binary.
///
/// # Errors
/// If the file is not of perf, has no branches of the binary, or was made with another build.
pub fn read(path: &str, input: &mut dyn BufRead, binary: &Binary<'_>) -> Result<Records, CountFileError> {
    let mut reader = Reader::new(binary);
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        number += 1;
        let read = std::io::Read::take(&mut *input, MAX_LINE_BYTES as u64).read_until(b'\n', &mut line);
        let length = read.map_err(|source| CountFileError::Read { path: path.to_owned(), source })?;
        if length == 0 {
            break;
        }
        let wrong = |message: String| CountFileError::Line { path: path.to_owned(), line: number, message, how: HOW };
        if length == MAX_LINE_BYTES {
            return Err(wrong(format!("the line has more than {MAX_LINE_BYTES} bytes")));
        }
        reader.line(&String::from_utf8_lossy(&line)).map_err(wrong)?;
    }
    if let Some((ran, own)) = reader.other_build {
        return Err(CountFileError::OtherBuild {
            path: path.to_owned(),
            binary: binary.path.display().to_string(),
            ran,
            own,
        });
    }
    let records = &mut reader.records;
    let message = if records.total == 0 {
        "no line has branch records"
    } else if records.files.is_empty() {
        "no line says where files lie (PERF_RECORD_MMAP2)"
    } else {
        ""
    };
    if !message.is_empty() {
        let (path, message) = (path.to_owned(), message.to_owned());
        return Err(CountFileError::Line { path, line: number.saturating_sub(1), message, how: HOW });
    }
    if records.branches.is_empty() {
        let mut ran = std::mem::take(&mut records.files);
        ran.truncate(8);
        let (path, binary) = (path.to_owned(), binary.path.display().to_string());
        return Err(CountFileError::OtherBinary { path, binary, ran: ran.join(", ") });
    }
    let scale = reader.scale();
    let mut records = reader.records;
    records.branches_per_record = scale;
    Ok(records)
}

const HOW: &str = "make it with `perf script -F comm,pid,period,event,brstack --show-mmap-events`";

/// A file in the memory of a process.
#[derive(Clone, Copy)]
struct Mapping {
    end: u64,
    offset: u64,
    file: usize,
    is_own: bool,
}

#[derive(Default)]
struct Memory {
    mappings: BTreeMap<u64, Mapping>,
}

impl Memory {
    /// Adds a mapping. It takes the place of those that lay there.
    fn add(&mut self, start: u64, mapping: Mapping) {
        if let Some((_, before)) = self.mappings.range_mut(..start).next_back() {
            before.end = before.end.min(start);
        }
        while let Some((&at, _)) = self.mappings.range(start..mapping.end).next() {
            self.mappings.remove(&at);
        }
        self.mappings.insert(start, mapping);
    }

    fn find(&self, address: u64) -> Option<(u64, Mapping)> {
        let (start, mapping) = self.mappings.range(..=address).next_back()?;
        (address < mapping.end).then_some((*start, *mapping))
    }
}

struct Reader<'a> {
    binary: &'a Binary<'a>,
    records: Records,
    numbers: HashMap<String, usize>,
    /// The memory of each process.
    processes: HashMap<u64, Memory>,
    /// The memory of all processes, for a sample whose process has no mappings: a child that called no `exec`.
    all: Memory,
    mappings: usize,
    branches: usize,
    /// The build id that ran and that of the binary, if they differ.
    other_build: Option<(String, String)>,
    /// Sum of the periods of samples with records.
    periods: u64,
    /// Records of samples with a period.
    scaled: u64,
    /// The event of the first sample that does not count taken branches.
    other_event: Option<String>,
    /// The event, if it is not restricted to programs.
    with_kernel: Option<String>,
    has_kernel: bool,
    /// Neighbouring records, and those that follow each other.
    neighbours: u64,
    following: u64,
}

impl<'a> Reader<'a> {
    fn new(binary: &'a Binary<'a>) -> Self {
        Reader {
            binary,
            records: Records {
                total: 0,
                branches: HashMap::new(),
                files: Vec::new(),
                branches_per_record: Err(Unscaled::NoPeriod),
            },
            numbers: HashMap::new(),
            processes: HashMap::new(),
            all: Memory::default(),
            mappings: 0,
            branches: 0,
            other_build: None,
            periods: 0,
            scaled: 0,
            other_event: None,
            with_kernel: None,
            has_kernel: false,
            neighbours: 0,
            following: 0,
        }
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        match line.split_once("PERF_RECORD_MMAP") {
            Some((_, rest)) => match parse_mapping(rest) {
                Some(parsed) => self.map(&parsed),
                None => Err("the mapping is malformed".to_owned()),
            },
            None => self.sample(line),
        }
    }

    fn map(&mut self, parsed: &ParsedMapping<'_>) -> Result<(), String> {
        if !parsed.is_code || parsed.range.is_empty() {
            return Ok(());
        }
        self.mappings += 1;
        if self.mappings > MAX_MAPPINGS {
            return Err(format!("more than {MAX_MAPPINGS} mappings"));
        }
        let file = match self.numbers.get(parsed.path) {
            Some(number) => *number,
            None => {
                let number = self.records.files.len();
                self.records.files.push(parsed.path.to_owned());
                self.numbers.insert(parsed.path.to_owned(), number);
                number
            }
        };
        let is_own = is_same_file(Path::new(parsed.path), self.binary.path);
        if let (true, Some(ran), Some(own)) = (is_own, parsed.build_id, &self.binary.build_id)
            && !ran.eq_ignore_ascii_case(own)
        {
            self.other_build.get_or_insert_with(|| (ran.to_owned(), own.clone()));
        }
        let mapping = Mapping { end: parsed.range.end, offset: parsed.offset, file, is_own };
        self.processes.entry(parsed.process).or_default().add(parsed.range.start, mapping);
        self.all.add(parsed.range.start, mapping);
        Ok(())
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let line = without_files(line);
        let mut process = None;
        let (mut period, mut event, mut last) = (None, None, "");
        let mut newer: Option<(u64, u64)> = None;
        let mut records = 0;
        for (index, word) in line.split_ascii_whitespace().enumerate() {
            if let Some((from, to)) = parse_record(word) {
                records += 1;
                self.record(process, from, to)?;
                if let Some((newer_from, _)) = newer {
                    self.neighbours += 1;
                    self.following += u64::from(newer_from.checked_sub(to).is_some_and(|run| run < MAX_RUN_BYTES));
                }
                newer = Some((from, to));
            } else if records == 0 {
                // The name of the program comes first, and may have spaces and digits.
                let number = word.split('/').next().and_then(|word| word.parse().ok());
                let is_process = number.is_some_and(|number| self.processes.contains_key(&number));
                if index > 0 && process.is_none() && is_process {
                    process = number;
                } else if let Some(name) = parse_event(word).filter(|_| event.is_none()) {
                    event = Some(name.to_owned());
                    period = last.parse::<u64>().ok();
                }
            }
            last = word;
        }
        if let (Some(period), Some(event), true) = (period, event, records > 0) {
            self.periods = self.periods.saturating_add(period);
            self.scaled += records;
            let name = event.split(':').next().unwrap_or_default();
            if !TAKEN_BRANCHES.iter().any(|known| name.contains(known)) {
                self.other_event.get_or_insert(event);
            } else if !event.split_once(':').is_some_and(|(_, modifiers)| modifiers.contains('u')) {
                self.with_kernel.get_or_insert(event);
            }
        }
        Ok(())
    }

    fn record(&mut self, process: Option<u64>, from: u64, to: u64) -> Result<(), String> {
        self.records.total += 1;
        self.has_kernel |= from >= KERNEL;
        let Some(BranchTarget::Own(from)) = self.resolve(process, from) else { return Ok(()) };
        let to = self.resolve(process, to).unwrap_or(BranchTarget::Unknown(to));
        let targets = self.records.branches.entry(from).or_default();
        if !targets.contains_key(&to) {
            self.branches += 1;
            if self.branches > MAX_BRANCHES {
                return Err(format!("more than {MAX_BRANCHES} different branches"));
            }
        }
        *targets.entry(to).or_default() += 1;
        Ok(())
    }

    /// The place in a file that an address of a process is.
    fn resolve(&self, process: Option<u64>, address: u64) -> Option<BranchTarget> {
        let memory = process.and_then(|process| self.processes.get(&process)).unwrap_or(&self.all);
        let (start, mapping) = memory.find(address)?;
        let offset = mapping.offset.checked_add(address - start)?;
        if !mapping.is_own {
            return Some(BranchTarget::Other(mapping.file, offset));
        }
        let segment = self.binary.segments.iter().find(|segment| segment.offsets.contains(&offset))?;
        Some(BranchTarget::Own(segment.address.checked_add(offset - segment.offsets.start)?))
    }

    fn scale(&self) -> Result<f64, Unscaled> {
        if self.scaled == 0 || self.scaled < self.records.total {
            return Err(Unscaled::NoPeriod);
        }
        if let Some(event) = &self.other_event {
            return Err(Unscaled::OtherEvent(event.clone()));
        }
        if (self.following as f64) < MIN_FOLLOWING_SHARE * self.neighbours as f64 {
            return Err(Unscaled::Filtered);
        }
        if let Some(event) = self.with_kernel.as_ref().filter(|_| !self.has_kernel) {
            return Err(Unscaled::Kernel(event.clone()));
        }
        Ok(self.periods as f64 / self.scaled as f64)
    }
}

/// Whether a word is a branch record.
pub(super) fn is_record(word: &str) -> bool {
    parse_record(word).is_some()
}

#[cfg(test)]
mod tests;
