//! Counts that this program wrote itself: `linux.json`, `linux sites --json`, a report.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::predict::CountsError;
use crate::report::read::LARGEST;

/// Workloads by name, with their calls by op.
pub type Named = Vec<(String, BTreeMap<String, f64>)>;

/// Any of the three: what is of no concern here is passed over.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    workloads: Vec<CountedWorkload>,
    linux: Option<Linux>,
    ops: Option<Vec<Op>>,
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

/// The sites of an op: each is called once.
#[derive(Deserialize)]
struct Op {
    op: String,
    sites: u32,
}

/// `None` for a file that is no JSON object.
///
/// # Errors
/// Where it is one without counts, or cannot be read.
pub fn read(path: &Path) -> Result<Option<Named>, CountsError> {
    let unreadable = |source| CountsError::Read { path: path.to_owned(), source };
    let mut text = Vec::new();
    File::open(path).map_err(unreadable)?.take(LARGEST + 1).read_to_end(&mut text).map_err(unreadable)?;
    if !text.trim_ascii_start().starts_with(b"{") {
        return Ok(None);
    }
    let wrong = |line: usize, message: String| CountsError::Line { path: path.to_owned(), line, message };
    if text.len() as u64 > LARGEST {
        return Err(wrong(1, format!("more than {LARGEST} bytes are no file of counts")));
    }
    let document: Document = serde_json::from_slice(&text).map_err(|error| wrong(error.line(), error.to_string()))?;
    let mut named: Named = Vec::new();
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
        return Err(wrong(1, format!("{op} = {calls}: calls are 0 to 1e15")));
    }
    if named.is_empty() {
        return Err(wrong(1, "no workload in it has counts of calls".to_owned()));
    }
    Ok(Some(named))
}
