//! The file of a recording: a magic, a version, what it is about as JSON, and the rest compressed.
//!
//! The compressed part is a row of numbers in LEB128. What repeats is predicted and written as 0: the next run by the
//! two before it, an iteration count by the last of the same `rep`, a line by the same access of the last execution of
//! the same run. A file is untrusted: every number is checked before it is used, and all memory is bounded.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::recording::{About, Class, Instruction, Recording, Run, Touch, VERSION};
use super::{MAX_FILE_BYTES, RecordingError};

const MAGIC: &[u8; 12] = b"pvrecording\n";
/// Bound on the JSON, in bytes.
const MAX_ABOUT_BYTES: usize = 1 << 20;
/// Bounds on the parts of a recording; a recording of 5,000,000 instructions has a tenth of each.
const MAX_CODE: u64 = 1 << 20;
const MAX_RUNS: u64 = 1 << 20;
const MAX_SEQUENCE: u64 = 1 << 23;
const MAX_TOUCHES: u64 = 1 << 23;
/// Bound on the unpacked numbers, in bytes: five for each number of the largest recording.
const MAX_UNPACKED: u64 = 5 * (MAX_CODE * 4 + MAX_RUNS * 2 + MAX_SEQUENCE * 2 + MAX_TOUCHES);
/// Bound on the executed instructions, six times those of a usual recording: what reads one takes time and memory for
/// each.
const MAX_EXECUTED: u64 = 1 << 25;
/// Bound on the iterations of a `rep`: 4 GB byte by byte.
const MAX_ROUNDS: u64 = 1 << 32;

/// Marks in the class byte.
const REP: u64 = 0x80;

impl Recording {
    /// The bytes of the file. Equal recordings have equal bytes.
    ///
    /// # Errors
    /// If the JSON or the compression fails, which needs memory only.
    pub fn to_bytes(&self) -> std::io::Result<Vec<u8>> {
        let about = serde_json::to_vec(&self.about)?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((about.len() as u32).to_le_bytes());
        bytes.extend(&about);
        let mut packed = GzEncoder::new(bytes, Compression::best());
        packed.write_all(&self.pack())?;
        packed.finish()
    }

    fn pack(&self) -> Vec<u8> {
        let mut out = Numbers::default();
        out.put(self.code.len() as u64);
        let mut end = 0u64;
        for it in &self.code {
            out.put_signed(it.address.wrapping_sub(end) as i64);
            end = it.address.wrapping_add(u64::from(it.length));
            out.put(u64::from(it.length));
            out.put(it.class.index() as u64 | if it.is_rep { REP } else { 0 });
            if let Class::Hook(index) | Class::Privileged(index) = it.class {
                out.put(u64::from(index));
            }
        }
        out.put(self.runs.len() as u64);
        let mut first = 0i64;
        for run in &self.runs {
            out.put_signed(i64::from(run.first) - first);
            first = i64::from(run.first);
            out.put(u64::from(run.length));
        }
        out.put(self.sequence.len() as u64);
        let mut next = NextRun::new();
        for run in &self.sequence {
            out.put(if next.expected() == *run { 0 } else { u64::from(*run) + 1 });
            next.note(*run);
        }
        let mut last = LastRounds::default();
        let mut rounds = self.rounds.iter();
        for run in &self.sequence {
            for (index, rounds) in self.reps_of(*run).zip(rounds.by_ref()) {
                out.put_signed(*rounds as i64 - last.replace(index, *rounds) as i64);
            }
        }
        let mut counts = vec![0u32; self.runs.len()];
        for (run, count) in self.sequence.iter().zip(&self.touch_counts) {
            if let Some(last) = counts.get_mut(*run as usize) {
                out.put_signed(i64::from(*count) - i64::from(*last));
                *last = *count;
            }
        }
        let mut lines = LastLines::new(self.runs.len());
        let mut touches = self.touches.iter();
        for (run, count) in self.sequence.iter().zip(&self.touch_counts) {
            for (index, touch) in (0..*count as usize).zip(touches.by_ref()) {
                let value = touch.line << 1 | u64::from(touch.is_store);
                out.put_signed(value.wrapping_sub(lines.replace(*run, index, value)) as i64);
            }
        }
        out.0
    }

    /// Indexes of the `rep` instructions of a run.
    fn reps_of(&self, run: u32) -> impl Iterator<Item = u32> {
        let first = self.runs.get(run as usize).map_or(0, |run| run.first);
        (first..).zip(self.code_of(run)).filter(|(_, instruction)| instruction.is_rep).map(|(index, _)| index)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is no recording, has another version or is damaged.
    pub fn read(path: &Path) -> Result<Recording, RecordingError> {
        let failed = |source| RecordingError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        fs::File::open(path)
            .map_err(failed)?
            .take(MAX_FILE_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        Recording::of(path, &bytes)
    }

    /// Reads the bytes of a file; `path` is for messages.
    ///
    /// # Errors
    /// As for [`Recording::read`].
    pub fn of(path: &Path, bytes: &[u8]) -> Result<Recording, RecordingError> {
        let damaged = |what: &str| RecordingError::Damaged { path: path.to_owned(), what: what.to_owned() };
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Err(RecordingError::Foreign { path: path.to_owned() });
        };
        let (version, rest) = split_word(rest).ok_or_else(|| damaged("it ends in its first bytes"))?;
        if version != VERSION {
            return Err(RecordingError::Version { path: path.to_owned(), found: version });
        }
        if bytes.len() > MAX_FILE_BYTES {
            return Err(damaged("it is larger than any recording"));
        }
        let (length, rest) = split_word(rest).ok_or_else(|| damaged("it ends in its first bytes"))?;
        let about = rest.get(..length as usize).filter(|about| about.len() <= MAX_ABOUT_BYTES);
        let about = about.ok_or_else(|| damaged("it ends in its description"))?;
        let packed = rest.get(about.len()..).unwrap_or_default();
        let about: About = serde_json::from_slice(about).map_err(|error| damaged(&clip(&error.to_string())))?;
        let mut unpacked = Vec::new();
        let unpacking = GzDecoder::new(packed).take(MAX_UNPACKED + 1).read_to_end(&mut unpacked);
        unpacking.map_err(|error| damaged(&clip(&format!("its packed part cannot be unpacked: {error}"))))?;
        unpack(about, &mut Reader(&unpacked)).ok_or_else(|| damaged("a number is out of range, or missing"))
    }
}

/// Shortens a message about untrusted bytes, and leaves out control characters.
fn clip(message: &str) -> String {
    const MAX_CHARS: usize = 200;
    message.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect()
}

fn split_word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*word), rest))
}

/// Reads the numbers of a recording. `None` if one is missing or out of range.
fn unpack(about: About, numbers: &mut Reader) -> Option<Recording> {
    let mut code = Vec::new();
    let mut end = 0u64;
    for _ in 0..numbers.take_up_to(MAX_CODE)? {
        let address = end.wrapping_add(numbers.take_signed()? as u64);
        let length = numbers.take_up_to(15)? as u8;
        let class = numbers.take_up_to(0xff)?;
        let class = (read_class(class & !REP, numbers, &about)?, class & REP != 0);
        end = address.wrapping_add(u64::from(length));
        code.push(Instruction { address, length, class: class.0, is_rep: class.1 });
    }
    let mut runs = Vec::new();
    let mut first = 0i64;
    for _ in 0..numbers.take_up_to(MAX_RUNS)? {
        first = first.checked_add(numbers.take_signed()?)?;
        let length = numbers.take_up_to(MAX_CODE)?;
        let last = u64::try_from(first).ok()?.checked_add(length)?;
        if length == 0 || last > code.len() as u64 {
            return None;
        }
        runs.push(Run { first: first as u32, length: length as u32 });
    }
    let mut sequence = Vec::new();
    let (mut next, mut executed) = (NextRun::new(), 0u64);
    for _ in 0..numbers.take_up_to(MAX_SEQUENCE)? {
        let run = match numbers.take_up_to(u64::from(u32::MAX))? {
            0 => next.expected(),
            run => (run - 1) as u32,
        };
        executed += u64::from(runs.get(run as usize)?.length);
        next.note(run);
        sequence.push(run);
    }
    if executed > MAX_EXECUTED {
        return None;
    }
    let mut recording =
        Recording { about, code, runs, sequence, rounds: Vec::new(), touch_counts: Vec::new(), touches: Vec::new() };
    recording.rounds = take_rounds(&recording, numbers)?;
    let mut counts = vec![0i64; recording.runs.len()];
    let mut all = 0u64;
    for run in &recording.sequence {
        let count = counts.get_mut(*run as usize)?;
        *count = count.checked_add(numbers.take_signed()?)?;
        all += u64::try_from(*count).ok().filter(|count| *count <= MAX_TOUCHES)?;
        recording.touch_counts.push(*count as u32);
    }
    if all > MAX_TOUCHES {
        return None;
    }
    let mut lines = LastLines::new(recording.runs.len());
    for (run, count) in recording.sequence.iter().zip(&recording.touch_counts) {
        for index in 0..*count as usize {
            let difference = numbers.take_signed()? as u64;
            let value = lines.last(*run, index).wrapping_add(difference);
            lines.replace(*run, index, value);
            recording.touches.push(Touch { line: value >> 1, is_store: value & 1 == 1 });
        }
    }
    numbers.0.is_empty().then_some(recording)
}

fn take_rounds(recording: &Recording, numbers: &mut Reader) -> Option<Vec<u64>> {
    let (mut last, mut all) = (LastRounds::default(), Vec::new());
    for run in &recording.sequence {
        for index in recording.reps_of(*run) {
            let rounds = (last.get(index) as i64).checked_add(numbers.take_signed()?)?;
            let rounds = u64::try_from(rounds).ok().filter(|rounds| *rounds <= MAX_ROUNDS)?;
            last.replace(index, rounds);
            all.push(rounds);
        }
    }
    Some(all)
}

fn read_class(class: u64, numbers: &mut Reader, about: &About) -> Option<Class> {
    let mut index = |names: &[String]| {
        let index = numbers.take_up_to(u64::from(u16::MAX))?;
        (index < names.len() as u64).then_some(index as u16)
    };
    Some(match class {
        0 => Class::Hook(index(&about.ops)?),
        1 => Class::Privileged(index(&about.privileged)?),
        2 => Class::Return,
        3 => Class::Call,
        4 => Class::Indirect,
        5 => Class::Branch,
        6 => Class::Jump,
        7 => Class::Store,
        8 => Class::Load,
        9 => Class::Other,
        _ => return None,
    })
}

/// Numbers in LEB128.
#[derive(Default)]
struct Numbers(Vec<u8>);

impl Numbers {
    fn put(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// A number with its sign in the lowest bit, so that small ones of both signs are short.
    fn put_signed(&mut self, number: i64) {
        self.put((number << 1 ^ number >> 63) as u64);
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take_up_to(&mut self, max: u64) -> Option<u64> {
        self.take().filter(|number| *number <= max)
    }

    fn take_signed(&mut self) -> Option<i64> {
        let number = self.take()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }
}

/// Predicts the next run by the two before it, in a table of fixed size.
struct NextRun {
    table: Vec<u32>,
    last: [u32; 2],
}

impl NextRun {
    /// Entries of the table; two pairs of runs with the same entry cost a few bytes.
    const ENTRIES: usize = 1 << 18;

    fn new() -> Self {
        NextRun { table: vec![0; Self::ENTRIES], last: [0; 2] }
    }

    fn slot(&self) -> usize {
        let [before, last] = self.last.map(u64::from);
        ((before << 32 | last).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 46) as usize % Self::ENTRIES
    }

    fn expected(&self) -> u32 {
        self.table.get(self.slot()).copied().unwrap_or_default()
    }

    fn note(&mut self, run: u32) {
        let slot = self.slot();
        if let Some(entry) = self.table.get_mut(slot) {
            *entry = run;
        }
        self.last = [self.last[1], run];
    }
}

/// The last iterations of each `rep`, by the index of the instruction.
#[derive(Default)]
struct LastRounds(HashMap<u32, u64>);

impl LastRounds {
    fn get(&self, index: u32) -> u64 {
        self.0.get(&index).copied().unwrap_or_default()
    }

    fn replace(&mut self, index: u32, rounds: u64) -> u64 {
        self.0.insert(index, rounds).unwrap_or_default()
    }
}

/// The lines of the last execution of each run.
struct LastLines {
    lines: Vec<Vec<u64>>,
    /// The last line of all, which predicts an access that no earlier execution had.
    last: u64,
}

impl LastLines {
    fn new(runs: usize) -> Self {
        LastLines { lines: vec![Vec::new(); runs], last: 0 }
    }

    fn last(&self, run: u32, index: usize) -> u64 {
        let lines = self.lines.get(run as usize);
        lines.and_then(|lines| lines.get(index)).copied().unwrap_or(self.last)
    }

    fn replace(&mut self, run: u32, index: usize, value: u64) -> u64 {
        let last = self.last(run, index);
        self.last = value;
        if let Some(lines) = self.lines.get_mut(run as usize) {
            match lines.get_mut(index) {
                Some(line) => *line = value,
                None => lines.push(value),
            }
        }
        last
    }
}
