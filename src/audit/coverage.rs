//! Counts of source lines: the JSON documents of `gcov --json-format` and `llvm-cov export`.
//!
//! gcov counts lines: one that was compiled several times (inlined, a template, in a header) has the sum. llvm-cov
//! counts regions, which begin in the middle of lines: a line has the largest count of the regions that it touches.
//! Either way a call on the line runs at most as often as its line.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, Read};
use std::path::{Component, Path, PathBuf};

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::counts::CountFileError;
use super::execution::CountSource;

/// Bound on the text of a file, in bytes: a line has 100, so these are ten million lines. At twice this bound, the
/// counts would need more than 2 GB of memory.
const MAX_BYTES: u64 = 1 << 30;

const HOW: &str = "make it with `gcov --json-format --stdout *.gcda`, or with `llvm-cov export`";

/// How often source lines and functions ran.
#[derive(Debug)]
pub struct LineCounts {
    /// gcov or llvm-cov.
    pub source: CountSource,
    /// Source files by their whole names.
    files: HashMap<PathBuf, SourceFile>,
    /// Whole names by their last parts.
    names: HashMap<String, Vec<PathBuf>>,
    /// Entries by symbol; `None` for a name that several files have.
    functions: HashMap<String, Option<Entries>>,
}

#[derive(Debug)]
struct SourceFile {
    /// The name as the document has it; the whole name begins with the folder that the compiler ran in.
    path: PathBuf,
    lines: BTreeMap<u64, u64>,
    segments: Vec<Region>,
}

#[derive(Debug)]
struct Entries {
    file: String,
    count: u64,
}

impl LineCounts {
    /// How often a source line ran, at least as often as anything on it; `None` if it was not counted.
    #[must_use]
    pub fn line(&self, file: &str, line: u32) -> Option<u64> {
        self.file(Path::new(file))?.line(u64::from(line))
    }

    /// How often a function was entered; `None` if that is unknown, or several files have functions of this name.
    #[must_use]
    pub fn function(&self, symbol: &str) -> Option<u64> {
        self.functions.get(symbol)?.as_ref().map(|entries| entries.count)
    }

    /// Names of some counted files, for messages.
    #[must_use]
    pub fn some_files(&self) -> String {
        let files = self.files.values().map(|file| file.path.display().to_string());
        let mut files: Vec<String> = files.take(MAX_NAMED_FILES).collect();
        files.sort_unstable();
        files.join(", ")
    }

    /// The file of a name: the same path, else the only one whose name ends as this name, or this name as its.
    fn file(&self, path: &Path) -> Option<&SourceFile> {
        let path = &normalize(path);
        if let Some(file) = self.files.get(path) {
            return Some(file);
        }
        let named = self.names.get(last_part(path)?)?.iter().take(MAX_SAME_NAMES);
        let mut fitting = named.filter_map(|whole| {
            let file = self.files.get(whole)?;
            (is_tail(&file.path, path) || is_tail(path, whole)).then_some(file)
        });
        let file = fitting.next()?;
        fitting.next().is_none().then_some(file)
    }

    fn add_file(&mut self, path: &str, folder: Option<&str>) -> &mut SourceFile {
        let whole = normalize(&Path::new(folder.unwrap_or_default()).join(path));
        let names = &mut self.names;
        self.files.entry(whole).or_insert_with_key(|whole| {
            names.entry(last_part(whole).unwrap_or_default().to_owned()).or_default().push(whole.clone());
            SourceFile { path: normalize(Path::new(path)), lines: BTreeMap::new(), segments: Vec::new() }
        })
    }

    fn add_function(&mut self, symbol: &str, file: &str, count: u64) {
        let new = || Some(Entries { file: file.to_owned(), count: 0 });
        let entries = self.functions.entry(symbol.to_owned()).or_insert_with(new);
        match entries {
            Some(known) if known.file == file => known.count = known.count.saturating_add(count),
            _ => *entries = None,
        }
    }
}

/// Files that a message names.
const MAX_NAMED_FILES: usize = 8;
/// Files with the same last part that are searched. Programs have some hundred `mod.rs`; a lookup is linear.
const MAX_SAME_NAMES: usize = 10_000;

impl SourceFile {
    fn line(&self, line: u64) -> Option<u64> {
        if self.segments.is_empty() {
            return self.lines.get(&line).copied();
        }
        let first = self.segments.partition_point(|segment| segment.line < line);
        let end = self.segments.partition_point(|segment| segment.line <= line);
        // The region that goes on from the lines above, and those that begin here.
        let before = first.checked_sub(1).unwrap_or(first);
        let touched = self.segments.get(before..end)?;
        touched.iter().filter(|segment| segment.has_count).map(|segment| segment.count).max()
    }
}

fn last_part(path: &Path) -> Option<&str> {
    path.file_name().and_then(OsStr::to_str)
}

/// Whether a path is the end of another one.
fn is_tail(short: &Path, long: &Path) -> bool {
    short.is_relative() && long.ends_with(short)
}

/// A path without `.` and `x/..`.
fn normalize(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(normal.components().next_back(), Some(Component::Normal(_))) => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "type")]
    kind: Option<String>,
    gcc_version: Option<String>,
    current_working_directory: Option<String>,
    files: Option<Vec<GcovFile>>,
    data: Option<Vec<LlvmData>>,
}

#[derive(Deserialize)]
struct GcovFile {
    file: String,
    #[serde(default)]
    lines: Vec<GcovLine>,
    #[serde(default)]
    functions: Vec<GcovFunction>,
}

#[derive(Deserialize)]
struct GcovLine {
    line_number: u64,
    count: Count,
}

#[derive(Deserialize)]
struct GcovFunction {
    name: String,
    execution_count: Count,
}

#[derive(Deserialize)]
struct LlvmData {
    #[serde(default)]
    files: Vec<LlvmFile>,
    #[serde(default)]
    functions: Vec<LlvmFunction>,
}

#[derive(Deserialize)]
struct LlvmFile {
    filename: String,
    #[serde(default)]
    segments: Vec<Region>,
}

#[derive(Deserialize)]
struct LlvmFunction {
    name: String,
    count: Count,
    #[serde(default)]
    filenames: Vec<String>,
}

/// A number of executions. gcov of damaged data writes negative ones, which are none.
struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(from)?;
        // A conversion of a float stays within the bounds.
        Ok(Count(number.as_u64().unwrap_or_else(|| number.as_f64().unwrap_or(0.0) as u64)))
    }
}

/// The start of a region: `[line, column, count, has a count, ..]`.
#[derive(Clone, Copy, Debug)]
struct Region {
    line: u64,
    count: u64,
    has_count: bool,
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Region;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a segment: line, column, count, whether it has a count")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Region, A::Error> {
                let missing = |index| serde::de::Error::invalid_length(index, &"four parts or more");
                let line = parts.next_element()?.ok_or_else(|| missing(0))?;
                let _: u64 = parts.next_element()?.ok_or_else(|| missing(1))?;
                let Count(count) = parts.next_element()?.ok_or_else(|| missing(2))?;
                let has_count = parts.next_element()?.ok_or_else(|| missing(3))?;
                while parts.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Region { line, count, has_count })
            }
        }
        from.deserialize_seq(Parts)
    }
}

/// Reads counts of source lines: one document, or several in a row.
///
/// # Errors
/// If the file cannot be read or is of another program.
pub fn read(path: &str, input: &mut dyn BufRead) -> Result<LineCounts, CountFileError> {
    let mut counts = LineCounts {
        source: CountSource::Gcov,
        files: HashMap::new(),
        names: HashMap::new(),
        functions: HashMap::new(),
    };
    let mut input = input.take(MAX_BYTES);
    let wrong = |line: usize, message: String| CountFileError::Line { path: path.to_owned(), line, message, how: HOW };
    let failure = {
        let documents = serde_json::Deserializer::from_reader(&mut input).into_iter::<Document>();
        let mut failure = None;
        for document in documents {
            match document {
                Ok(document) if counts.add(&document) => {}
                Ok(_) => return Err(wrong(1, "the document is neither of gcov nor of llvm-cov".to_owned())),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        failure
    };
    match failure {
        Some(_) if input.limit() == 0 => Err(CountFileError::TooLarge { path: path.to_owned(), max: MAX_BYTES }),
        Some(error) => Err(wrong(error.line(), error.to_string())),
        None if counts.files.is_empty() => Err(wrong(1, "no source file was counted".to_owned())),
        None => {
            counts.files.values_mut().for_each(|file| file.segments.sort_by_key(|segment| segment.line));
            Ok(counts)
        }
    }
}

impl LineCounts {
    /// Adds a document; false if it is of another program.
    fn add(&mut self, document: &Document) -> bool {
        let is_llvm = document.kind.as_deref() == Some("llvm.coverage.json.export");
        match (&document.files, &document.data) {
            (Some(files), None) if document.gcc_version.is_some() => {
                self.add_gcov(files, document.current_working_directory.as_deref());
            }
            (None, Some(data)) if is_llvm => {
                self.source = CountSource::LlvmCov;
                data.iter().for_each(|data| self.add_llvm(data));
            }
            _ => return false,
        }
        true
    }

    fn add_gcov(&mut self, files: &[GcovFile], folder: Option<&str>) {
        for file in files {
            let own = self.add_file(&file.file, folder);
            for line in &file.lines {
                let count = own.lines.entry(line.line_number).or_default();
                *count = count.saturating_add(line.count.0);
            }
            for function in &file.functions {
                self.add_function(&function.name, &file.file, function.execution_count.0);
            }
        }
    }

    fn add_llvm(&mut self, data: &LlvmData) {
        for file in &data.files {
            let own = self.add_file(&file.filename, None);
            own.segments.extend(&file.segments);
        }
        for function in &data.functions {
            // A static function has its file in front: `uart.c:poll`, later `uart.c;poll`.
            let symbol = function.name.rsplit([':', ';']).next().unwrap_or_default();
            let file = function.filenames.first().map_or("", String::as_str);
            self.add_function(symbol, file, function.count.0);
        }
    }
}

#[cfg(test)]
mod tests;
