//! Counts of calls in documents of this program: `linux.json`, the output of `linux sites --json`, a report.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::error::CliError;
use super::predict::CountsError;
#[cfg(feature = "linux")]
use crate::linux::{error::LinuxError, record};
use crate::report::read::LARGEST;
use crate::report::recorded::RecordedCalls;

/// Workloads by name, each with its calls by op.
type WorkloadCalls = Vec<(String, BTreeMap<String, f64>)>;

/// The calls of a workload.
pub(super) struct Counted {
    /// Its name.
    pub name: String,
    /// The calls by op.
    pub calls: BTreeMap<String, RecordedCalls>,
    /// Whether the file tells hot and cold calls apart; otherwise all are taken as hot.
    pub has_cold: bool,
}

/// Reads the counts of a recording, of a folder with recordings, or of a document; `None` if the file is none of them.
///
/// # Errors
/// The file cannot be read, or the document is malformed or has no counts.
pub(super) fn read(path: &Path) -> Result<Option<Vec<Counted>>, CliError> {
    #[cfg(feature = "linux")]
    if path.is_dir() || path.extension().is_some_and(|extension| extension == record::EXTENSION) {
        let recordings = record::read_all(&[path.to_owned()]).map_err(LinuxError::from)?;
        let workloads = record::calls::from_recordings(&recordings).workloads.into_iter();
        return Ok(Some(workloads.map(|it| Counted { name: it.workload, calls: it.calls, has_cold: true }).collect()));
    }
    let hot = |calls: BTreeMap<String, f64>| calls.into_iter().map(|(op, hot)| (op, RecordedCalls { hot, cold: 0.0 }));
    let counted = |(name, calls)| Counted { name, calls: hot(calls).collect(), has_cold: false };
    Ok(read_document(path)?.map(|named| named.into_iter().map(counted).collect()))
}

/// The fields with counts of all three documents; other fields are ignored.
#[derive(Deserialize)]
struct Document {
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
}

/// The number of sites of an op; each site counts as one call.
#[derive(Deserialize)]
struct OpSites {
    op: String,
    sites: u32,
}

/// Reads the counts of a document; `None` if the file is not a JSON object.
fn read_document(path: &Path) -> Result<Option<WorkloadCalls>, CountsError> {
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
    let mut named: WorkloadCalls = Vec::new();
    let linux = document.linux.into_iter().flat_map(|linux| linux.workloads);
    for (prefix, workload) in document.workloads.into_iter().map(|it| ("", it)).chain(linux.map(|it| ("linux ", it))) {
        if !workload.calls.is_empty() {
            named.push((format!("{prefix}{}", workload.name), workload.calls));
        }
    }
    if let Some(ops) = document.ops {
        let mut calls = BTreeMap::new();
        for op in ops {
            *calls.entry(op.op).or_default() += f64::from(op.sites);
        }
        named.push(("every site once".to_owned(), calls));
    }
    let bad = named.iter().flat_map(|(_, calls)| calls).find(|(_, calls)| !(0.0..=1e15).contains(*calls));
    if let Some((op, calls)) = bad {
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
