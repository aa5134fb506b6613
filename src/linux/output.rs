//! The output of the guest: lines of JSON from the debug console, each checked before it is used.

use serde::Deserialize;

use super::workload::WORKLOADS;

/// The first line: instruction counts of loops of known length.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    r#loop: u64,
    rep: [u64; 2],
    counters: usize,
}

/// A workload in one repetition.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Name of the workload.
    pub workload: String,
    /// Index of the repetition, from 0.
    pub rep: u64,
    /// Number of units.
    pub units: u64,
    /// Instructions of all units.
    pub instructions: u64,
    /// Error number of a failed system call; 0 if none failed.
    pub failed: u64,
    /// Growth of each of the kernel's own counters.
    pub counters: Vec<u64>,
}

/// The last line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    end: usize,
}

/// Why the output cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// The last line is missing.
    #[error("the guest output ends after {lines} lines, without its last line; the guest stopped early")]
    NoEnd {
        /// Number of lines.
        lines: usize,
    },
    /// A line is malformed.
    #[error("line {line} of the guest output is malformed: {what}")]
    Garbage {
        /// Number of the line, from 1.
        line: usize,
        /// The fault.
        what: String,
    },
    /// The clock of the guest does not count instructions.
    #[error(
        "a loop of 2,000,000 instructions was counted as {found}: the clock of this emulator does not count \
         instructions (-icount shift=0,sleep=off); use another version of QEMU"
    )]
    NotCounting {
        /// The count.
        found: u64,
    },
    /// A system call of a workload failed.
    #[error(
        "{workload}: a system call of the guest failed with error {number}; check that the kernel is built with it"
    )]
    Failed {
        /// Name of the workload.
        workload: String,
        /// `errno`
        number: u64,
    },
}

/// Length of the known loop, in instructions.
const MIN_LOOP: u64 = 2_000_000;
/// Upper bound of its count, in instructions: a timer tick may fall into the loop.
const MAX_LOOP: u64 = 2_100_000;

/// Parses and checks the whole output. `counters` is the number of counters of the kernel.
///
/// # Errors
/// If the text is not the complete output of the guest's init process.
pub fn read(text: &str, counters: usize) -> Result<Vec<Record>, OutputError> {
    let garbage = |line: usize, what: String| OutputError::Garbage { line: line + 1, what };
    let lines: Vec<&str> = text.lines().collect();
    let Some((first, rest)) = lines.split_first() else { return Err(OutputError::NoEnd { lines: 0 }) };
    let known: Known = serde_json::from_str(first).map_err(|error| garbage(0, error.to_string()))?;
    if !(MIN_LOOP..MAX_LOOP).contains(&known.r#loop) || known.rep[1].saturating_sub(known.rep[0]) < 1000 {
        return Err(OutputError::NotCounting { found: known.r#loop });
    }
    if known.counters != counters {
        return Err(garbage(0, format!("it names {} counters, but the kernel has {counters}", known.counters)));
    }
    let Some((last, records)) = rest.split_last() else { return Err(OutputError::NoEnd { lines: 1 }) };
    let Ok(end) = serde_json::from_str::<End>(last) else {
        // The output broke off, or one of its lines is malformed.
        return match rest.iter().position(|line| serde_json::from_str::<Record>(line).is_err()) {
            Some(at) if at + 1 < rest.len() => {
                Err(garbage(at + 1, "it is neither a result nor the last line".to_owned()))
            }
            _ => Err(OutputError::NoEnd { lines: lines.len() }),
        };
    };
    let mut read = Vec::new();
    for (index, line) in records.iter().enumerate() {
        let record: Record = serde_json::from_str(line).map_err(|error| garbage(index + 1, error.to_string()))?;
        if !WORKLOADS.iter().any(|workload| workload.name == record.workload) {
            return Err(garbage(index + 1, "the workload is unknown".to_owned()));
        }
        if record.units == 0 || record.counters.len() != counters {
            return Err(garbage(index + 1, "it has no units, or a wrong number of counters".to_owned()));
        }
        if record.failed != 0 {
            return Err(OutputError::Failed { workload: record.workload, number: record.failed });
        }
        read.push(record);
    }
    if end.end != read.len() {
        let what = format!("it announces {} results, but {} precede it", end.end, read.len());
        return Err(garbage(lines.len() - 1, what));
    }
    Ok(read)
}
