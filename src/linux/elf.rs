//! The ELF file of an unpacked kernel: sections, and bytes by address.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use object::read::elf::{ElfFile64, SectionHeader};
use object::{LittleEndian, Object, ObjectSection};

/// Why an ELF file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// The file is damaged.
    #[error("{}: the ELF file is damaged: {source}; copy or download it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: object::Error,
    },
    /// A section is missing.
    #[error("{}: section {section} is missing: {meaning}", path.display())]
    NoSection {
        /// The file.
        path: PathBuf,
        /// The name of the section.
        section: &'static str,
        /// The reason, and what to do.
        meaning: &'static str,
    },
    /// The emulator cannot start the file.
    #[error(
        "{}: the PVH entry (CONFIG_PVH, Xen note 18) is missing, and the emulator needs it to start an unpacked \
         kernel; name the vmlinuz, or a kernel with CONFIG_PVH or CONFIG_XEN_PVH",
        path.display()
    )]
    NoPvh {
        /// The file.
        path: PathBuf,
    },
}

/// A section that has bytes in the file.
#[derive(Clone, Debug)]
pub struct Section {
    /// Name.
    pub name: String,
    /// Address of the first byte.
    pub address: u64,
    /// Offsets of its bytes in the file.
    pub file: Range<usize>,
}

impl Section {
    /// Its range of addresses.
    #[must_use]
    pub fn addresses(&self) -> Range<u64> {
        self.address..self.address + self.file.len() as u64
    }
}

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub struct Elf<'a> {
    /// The file it came from, for messages.
    pub path: PathBuf,
    /// All bytes of the ELF file. A kernel with debug information has hundreds of megabytes, which only
    /// [`write`](Elf::write) copies.
    pub bytes: Cow<'a, [u8]>,
    sections: Vec<Section>,
    has_pvh: bool,
}

/// `XEN_ELFNOTE_PHYS32_ENTRY` (`include/xen/interface/elfnote.h`).
const PHYS32_ENTRY: u32 = 18;

impl<'a> Elf<'a> {
    /// Parses the ELF file `bytes`; `path` is for messages.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn of(path: &Path, bytes: impl Into<Cow<'a, [u8]>>) -> Result<Elf<'a>, ElfError> {
        let bytes = bytes.into();
        let damaged = |source| ElfError::Damaged { path: path.to_owned(), source };
        let file = ElfFile64::<LittleEndian>::parse(&*bytes).map_err(damaged)?;
        let mut sections = Vec::new();
        let mut has_pvh = false;
        for section in file.sections() {
            let name = section.name().map_err(damaged)?.to_owned();
            let Some((offset, size)) = section.file_range() else { continue };
            let (start, end) = (offset as usize, offset.saturating_add(size) as usize);
            if bytes.get(start..end).is_none() {
                // `data` fails with the error of the crate object.
                section.data().map_err(damaged)?;
                continue;
            }
            sections.push(Section { name, address: section.address(), file: start..end });
            let header = section.elf_section_header();
            if let Ok(Some(mut notes)) = header.notes(LittleEndian, &*bytes) {
                while let Ok(Some(note)) = notes.next() {
                    has_pvh |= note.name() == b"Xen" && note.n_type(LittleEndian).0 == PHYS32_ENTRY;
                }
            }
        }
        Ok(Elf { path: path.to_owned(), sections, has_pvh, bytes })
    }

    /// A section by name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// A required section by name.
    ///
    /// # Errors
    /// [`ElfError::NoSection`] with `meaning`, the reason and what to do.
    pub fn need(&self, section: &'static str, meaning: &'static str) -> Result<&Section, ElfError> {
        self.section(section).ok_or_else(|| ElfError::NoSection { path: self.path.clone(), section, meaning })
    }

    /// The bytes of a section.
    #[must_use]
    pub fn data(&self, section: &Section) -> &[u8] {
        self.bytes.get(section.file.clone()).unwrap_or_default()
    }

    /// Offsets in the file of `length` bytes at `address`.
    #[must_use]
    pub fn file_range(&self, address: u64, length: usize) -> Option<Range<usize>> {
        let within = |section: &&Section| section.address != 0 && section.addresses().contains(&address);
        let section = self.sections.iter().find(within)?;
        let start = section.file.start + (address - section.address) as usize;
        (start + length <= section.file.end).then_some(start..start + length)
    }

    /// `length` bytes at `address`.
    #[must_use]
    pub fn at(&self, address: u64, length: usize) -> Option<&[u8]> {
        self.bytes.get(self.file_range(address, length)?)
    }

    /// The bytes from `address` to the end of its section, `max` bytes at most.
    #[must_use]
    pub fn up_to(&self, address: u64, max: usize) -> &[u8] {
        let section = self.file_range(address, 0).and_then(|range| {
            let sections = self.sections.iter().map(|section| section.file.clone());
            let own = sections.into_iter().find(|file| file.contains(&range.start))?;
            self.bytes.get(range.start..own.end.min(range.start + max))
        });
        section.unwrap_or_default()
    }

    /// The 64-bit word at `address`.
    #[must_use]
    pub fn quad(&self, address: u64) -> Option<u64> {
        Some(u64::from_le_bytes(self.at(address, 8)?.try_into().ok()?))
    }

    /// Writes bytes at `address`. Returns whether the file has these bytes.
    #[must_use]
    pub fn write(&mut self, address: u64, new: &[u8]) -> bool {
        let range = self.file_range(address, new.len());
        match range.and_then(|range| self.bytes.to_mut().get_mut(range)) {
            Some(bytes) => {
                bytes.copy_from_slice(new);
                true
            }
            None => false,
        }
    }

    /// Checks that the emulator can start the unpacked kernel.
    ///
    /// # Errors
    /// [`ElfError::NoPvh`]
    pub fn can_start(&self) -> Result<(), ElfError> {
        if self.has_pvh { Ok(()) } else { Err(ElfError::NoPvh { path: self.path.clone() }) }
    }

    /// The version line of the kernel, from `Linux version` to its end; `None` if it has none.
    #[must_use]
    pub fn banner(&self) -> Option<String> {
        find_banner(self.data(self.section(".rodata")?))
    }

    /// The release as two numbers: 6.1.192 is (6, 1).
    #[must_use]
    pub fn release(&self) -> Option<(u32, u32)> {
        let banner = self.banner()?;
        let mut numbers = banner.split(' ').nth(2)?.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    /// Whether the kernel supports ACPI, which decides the emulated machine.
    #[must_use]
    pub fn has_acpi(&self) -> bool {
        self.section(".apicdrivers").is_some() && self.contains(b"acpi=") || self.contains(b"ACPI: ")
    }

    fn contains(&self, wanted: &[u8]) -> bool {
        let has = |section: &Section| self.data(section).windows(wanted.len()).any(|window| window == wanted);
        [".rodata", ".init.data"].iter().filter_map(|name| self.section(name)).any(has)
    }
}

fn find_banner(rodata: &[u8]) -> Option<String> {
    const START: &[u8] = b"Linux version ";
    const MAX_BYTES: usize = 512;
    let read = |at: usize| {
        let text = rodata[at..].iter().take(MAX_BYTES).take_while(|byte| !matches!(byte, 0 | b'\n'));
        let text: Vec<u8> = text.copied().collect();
        String::from_utf8(text).ok().filter(|text| text.as_bytes().get(START.len()).is_some_and(u8::is_ascii_digit))
    };
    let starts = rodata.windows(START.len()).enumerate().filter(|(_, window)| *window == START);
    starts.map(|(at, _)| at).find_map(read)
}
