//! Counts of calls in documents of this program: `linux.json`, the output of `linux sites --json`, a report.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::CliError;
use super::predict::CountsError;
#[cfg(feature = "linux")]
use crate::linux::{error::LinuxError, record};
use crate::report::read::LARGEST;
use crate::report::recorded::RecordedCalls;
#[cfg(feature = "linux")]
use crate::report::recorded::RecordedWorkload;
use crate::report::schema::Estimate;
use crate::stats::Interval;
use crate::stats::surroundings::Surroundings;

/// The calls of a workload.
pub(super) struct Counted {
    /// Its name.
    pub name: String,
    /// The calls by op.
    pub calls: BTreeMap<String, RecordedCalls>,
    /// Whether hot and cold calls are told apart; otherwise all are taken as hot.
    pub has_cold: bool,
    /// The time of a unit.
    pub time: UnitTime,
}

/// Where the time of a unit is known from.
pub(super) enum UnitTime {
    /// The file has it, in core cycles.
    Own(Interval),
    /// The running kernel's time of the workload with this name, if it was measured.
    Native(String),
    /// Nobody knows it.
    Unknown,
}

/// Reads the counts of a recording, of a folder with recordings, or of a document; `None` if the file is none of them.
///
/// # Errors
/// The file cannot be read, or the document is malformed or has no counts.
pub(super) fn read(path: &Path) -> Result<Option<Vec<Counted>>, CliError> {
    #[cfg(feature = "linux")]
    if path.is_dir() || path.extension().is_some_and(|extension| extension == record::EXTENSION) {
        let recordings = record::read_all(&[path.to_owned()]).map_err(LinuxError::from)?;
        let counted = |it: RecordedWorkload| Counted {
            time: UnitTime::Native(it.workload.clone()),
            name: it.workload,
            calls: it.calls,
            has_cold: true,
        };
        return Ok(Some(record::calls::from_recordings(&recordings).workloads.into_iter().map(counted).collect()));
    }
    Ok(read_document(path)?)
}

/// Largest size of a file of counts or of times, in bytes; such files are short.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a short text file.
///
/// # Errors
/// If the file cannot be read, or is larger than such a file.
pub(super) fn read_text(path: &Path) -> Result<String, CountsError> {
    let unreadable = |source| CountsError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_BYTES {
        return Err(unreadable(std::io::Error::other(format!(
            "the file has {size} bytes, and such a file has at most {MAX_BYTES}"
        ))));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

/// Reads a document that `command` writes.
///
/// # Errors
/// If the file cannot be read, or is no such document.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path, command: &str) -> Result<T, CountsError> {
    serde_json::from_str(&read_text(path)?).map_err(|error| CountsError::Line {
        path: path.to_owned(),
        line: error.line(),
        message: format!("{error}; `{command}` writes such a file"),
    })
}

/// The fields with counts of all three documents; other fields are ignored.
#[derive(Deserialize)]
struct Document {
    /// A report has one. Its workloads are those of the model kernel.
    schema: Option<String>,
    #[serde(default)]
    workloads: Vec<CountedWorkload>,
    linux: Option<Linux>,
    ops: Option<Vec<OpSites>>,
}

#[derive(Deserialize)]
struct Linux {
    #[serde(default)]
    workloads: Vec<CountedWorkload>,
}

#[derive(Deserialize)]
struct CountedWorkload {
    name: String,
    #[serde(default)]
    calls: BTreeMap<String, f64>,
    surroundings: Option<Surroundings>,
    inline_cycles: Option<Estimate>,
}

/// The number of sites of an op; each site counts as one call.
#[derive(Deserialize)]
struct OpSites {
    op: String,
    sites: u32,
}

/// Reads the counts of a document; `None` if the file is not a JSON object.
fn read_document(path: &Path) -> Result<Option<Vec<Counted>>, CountsError> {
    let unreadable = |source| CountsError::Read { path: path.to_owned(), source };
    let mut text = Vec::new();
    File::open(path).map_err(unreadable)?.take(LARGEST + 1).read_to_end(&mut text).map_err(unreadable)?;
    if !text.trim_ascii_start().starts_with(b"{") {
        return Ok(None);
    }
    let wrong = |line: usize, message: String| CountsError::Line { path: path.to_owned(), line, message };
    if text.len() as u64 > LARGEST {
        return Err(wrong(1, format!("the file is larger than {LARGEST} bytes; name a file of counts")));
    }
    let document: Document = serde_json::from_slice(&text).map_err(|error| wrong(error.line(), error.to_string()))?;
    let mut named = Vec::new();
    let own = document.workloads.into_iter().map(|it| (it, document.schema.is_none()));
    let linux = document.linux.into_iter().flat_map(|linux| linux.workloads).map(|it| (it, true));
    let has_both = document.schema.is_some();
    for (workload, is_real) in own.chain(linux).filter(|(workload, _)| !workload.calls.is_empty()) {
        let CountedWorkload { name, calls, surroundings, inline_cycles } = workload;
        let prefix = if is_real && has_both { "linux " } else { "" };
        named.push(Counted {
            name: format!("{prefix}{name}"),
            time: match (is_real, inline_cycles) {
                (true, _) => UnitTime::Native(name),
                (false, Some(cycles)) => UnitTime::Own(cycles.interval()),
                (false, None) => UnitTime::Unknown,
            },
            calls: split(calls, surroundings.map_or(0.0, |it| it.cold_share.clamp(0.0, 1.0))),
            has_cold: surroundings.is_some(),
        });
    }
    if let Some(ops) = document.ops {
        let mut calls: BTreeMap<String, f64> = BTreeMap::new();
        for op in ops {
            *calls.entry(op.op).or_default() += f64::from(op.sites);
        }
        let name = "every site once".to_owned();
        named.push(Counted { name, calls: split(calls, 0.0), has_cold: false, time: UnitTime::Unknown });
    }
    let all = named.iter().flat_map(|it| &it.calls).map(|(op, calls)| (op, calls.hot + calls.cold));
    if let Some((op, calls)) = all.into_iter().find(|(_, calls)| !(0.0..=1e15).contains(calls)) {
        return Err(wrong(1, format!("{op} = {calls} is out of range; calls are 0 to 1e15")));
    }
    if named.is_empty() {
        return Err(wrong(
            1,
            "no workload of this file has counts of calls; name linux.json, sites.json or a report".to_owned(),
        ));
    }
    Ok(Some(named))
}

/// Calls of which a share is cold, for every op alike.
pub(super) fn split(calls: BTreeMap<String, f64>, cold_share: f64) -> BTreeMap<String, RecordedCalls> {
    let of = |(op, all): (String, f64)| {
        let cold = all * cold_share;
        (op, RecordedCalls { hot: all - cold, cold })
    };
    calls.into_iter().map(of).collect()
}
