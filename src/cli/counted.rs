//! Counts of calls in documents of this program: `linux.json`, the output of `linux sites --json`, a report.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::predict::CountsError;
use crate::report::read::LARGEST;

/// Workloads by name, each with its calls by op.
pub type WorkloadCalls = Vec<(String, BTreeMap<String, f64>)>;

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
///
/// # Errors
/// The file cannot be read, or the document is malformed or has no counts.
pub fn read(path: &Path) -> Result<Option<WorkloadCalls>, CountsError> {
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
