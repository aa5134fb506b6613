//! The debug sections of a file: decompressed, and relocated in an object file.

use std::cell::Cell;

use gimli::{Dwarf, DwarfPackage, EndianSlice, LittleEndian, SectionId};
use object::{File, Object as _, ObjectKind, ObjectSection as _, ObjectSymbol as _, RelocationKind, RelocationTarget};
use object::{SectionFlags, SectionIndex};

use super::storage::Storage;

/// Largest sum of the sections of a file after decompression, in bytes. A section says its size before it is read.
const MAX_DECOMPRESSED_BYTES: u64 = 512 << 20;

/// How debug information is read: in place.
pub(super) type Slice<'d> = EndianSlice<'d, LittleEndian>;
/// Base addresses of the sections of an object file.
pub(super) type Bases<'a> = &'a dyn Fn(SectionIndex) -> Option<u64>;

/// The sections of one file.
pub(super) struct Sections<'d, 'f> {
    file: &'f File<'d>,
    storage: &'d Storage,
    bases: Bases<'f>,
    decompressed: Cell<u64>,
    total: Cell<u64>,
}

impl<'d, 'f> Sections<'d, 'f> {
    pub(super) fn new(file: &'f File<'d>, storage: &'d Storage, bases: Bases<'f>) -> Self {
        Sections { file, storage, bases, decompressed: Cell::new(0), total: Cell::new(0) }
    }

    /// The debug information of an executable, a library or an object file.
    pub(super) fn dwarf(&self) -> Dwarf<Slice<'d>> {
        load(|id| Some(self.read(id.name())))
    }

    /// The debug information of a `.dwo` file.
    pub(super) fn split(&self) -> Dwarf<Slice<'d>> {
        load(|id| id.dwo_name().map(|name| self.read(name)))
    }

    /// The debug information of a `.dwp` file; `None` if its index is damaged.
    pub(super) fn package(&self) -> Option<DwarfPackage<Slice<'d>>> {
        let section = |id: SectionId| {
            let bytes = id.dwo_name().map_or(&[][..], |name| self.read(name));
            Ok::<_, gimli::Error>(EndianSlice::new(bytes, LittleEndian))
        };
        DwarfPackage::load(section, EndianSlice::new(&[], LittleEndian)).ok()
    }

    /// Size of all sections that were read, in bytes.
    pub(super) fn total(&self) -> u64 {
        self.total.get()
    }

    /// The bytes of a section; none if it is missing or damaged.
    fn read(&self, name: &str) -> &'d [u8] {
        let bytes = self.try_read(name).unwrap_or_default();
        self.total.set(self.total.get().saturating_add(bytes.len() as u64));
        bytes
    }

    fn try_read(&self, name: &str) -> Option<&'d [u8]> {
        let section = self.file.section_by_name(name)?;
        let compressed = section.compressed_data().ok()?;
        let relocates = self.file.kind() == ObjectKind::Relocatable && section.relocations().next().is_some();
        if compressed.format == object::CompressionFormat::None && !relocates {
            return Some(compressed.data);
        }
        let size = compressed.uncompressed_size.checked_add(self.decompressed.get())?;
        if size > MAX_DECOMPRESSED_BYTES {
            return None;
        }
        self.decompressed.set(size);
        let mut bytes = compressed.decompress().ok()?.into_owned();
        if relocates {
            self.relocate(&section, &mut bytes);
        }
        Some(self.storage.keep(bytes))
    }

    /// Writes addresses and offsets into a section of an object file.
    fn relocate(&self, section: &object::Section<'d, 'f>, bytes: &mut [u8]) {
        for (offset, relocation) in section.relocations() {
            if relocation.kind() != RelocationKind::Absolute {
                continue;
            }
            let RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
            let Ok(symbol) = self.file.symbol_by_index(symbol) else { continue };
            let width = usize::from(relocation.size() / 8);
            let Some(field) = usize::try_from(offset).ok().and_then(|at| bytes.get_mut(at..at.checked_add(width)?))
            else {
                continue;
            };
            // An address in a section that is not loaded lies nowhere.
            let value = self
                .base(symbol.section_index())
                .map_or(u64::MAX, |base| base.wrapping_add(symbol.address()).wrapping_add_signed(relocation.addend()));
            match width {
                4 | 8 => field.copy_from_slice(value.to_le_bytes().get(..width).unwrap_or_default()),
                _ => {}
            }
        }
    }

    /// The base of a section: that of code and data is chosen by the caller, and offsets in debug sections count from
    /// their beginning.
    fn base(&self, index: Option<SectionIndex>) -> Option<u64> {
        // An absolute symbol has no section.
        let Some(index) = index else { return Some(0) };
        let section = self.file.section_by_index(index).ok()?;
        match section.flags() {
            SectionFlags::Elf { sh_flags, .. } if sh_flags & object::elf::SHF_ALLOC == object::elf::SectionFlags(0) => {
                Some(0)
            }
            _ => (self.bases)(index),
        }
    }
}

/// Loads sections; those without a name in this kind of file are empty.
fn load<'d>(read: impl Fn(SectionId) -> Option<&'d [u8]>) -> Dwarf<Slice<'d>> {
    let section = |id| Ok::<_, std::convert::Infallible>(EndianSlice::new(read(id).unwrap_or_default(), LittleEndian));
    match Dwarf::load(section) {
        Ok(dwarf) => dwarf,
        Err(never) => match never {},
    }
}
