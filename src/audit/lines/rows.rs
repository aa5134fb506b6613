//! The line table of a unit.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use gimli::{AttributeValue, DebugLineOffset, Dwarf, LineProgramHeader, Reader as _};

use super::sections::Slice;
use super::units::UnitEntry;
use super::work::Work;
use crate::audit::names::visible;

/// The lines of a unit by address.
pub(super) struct Rows {
    /// In the order of their addresses.
    sequences: Vec<Sequence>,
    rows: Vec<Row>,
    files: Vec<Rc<str>>,
}

/// Rows of adjacent addresses.
struct Sequence {
    begin: u64,
    end: u64,
    first: usize,
    last: usize,
}

/// A row: it holds from its address to that of the next one.
#[derive(Clone, Copy)]
struct Row {
    /// Distance from the beginning of the sequence.
    offset: u32,
    file: u32,
    line: u32,
}

impl Rows {
    /// Reads the line table of a unit; `None` if it is damaged, or if the work is used up. Names of files are shared in
    /// `files`.
    pub(super) fn read(
        dwarf: &Dwarf<Slice<'_>>,
        entry: &UnitEntry<'_>,
        files: &mut HashSet<Rc<str>>,
        work: &Work,
    ) -> Option<Self> {
        let unit = &entry.unit;
        let offset = entry.lines?;
        // The header names files, and each of them becomes an entry of 150 bytes while the table is read.
        work.step(header_bytes(dwarf, offset)?)?;
        let program = dwarf.debug_line.program(offset, unit.header.address_size(), unit.comp_dir, None).ok()?;
        work.step(program.header().raw_program_buf().len())?;
        let mut read = program.rows();
        let mut table = Rows { sequences: Vec::new(), rows: Vec::new(), files: Vec::new() };
        let mut known: HashMap<u64, u32> = HashMap::new();
        let (mut begin, mut first) = (0, 0);
        while let Ok(Some((header, row))) = read.next_row() {
            if row.end_sequence() {
                table.end_sequence(begin, row.address(), first);
                first = table.rows.len();
                continue;
            }
            if table.rows.len() == first {
                begin = row.address();
            }
            let Some(offset) = row.address().checked_sub(begin).and_then(|it| u32::try_from(it).ok()) else { continue };
            let file = match known.get(&row.file_index()) {
                Some(file) => *file,
                None => {
                    let path = file_path(dwarf, entry, header, row.file_index()).unwrap_or_default();
                    let path = files.get(path.as_str()).cloned().unwrap_or_else(|| path.into());
                    work.keep(path.len())?;
                    files.insert(Rc::clone(&path));
                    let file = u32::try_from(table.files.len()).ok()?;
                    table.files.push(path);
                    known.insert(row.file_index(), file);
                    file
                }
            };
            let line = row.line().and_then(|line| u32::try_from(line.get()).ok()).unwrap_or(0);
            // Rows of the same line and file need not be kept.
            let is_same = table
                .rows
                .get(first..)
                .and_then(<[Row]>::last)
                .is_some_and(|last| (last.file, last.line) == (file, line));
            if !is_same {
                work.keep(size_of::<Row>())?;
                table.rows.push(Row { offset, file, line });
            }
        }
        table.rows.truncate(first);
        table.rows.shrink_to_fit();
        table.sequences.sort_unstable_by_key(|sequence| sequence.begin);
        Some(table)
    }

    fn end_sequence(&mut self, begin: u64, end: u64, first: usize) {
        let last = self.rows.len();
        if first < last && begin < end {
            self.sequences.push(Sequence { begin, end, first, last });
        }
        if let Some(rows) = self.rows.get_mut(first..) {
            rows.sort_by_key(|row| row.offset);
        }
    }

    /// File and line of an address.
    pub(super) fn find(&self, address: u64) -> Option<(&str, u32)> {
        let after = self.sequences.partition_point(|sequence| sequence.begin <= address);
        let sequence = self.sequences.get(after.checked_sub(1)?).filter(|sequence| address < sequence.end)?;
        let rows = self.rows.get(sequence.first..sequence.last)?;
        let offset = address - sequence.begin;
        let row = rows.get(rows.partition_point(|row| u64::from(row.offset) <= offset).checked_sub(1)?)?;
        // Line 0 marks code of no line.
        let file = self.files.get(usize::try_from(row.file).ok()?).filter(|file| !file.is_empty())?;
        (row.line > 0).then_some((file, row.line))
    }
}

/// Length of the header of a line table, as it says.
fn header_bytes(dwarf: &Dwarf<Slice<'_>>, offset: DebugLineOffset) -> Option<usize> {
    let mut input = *gimli::Section::reader(&dwarf.debug_line);
    input.skip(offset.0).ok()?;
    let (_, format) = input.read_initial_length().ok()?;
    if input.read_u16().ok()? >= 5 {
        input.skip(2).ok()?;
    }
    let length = input.read_length(format).ok()?;
    Some(length.min(input.len()))
}

/// The path of a file as the compiler named it; below the folder of compilation without that folder.
fn file_path(
    dwarf: &Dwarf<Slice<'_>>,
    entry: &UnitEntry<'_>,
    header: &LineProgramHeader<Slice<'_>>,
    index: u64,
) -> Option<String> {
    let text = |value: AttributeValue<Slice<'_>>| {
        let text = dwarf.attr_string(&entry.unit, value).ok()?;
        Some(PathBuf::from(text.to_string_lossy().into_owned()))
    };
    let file = header.file(index)?;
    let mut path = PathBuf::new();
    // Folder 0 is that of compilation.
    if file.directory_index() != 0 {
        path = file.directory(header).and_then(text).unwrap_or_default();
    }
    path.push(text(file.path_name())?);
    let folder = entry.unit.comp_dir.map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default();
    let below = Some(Path::new(&folder)).filter(|it| it.parent().is_some()).and_then(|it| path.strip_prefix(it).ok());
    Some(visible(&below.unwrap_or(&path).to_string_lossy()))
}
