//! The files between this program and the recorder: the control file, the sums and the trace.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::RecordError;
use super::entries::Entry;

/// The first word of the control file.
const MAGIC: u64 = u64::from_le_bytes(*b"pvrecord");
/// Bound on the words of a window: 30 million instructions have about as many. They take 24 bytes of memory each.
const MAX_WINDOW_WORDS: usize = 1 << 24;
/// The bits of a word that hold an address; those of a kernel begin with ones.
const ADDRESS_BITS: u32 = 48;

/// The control file: the number of the kernel's own counters; windows of system calls for each repetition; addresses of
/// sites, each with the number of its counter; entries.
#[must_use]
pub fn control(counters: usize, windows: &[[u64; 2]], sites: &[[u64; 2]], entries: &BTreeMap<u64, Entry>) -> Vec<u8> {
    let mut words = vec![MAGIC, counters as u64, windows.len() as u64];
    words.extend(windows.iter().flatten());
    words.push(sites.len() as u64);
    words.extend(sites.iter().flatten());
    words.push(entries.len() as u64);
    words.extend(entries.iter().flat_map(|(address, entry)| [*address, *entry as u64]));
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// The counts of a repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Instructions outside of interrupts.
    pub kept: u64,
    /// Instructions of interrupts.
    pub cut: u64,
    /// Those of the window outside of interrupts.
    pub window_kept: u64,
    /// Those of interrupts in the window.
    pub window_cut: u64,
    /// System calls of all processes.
    pub syscalls: u64,
    /// Calls of each site outside of interrupts.
    pub calls: Vec<u64>,
    /// Calls of each site in interrupts.
    pub calls_cut: Vec<u64>,
    /// Calls by the numbers of the kernel's own counters, from read to read.
    pub own: Vec<u64>,
}

/// Reads the sums of all repetitions.
///
/// # Errors
/// If the file is incomplete.
pub fn read_sums(bytes: &[u8], repetitions: usize, sites: usize, counters: usize) -> Result<Vec<Sums>, RecordError> {
    const FIXED: usize = 7;
    let words: Vec<u64> = bytes.chunks_exact(8).map(read_word).collect();
    let size = FIXED + 2 * sites + counters;
    if words.len() != size * repetitions {
        return Err(malformed(format!("the sums have {} words instead of {}", words.len(), size * repetitions)));
    }
    let sums = words.chunks_exact(size).enumerate().map(|(index, words)| {
        let (fixed, calls) = words.split_at(FIXED);
        let (calls, calls_cut) = calls.split_at(sites);
        let (calls_cut, own) = calls_cut.split_at(sites);
        let [number, kept, cut, window_kept, window_cut, syscalls, _] = *fixed else { return None };
        let (calls, calls_cut, own) = (calls.to_vec(), calls_cut.to_vec(), own.to_vec());
        (number == index as u64).then_some(Sums { kept, cut, window_kept, window_cut, syscalls, calls, calls_cut, own })
    });
    sums.collect::<Option<_>>().ok_or_else(|| malformed("the sums are not in order".to_owned()))
}

/// A word of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `length` instructions from `at` on.
    Run {
        /// Address of the first.
        at: u64,
        /// Their number.
        length: u32,
    },
    /// An access of the next run.
    Access {
        /// Its address.
        at: u64,
        /// Index of its instruction in the run.
        index: u32,
        /// Whether it writes.
        is_store: bool,
    },
}

/// The bytes of an executed instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// As many bytes as the emulator reported: fewer than the length, if it crosses a page.
    pub length: u8,
    /// The bytes.
    pub bytes: [u8; 16],
}

/// The trace of a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Index of the repetition, over all workloads.
    pub repetition: usize,
    /// The words.
    pub events: Vec<Event>,
    /// The executed instructions.
    pub code: BTreeMap<u64, Code>,
}

/// Reads the next window; `None` at the end of the trace.
///
/// # Errors
/// If the trace is incomplete or malformed.
pub fn read_window(trace: &mut impl Read) -> Result<Option<Window>, RecordError> {
    let Some(first) = next_word(trace)? else { return Ok(None) };
    let (BEGIN, _, repetition) = split(first) else { return Err(malformed("a window has no beginning".to_owned())) };
    let mut window = Window { repetition: repetition as usize, ..Window::default() };
    let count = loop {
        let word = next_word(trace)?.ok_or_else(|| malformed("a window has no end".to_owned()))?;
        if window.events.len() == MAX_WINDOW_WORDS {
            return Err(malformed("a window has no end within its bound".to_owned()));
        }
        let (kind, extra, address) = split(word);
        let at = extend(address);
        window.events.push(match kind {
            RUN => Event::Run { at, length: extra },
            LOAD | STORE => Event::Access { at, index: extra, is_store: kind == STORE },
            END => break address,
            _ => return Err(malformed(format!("the word {word:#x} is unknown"))),
        });
    };
    for _ in 0..count {
        let mut words = [0u64; 4];
        for word in &mut words {
            *word = next_word(trace)?.ok_or_else(|| malformed("the code of a window is cut short".to_owned()))?;
        }
        let [at, length, low, high] = words;
        let bytes = (u128::from(high) << 64 | u128::from(low)).to_le_bytes();
        window.code.insert(at, Code { length: length.min(15) as u8, bytes });
    }
    Ok(Some(window))
}

/// Kinds of words; `src/linux/record/plugin/state.rs` has the same.
const RUN: u64 = 1;
const LOAD: u64 = 2;
const STORE: u64 = 3;
const BEGIN: u64 = 4;
const END: u64 = 5;

/// The kind of a word, its twelve bits, and its address.
fn split(word: u64) -> (u64, u32, u64) {
    (word >> 60, (word >> ADDRESS_BITS & 0xfff) as u32, word & ((1 << ADDRESS_BITS) - 1))
}

/// The address with the ones that a kernel's begins with.
fn extend(address: u64) -> u64 {
    ((address << (64 - ADDRESS_BITS)) as i64 >> (64 - ADDRESS_BITS)) as u64
}

fn read_word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap_or_default())
}

fn next_word(trace: &mut impl Read) -> Result<Option<u64>, RecordError> {
    let mut word = [0u8; 8];
    let mut has = 0;
    while has < word.len() {
        match trace.read(&mut word[has..]) {
            Ok(0) if has == 0 => return Ok(None),
            Ok(0) => return Err(malformed("it ends within a word".to_owned())),
            Ok(read) => has += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(malformed(error.to_string())),
        }
    }
    Ok(Some(u64::from_le_bytes(word)))
}

pub(super) fn malformed(what: String) -> RecordError {
    RecordError::Trace { what }
}
