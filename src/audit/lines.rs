//! Source lines and inlined functions, from DWARF.
//!
//! The debug information is in the binary, or in a split file that it names by its build id or by a link. Tables are
//! read unit by unit, when an address of the unit is looked up. `work` bounds what damaged or hostile debug information
//! can cost: the answers end there.

mod find;
mod inlined;
mod rows;
mod sections;
mod split;
mod storage;
mod units;
mod work;

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use object::{File, Object as _, ObjectKind, ObjectSection as _, SectionIndex};

use super::document::SourceLine;
use inlined::{Found, Inlined, walk};
use rows::Rows;
use sections::Sections;
use split::Splits;
use units::{Name, Place, UnitEntry, Units};
use work::Work;

pub use inlined::InlinedInstance;
pub use storage::Storage;

/// Why there are no source lines, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoLines(pub String);

/// Range of code of a unit.
struct UnitRange {
    begin: u64,
    end: u64,
    unit: usize,
}

/// Tables of a unit, once an address of it was looked up.
#[derive(Default)]
struct Tables {
    rows: OnceCell<Option<Rows>>,
    inlined: OnceCell<Inlined>,
}

/// The debug information of a binary.
pub struct Lines<'d> {
    path: PathBuf,
    main: Units<'d>,
    common: Option<Units<'d>>,
    splits: Splits<'d>,
    /// In the order of their beginnings.
    ranges: Vec<UnitRange>,
    tables: Vec<Tables>,
    files: RefCell<HashSet<Rc<str>>>,
    work: Work,
    section_bytes: u64,
}

impl<'d> Lines<'d> {
    /// Opens the debug information of a binary: `path` is its file, and `bases` has the addresses that the sections of
    /// an object file were given.
    ///
    /// # Errors
    /// When there is none that can be read.
    pub fn open(
        path: &Path,
        file: &File<'d>,
        bases: &dyn Fn(SectionIndex) -> Option<u64>,
        storage: &'d Storage,
    ) -> Result<Self, NoLines> {
        Self::open_below(Path::new(find::ROOT), path, file, bases, storage)
    }

    /// Opens debug information, with split files below a folder.
    fn open_below(
        root: &Path,
        path: &Path,
        file: &File<'d>,
        bases: &dyn Fn(SectionIndex) -> Option<u64>,
        storage: &'d Storage,
    ) -> Result<Self, NoLines> {
        let found = if find::has_debug_information(file) {
            None
        } else {
            let found = find::find(path, file, root, storage).map_err(NoLines)?;
            if !find::has_debug_information(&found.file) {
                return Err(NoLines(format!("{} has no debug information; install it again", found.path.display())));
            }
            Some(found)
        };
        let (at, debug_file) = found.as_ref().map_or((path, file), |found| (found.path.as_path(), &found.file));
        let moved = |index| section_of(file, debug_file, index).and_then(bases);
        let sections = Sections::new(debug_file, storage, if found.is_some() { &moved } else { bases });
        let mut dwarf = sections.dwarf();
        let mut section_bytes = sections.total();
        let work = Work::new(section_bytes);
        let common = find::find_common(at, debug_file, root, storage).map(|found| {
            let sections = Sections::new(&found.file, storage, &|_| None);
            let (common, common_bytes) = (sections.dwarf(), sections.total());
            work.extend(common_bytes);
            section_bytes += common_bytes;
            dwarf.set_sup(sections.dwarf());
            Units::read(common, &work)
        });
        let main = Units::read(dwarf, &work);
        if main.entries.is_empty() {
            return Err(NoLines(format!(
                "the debug information in {} is damaged, or compressed in an unknown way; build the file again",
                at.display()
            )));
        }
        let ranges = list_ranges(&main, &work);
        let tables = main.entries.iter().map(|_| Tables::default()).collect();
        let splits = Splits::new(path, at, main.entries.len(), storage);
        let (path, files) = (at.to_owned(), RefCell::default());
        Ok(Lines { path, main, common, splits, ranges, tables, files, work, section_bytes })
    }

    /// The file that has the debug information.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The source line of an address.
    #[must_use]
    pub fn line(&self, address: u64) -> Option<SourceLine> {
        let (entry, tables, _) = self.unit_at(address)?;
        let read = || Rows::read(&self.main.dwarf, entry, &mut self.files.borrow_mut(), &self.work);
        let (file, line) = tables.rows.get_or_init(read).as_ref()?.find(address)?;
        Some(SourceLine { file: file.to_owned(), line })
    }

    /// The functions that were inlined around an address, innermost first.
    #[must_use]
    pub fn frames(&self, address: u64) -> Vec<String> {
        self.try_frames(address).unwrap_or_default()
    }

    fn try_frames(&self, address: u64) -> Option<Vec<String>> {
        let (_, tables, index) = self.unit_at(address)?;
        let (units, entry) = self.whole_unit(index, &self.work)?;
        let inlined = tables.inlined.get_or_init(|| Inlined::read(units, entry, &self.work));
        let names = inlined.around(address).into_iter().rev().map(|place| {
            let name = self.name(units, place, &self.work);
            name.map_or_else(|| "a function without a name".to_owned(), |name| name.shown.to_string())
        });
        Some(names.collect())
    }

    /// All places where functions were inlined whose demangled names or symbols match.
    #[must_use]
    pub fn inlined_instances(&self, matches: &mut dyn FnMut(&str) -> bool) -> Vec<InlinedInstance> {
        let work = Work::new(self.section_bytes);
        let mut instances = Vec::new();
        for index in 0..self.main.entries.len() {
            let Some((units, entry)) = self.whole_unit(index, &work) else { continue };
            let mut chosen: HashMap<Place, Option<Rc<Name>>> = HashMap::new();
            let walked = walk(entry, &work, &mut |found| {
                let Found::Inlined(_, function, pcs) = found else { return Some(()) };
                let name = chosen
                    .entry(function)
                    .or_insert_with(|| self.name(units, function, &work).filter(|name| name.matches(matches)));
                let Some(name) = name else { return Some(()) };
                let mut ranges = Vec::new();
                let _ = pcs.each(&units.dwarf, &entry.unit, &work, &mut |begin, end| ranges.push(begin..end));
                work.keep(size_of::<InlinedInstance>() + size_of_val(ranges.as_slice()))?;
                instances.push(InlinedInstance { name: Rc::clone(&name.shown), ranges });
                Some(())
            });
            if walked.is_none() {
                break;
            }
        }
        instances
    }

    /// Whether the debug information has a function whose demangled name or symbol matches.
    #[must_use]
    pub fn is_declared(&self, matches: &mut dyn FnMut(&str) -> bool) -> bool {
        let work = Work::new(self.section_bytes);
        let mut declares = |units: &Units<'d>, entry: &UnitEntry<'d>| {
            let mut is_found = false;
            let _ = walk(entry, &work, &mut |found| {
                if let Found::Function(place) = found {
                    is_found |= self.name(units, place, &work).is_some_and(|name| name.matches(matches));
                }
                (!is_found).then_some(())
            });
            is_found
        };
        let units = 0..self.main.entries.len();
        let mut units = units.filter_map(|index| self.whole_unit(index, &work));
        units.any(|(units, entry)| declares(units, entry))
            || self.common.iter().any(|common| common.entries.iter().any(|entry| declares(common, entry)))
    }

    /// The unit of an address, its tables, and its index.
    fn unit_at(&self, address: u64) -> Option<(&UnitEntry<'d>, &Tables, usize)> {
        let after = self.ranges.partition_point(|range| range.begin <= address);
        let before = self.ranges.get(..after)?.iter().rev().take(MAX_OVERLAPS);
        let index = before.into_iter().find(|range| address < range.end)?.unit;
        Some((self.main.entries.get(index)?, self.tables.get(index)?, index))
    }

    /// A unit with its entries: that of a skeleton unit is in a split file.
    fn whole_unit(&self, index: usize, work: &Work) -> Option<(&Units<'d>, &UnitEntry<'d>)> {
        let entry = self.main.entries.get(index)?;
        match &entry.split_name {
            Some(name) => self.splits.unit(index, &self.main, entry, *name, work),
            None => Some((&self.main, entry)),
        }
    }

    fn name(&self, units: &Units<'d>, place: Place, work: &Work) -> Option<Rc<Name>> {
        units::name(units, self.common.as_ref(), place, work)
    }
}

/// How many ranges before an address are tried: those of units do not overlap, but for code that was left out.
const MAX_OVERLAPS: usize = 8;

fn list_ranges(units: &Units<'_>, work: &Work) -> Vec<UnitRange> {
    let mut ranges = Vec::new();
    for (unit, entry) in units.entries.iter().enumerate() {
        let before = ranges.len();
        let add = &mut |begin, end| ranges.push(UnitRange { begin, end, unit });
        // Damaged ranges are those of one unit.
        let _ = entry.pcs.each(&units.dwarf, &entry.unit, work, add);
        if work.keep((ranges.len() - before) * size_of::<UnitRange>()).is_none() {
            break;
        }
    }
    ranges.sort_unstable_by_key(|range| range.begin);
    ranges
}

/// The section of a binary that a section of its split file stands for: that of the same index or the only one of this
/// name.
fn section_of(file: &File<'_>, split: &File<'_>, index: SectionIndex) -> Option<SectionIndex> {
    if file.kind() != ObjectKind::Relocatable {
        return Some(index);
    }
    let section = split.section_by_index(index).ok()?;
    let name = section.name_bytes().ok()?;
    let is_same = |index| file.section_by_index(index).is_ok_and(|it| it.name_bytes().is_ok_and(|it| it == name));
    if is_same(index) {
        return Some(index);
    }
    file.section_by_name_bytes(name).map(|section| section.index())
}

#[cfg(test)]
mod tests;
