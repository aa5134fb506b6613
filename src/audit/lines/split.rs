//! Units in split files: `.dwo` beside the objects, or all of them in one `.dwp` beside the binary.

use std::cell::{Cell, OnceCell};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use gimli::{Dwarf, DwarfPackage};

use super::find;
use super::sections::{Sections, Slice};
use super::storage::Storage;
use super::units::{UnitEntry, Units};
use super::work::Work;

/// Most split files that are read. A large program has 10,000.
const MAX_FILES: usize = 1 << 15;

/// The split units of a binary, read when they are needed.
pub(super) struct Splits<'d> {
    binary: PathBuf,
    debug: PathBuf,
    storage: &'d Storage,
    units: Vec<OnceCell<Option<Units<'d>>>>,
    package: OnceCell<Option<DwarfPackage<Slice<'d>>>>,
    files: Cell<usize>,
}

impl<'d> Splits<'d> {
    /// For a binary, the file with its debug information, and the number of its units.
    pub(super) fn new(binary: &Path, debug: &Path, units: usize, storage: &'d Storage) -> Self {
        Splits {
            binary: binary.to_owned(),
            debug: debug.to_owned(),
            storage,
            units: std::iter::repeat_with(OnceCell::new).take(units).collect(),
            package: OnceCell::new(),
            files: Cell::new(0),
        }
    }

    /// The split unit of a skeleton unit.
    pub(super) fn unit(
        &self,
        index: usize,
        main: &Units<'d>,
        skeleton: &UnitEntry<'d>,
        name: Slice<'d>,
        work: &Work,
    ) -> Option<(&Units<'d>, &UnitEntry<'d>)> {
        let units = self.units.get(index)?.get_or_init(|| self.read(&main.dwarf, skeleton, name, work)).as_ref()?;
        let entry = units.entries.iter().find(|entry| entry.unit.dwo_id == skeleton.unit.dwo_id)?;
        Some((units, entry))
    }

    fn read(
        &self,
        parent: &Dwarf<Slice<'d>>,
        skeleton: &UnitEntry<'d>,
        name: Slice<'d>,
        work: &Work,
    ) -> Option<Units<'d>> {
        let id = skeleton.unit.dwo_id?;
        let package = self.package.get_or_init(|| self.read_package(work)).as_ref();
        let dwarf = match package.and_then(|package| package.find_cu(id, parent).ok()?) {
            Some(dwarf) => dwarf,
            None => self.read_file(parent, skeleton, name, work)?,
        };
        let mut units = Units::read(dwarf, work);
        for entry in units.entries.iter_mut().filter(|entry| entry.unit.dwo_id == Some(id)) {
            entry.unit.copy_relocated_attributes(&skeleton.unit);
        }
        Some(units)
    }

    /// The file with all split units, beside the binary or beside its debug information.
    fn read_package(&self, work: &Work) -> Option<DwarfPackage<Slice<'d>>> {
        [&self.binary, &self.debug].into_iter().find_map(|path| {
            let mut name = OsString::from(path);
            name.push(".dwp");
            let found = find::open(Path::new(&name), self.storage)?;
            let sections = Sections::new(&found.file, self.storage, &|_| None);
            let package = sections.package();
            work.extend(sections.total());
            package
        })
    }

    /// The `.dwo` file of a unit: where the compiler wrote it, or beside the binary.
    fn read_file(
        &self,
        parent: &Dwarf<Slice<'d>>,
        skeleton: &UnitEntry<'d>,
        name: Slice<'d>,
        work: &Work,
    ) -> Option<Dwarf<Slice<'d>>> {
        let name = PathBuf::from(name.to_string_lossy().into_owned());
        let folder = skeleton.unit.comp_dir.map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default();
        let beside = self.binary.parent().unwrap_or(Path::new("."));
        let places = [Path::new(&folder).join(&name), beside.join(&name), beside.join(name.file_name()?)];
        places.iter().find_map(|path| {
            self.files.set(self.files.get() + 1);
            if self.files.get() > MAX_FILES {
                return None;
            }
            let found = find::open(path, self.storage)?;
            let sections = Sections::new(&found.file, self.storage, &|_| None);
            let mut dwarf = sections.split();
            work.extend(sections.total());
            dwarf.make_dwo(parent);
            Some(dwarf)
        })
    }
}
