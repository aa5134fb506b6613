//! What the guest sends through the debug console: lines of JSON, of which none is believed before it is checked.

use serde::Deserialize;

use super::workload::WORKLOADS;

/// The first line: what loops of known length came to.
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
    /// Which.
    pub workload: String,
    /// From 0.
    pub rep: u64,
    /// How often its unit was done.
    pub units: u64,
    /// What that took.
    pub instructions: u64,
    /// The error number of a system call that failed; 0 where none did.
    pub failed: u64,
    /// How much the kernel's own counters grew.
    pub counters: Vec<u64>,
}

/// The last line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    end: usize,
}

/// What is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// It stopped before its end.
    #[error("the guest's results have no last line: {lines} lines came")]
    NoEnd {
        /// How many there are.
        lines: usize,
    },
    /// Something else than results.
    #[error("line {line} of the guest's results is none: {what}")]
    Garbage {
        /// From 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// Time does not pass by the instruction.
    #[error(
        "a loop of 2,000,000 instructions came to {found}: this emulator's clock does not count instructions \
         (-icount shift=0,sleep=off)"
    )]
    NotCounting {
        /// What it came to.
        found: u64,
    },
    /// A system call failed.
    #[error("{workload}: a system call of the guest failed with error {number}; was the kernel built without it?")]
    Failed {
        /// Where.
        workload: String,
        /// `errno`
        number: u64,
    },
}

/// A loop of so many instructions; a tick may fall into it.
const LOOP: u64 = 2_000_000;
const LOOP_MOST: u64 = 2_100_000;

/// Reads and checks it all. `counters` is how many the kernel has.
///
/// # Errors
/// Where it is anything but what the guest's init sends.
pub fn read(text: &str, counters: usize) -> Result<Vec<Record>, OutputError> {
    let garbage = |line: usize, what: String| OutputError::Garbage { line: line + 1, what };
    let lines: Vec<&str> = text.lines().collect();
    let Some((first, rest)) = lines.split_first() else { return Err(OutputError::NoEnd { lines: 0 }) };
    let known: Known = serde_json::from_str(first).map_err(|error| garbage(0, error.to_string()))?;
    if !(LOOP..LOOP_MOST).contains(&known.r#loop) || known.rep[1].saturating_sub(known.rep[0]) < 1000 {
        return Err(OutputError::NotCounting { found: known.r#loop });
    }
    if known.counters != counters {
        return Err(garbage(0, format!("{} counters, the kernel has {counters}", known.counters)));
    }
    let Some((last, records)) = rest.split_last() else { return Err(OutputError::NoEnd { lines: 1 }) };
    let Ok(end) = serde_json::from_str::<End>(last) else {
        // Either it broke off, or this line is none of its.
        return match rest.iter().position(|line| serde_json::from_str::<Record>(line).is_err()) {
            Some(at) if at + 1 < rest.len() => Err(garbage(at + 1, "neither a result nor the end".to_owned())),
            _ => Err(OutputError::NoEnd { lines: lines.len() }),
        };
    };
    let mut read = Vec::new();
    for (index, line) in records.iter().enumerate() {
        let record: Record = serde_json::from_str(line).map_err(|error| garbage(index + 1, error.to_string()))?;
        if !WORKLOADS.iter().any(|workload| workload.name == record.workload) {
            return Err(garbage(index + 1, "an unknown workload".to_owned()));
        }
        if record.units == 0 || record.counters.len() != counters {
            return Err(garbage(index + 1, "no units, or another number of counters".to_owned()));
        }
        if record.failed != 0 {
            return Err(OutputError::Failed { workload: record.workload, number: record.failed });
        }
        read.push(record);
    }
    if end.end != read.len() {
        return Err(garbage(lines.len() - 1, format!("{} results came, it says {}", read.len(), end.end)));
    }
    Ok(read)
}
