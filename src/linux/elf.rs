//! An unpacked kernel: its sections, and bytes by address.

use std::ops::Range;
use std::path::{Path, PathBuf};

use object::read::elf::{ElfFile64, SectionHeader};
use object::{LittleEndian, Object, ObjectSection};

/// Why an ELF file does not do.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// Not to be read as one.
    #[error("{}: damaged ELF file: {source}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: object::Error,
    },
    /// A part that is needed is not there.
    #[error("{}: no section {section}: {meaning}", path.display())]
    NoSection {
        /// Which file.
        path: PathBuf,
        /// Which section.
        section: &'static str,
        /// What that says of the kernel, and what to do.
        meaning: &'static str,
    },
    /// It cannot be started as it is.
    #[error(
        "{}: no PVH entry (CONFIG_PVH, Xen note 18), without which the emulator starts no unpacked kernel; name the \
         vmlinuz, or a kernel with CONFIG_PVH or CONFIG_XEN_PVH",
        path.display()
    )]
    NoPvh {
        /// Which file.
        path: PathBuf,
    },
}

/// A section that has bytes in the file.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: u64,
    /// Its bytes, as places in the file.
    pub file: Range<usize>,
}

impl Section {
    /// The addresses.
    #[must_use]
    pub fn addresses(&self) -> Range<u64> {
        self.address..self.address + self.file.len() as u64
    }
}

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub struct Elf {
    /// The file it came from, for messages.
    pub path: PathBuf,
    /// All of it.
    pub bytes: Vec<u8>,
    sections: Vec<Section>,
    has_pvh: bool,
}

/// `XEN_ELFNOTE_PHYS32_ENTRY` (`include/xen/interface/elfnote.h`).
const PHYS32_ENTRY: u32 = 18;

impl Elf {
    /// Reads the sections.
    ///
    /// # Errors
    /// Where it is damaged.
    pub fn of(path: &Path, bytes: Vec<u8>) -> Result<Elf, ElfError> {
        let damaged = |source| ElfError::Damaged { path: path.to_owned(), source };
        let file = ElfFile64::<LittleEndian>::parse(&*bytes).map_err(damaged)?;
        let mut sections = Vec::new();
        let mut has_pvh = false;
        for section in file.sections() {
            let name = section.name().map_err(damaged)?.to_owned();
            let Some((offset, size)) = section.file_range() else { continue };
            let (start, end) = (offset as usize, offset.saturating_add(size) as usize);
            if bytes.get(start..end).is_none() {
                // Said by object itself, with its own words, when the data is asked for.
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

    /// A section, if it is there.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// A section that is needed.
    ///
    /// # Errors
    /// [`ElfError::NoSection`] with what its absence means.
    pub fn need(&self, section: &'static str, meaning: &'static str) -> Result<&Section, ElfError> {
        self.section(section).ok_or_else(|| ElfError::NoSection { path: self.path.clone(), section, meaning })
    }

    /// Its bytes.
    #[must_use]
    pub fn data(&self, section: &Section) -> &[u8] {
        self.bytes.get(section.file.clone()).unwrap_or_default()
    }

    /// Where in the file these bytes of memory are.
    #[must_use]
    pub fn place(&self, address: u64, length: usize) -> Option<Range<usize>> {
        let within = |section: &&Section| section.address != 0 && section.addresses().contains(&address);
        let section = self.sections.iter().find(within)?;
        let start = section.file.start + (address - section.address) as usize;
        (start + length <= section.file.end).then_some(start..start + length)
    }

    /// Bytes of memory.
    #[must_use]
    pub fn at(&self, address: u64, length: usize) -> Option<&[u8]> {
        self.bytes.get(self.place(address, length)?)
    }

    /// Bytes of memory, as many as its section has, up to a number of them.
    #[must_use]
    pub fn up_to(&self, address: u64, most: usize) -> &[u8] {
        let section = self.place(address, 0).and_then(|place| {
            let sections = self.sections.iter().map(|section| section.file.clone());
            let own = sections.into_iter().find(|file| file.contains(&place.start))?;
            self.bytes.get(place.start..own.end.min(place.start + most))
        });
        section.unwrap_or_default()
    }

    /// A number in memory.
    #[must_use]
    pub fn quad(&self, address: u64) -> Option<u64> {
        Some(u64::from_le_bytes(self.at(address, 8)?.try_into().ok()?))
    }

    /// Changes bytes of memory. Whether they are in the file.
    #[must_use]
    pub fn write(&mut self, address: u64, new: &[u8]) -> bool {
        let place = self.place(address, new.len());
        match place.and_then(|place| self.bytes.get_mut(place)) {
            Some(bytes) => {
                bytes.copy_from_slice(new);
                true
            }
            None => false,
        }
    }

    /// Whether the emulator can start it.
    ///
    /// # Errors
    /// [`ElfError::NoPvh`]
    pub fn can_start(&self) -> Result<(), ElfError> {
        if self.has_pvh { Ok(()) } else { Err(ElfError::NoPvh { path: self.path.clone() }) }
    }

    /// What the kernel says it is, from `Linux version` to the end of its line; `None` where it says nothing.
    #[must_use]
    pub fn banner(&self) -> Option<String> {
        banner(self.data(self.section(".rodata")?))
    }

    /// Its release as two numbers: 6.1.192 is (6, 1).
    #[must_use]
    pub fn release(&self) -> Option<(u32, u32)> {
        let banner = self.banner()?;
        let mut numbers = banner.split(' ').nth(2)?.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    /// Whether it knows ACPI, which decides what machine it is given.
    #[must_use]
    pub fn has_acpi(&self) -> bool {
        self.section(".apicdrivers").is_some() && self.contains(b"acpi=") || self.contains(b"ACPI: ")
    }

    fn contains(&self, wanted: &[u8]) -> bool {
        let of = |section: &Section| self.data(section).windows(wanted.len()).any(|window| window == wanted);
        [".rodata", ".init.data"].iter().filter_map(|name| self.section(name)).any(of)
    }
}

fn banner(rodata: &[u8]) -> Option<String> {
    const START: &[u8] = b"Linux version ";
    const LONGEST: usize = 512;
    let of = |at: usize| {
        let text = rodata[at..].iter().take(LONGEST).take_while(|byte| !matches!(byte, 0 | b'\n'));
        let text: Vec<u8> = text.copied().collect();
        String::from_utf8(text).ok().filter(|text| text.as_bytes().get(START.len()).is_some_and(u8::is_ascii_digit))
    };
    let starts = rodata.windows(START.len()).enumerate().filter(|(_, window)| *window == START);
    starts.map(|(at, _)| at).find_map(of)
}
