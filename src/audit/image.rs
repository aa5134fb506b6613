//! The bytes of a binary at the addresses where they run, and the names of those addresses.
//!
//! An object file is laid out as a linker would lay it out, with its relocations applied. After that, it is read as a
//! linked program is. Symbols that it does not define get addresses of their own behind it, and words of its global
//! offset table behind these.

use std::borrow::Cow;
use std::ops::Range;

use object::read::elf::ElfFile64;
use object::{
    LittleEndian, Object, ObjectKind, ObjectSection, ObjectSegment, ObjectSymbol, SectionFlags, SectionIndex,
    SegmentFlags, SymbolFlags, SymbolKind, elf,
};

use super::document::BinaryKind;
use super::error::AuditError;
use super::loader_words;
use super::object_layout::ObjectLayout;

/// The parsed ELF file.
pub type Elf<'a> = ElfFile64<'a, LittleEndian, &'a [u8]>;

/// Bytes at an address.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// Name of the section; empty for a segment of a file without sections.
    pub name: &'a str,
    /// Address of the first byte.
    pub address: u64,
    /// The bytes.
    pub bytes: Cow<'a, [u8]>,
    /// Whether it is executable.
    pub is_code: bool,
}

impl Chunk<'_> {
    /// Its range of addresses.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.address..self.address.saturating_add(self.bytes.len() as u64)
    }
}

/// The rank of a symbol with a type. Those without have less.
const TYPED: u8 = 3;

/// A symbol at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Address.
    pub address: u64,
    /// Size in bytes; 0 if unknown.
    pub size: u64,
    /// The name as it is in the file.
    pub name: &'a str,
    /// Whether it names code.
    pub is_function: bool,
    /// How well it names the address, for symbols of the same address: global before weak before local.
    pub rank: u8,
}

impl Symbol<'_> {
    /// Whether the symbol says that it names data, not only that it names no function.
    #[must_use]
    pub fn is_typed_data(&self) -> bool {
        !self.is_function && self.rank >= TYPED
    }
}

/// What a word holds once the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// An address of this binary.
    Address(u64),
    /// The address of a symbol of another binary.
    External(&'a str),
}

/// A binary, ready to be read.
#[derive(Debug)]
pub struct Image<'a> {
    /// What it is.
    pub kind: BinaryKind,
    /// The parsed file.
    pub elf: Elf<'a>,
    chunks: Vec<Chunk<'a>>,
    symbols: Vec<Symbol<'a>>,
    /// The addresses of symbols, each with the numbers of its best and of its largest symbol.
    named: Vec<(u64, u32, u32)>,
    words: Vec<(u64, Word<'a>)>,
    got: Vec<Range<u64>>,
    /// Where the sections of an object file are; `None` for a linked file.
    layout: Option<ObjectLayout<'a>>,
    /// Whether the file has a symbol table, not only exported symbols.
    pub has_symbol_table: bool,
}

impl<'a> Image<'a> {
    /// Parses a binary; `path` is for messages.
    ///
    /// # Errors
    /// If the file is damaged or has no machine code.
    pub fn parse(path: &str, bytes: &'a [u8], is_kernel: bool) -> Result<Image<'a>, AuditError> {
        let damaged = |error: object::Error| AuditError::Damaged { path: path.to_owned(), what: error.to_string() };
        let file = Elf::parse(bytes).map_err(damaged)?;
        let layout = (file.kind() == ObjectKind::Relocatable)
            .then(|| ObjectLayout::of(&file))
            .transpose()
            .map_err(|what| AuditError::Damaged { path: path.to_owned(), what })?;
        let mut chunks = read_chunks(&file, layout.as_ref());
        // Sections of a linker do not overlap. Those of a hostile file would make the time quadratic.
        if chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>() > bytes.len().saturating_mul(2) {
            let what = "its sections overlap in the file".to_owned();
            return Err(AuditError::Damaged { path: path.to_owned(), what });
        }
        if !chunks.iter().any(|chunk| chunk.is_code && !chunk.bytes.is_empty()) {
            return Err(AuditError::NoCode { path: path.to_owned() });
        }
        let mut words = Vec::new();
        if let Some(layout) = &layout {
            layout.apply(&file, &mut chunks);
        } else {
            words = loader_words::read(&file, bytes.len());
        }
        let mut symbols = read_symbols(&file, layout.as_ref());
        if let Some(layout) = &layout {
            symbols.extend(layout.externals());
            words.extend(layout.got_words());
            words.sort_unstable_by_key(|(address, _)| *address);
        }
        symbols.sort_by_key(|symbol| (symbol.address, std::cmp::Reverse(symbol.rank)));
        let named = index_symbols(&symbols);
        let kind = detect_kind(&file, is_kernel);
        let got = match &layout {
            Some(layout) => vec![layout.got_range()],
            None => (chunks.iter().filter(|chunk| chunk.name.starts_with(".got")).map(Chunk::range))
                .take(MAX_TABLES)
                .collect(),
        };
        let has_symbol_table = file.symbols().next().is_some();
        Ok(Image { kind, elf: file, chunks, symbols, named, words, got, layout, has_symbol_table })
    }

    /// The executable chunks, in the order of their addresses, without stubs of the procedure linkage table.
    pub fn code(&self) -> impl Iterator<Item = &Chunk<'a>> {
        self.chunks.iter().filter(|chunk| chunk.is_code && !is_plt(chunk.name))
    }

    /// The chunks with stubs of the procedure linkage table.
    pub fn plt_chunks(&self) -> impl Iterator<Item = &Chunk<'a>> {
        self.chunks.iter().filter(|chunk| chunk.is_code && is_plt(chunk.name))
    }

    /// A section by name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Chunk<'a>> {
        self.chunks.iter().find(|chunk| chunk.name == name)
    }

    /// All sections of that name; object files have several.
    pub fn sections<'i>(&'i self, name: &'i str) -> impl Iterator<Item = &'i Chunk<'a>> {
        self.chunks.iter().filter(move |chunk| chunk.name == name)
    }

    /// The address of the first byte of a section of the file.
    #[must_use]
    pub fn section_base(&self, index: SectionIndex) -> Option<u64> {
        match &self.layout {
            Some(layout) => layout.base(index),
            None => self.elf.section_by_index(index).ok().map(|section| section.address()),
        }
    }

    /// The bytes from an address to the end of its section.
    #[must_use]
    pub fn bytes_from(&self, address: u64) -> &[u8] {
        let after = self.chunks.partition_point(|chunk| chunk.address <= address);
        // Chunks do not overlap in files that a linker wrote. In other files the nearest start decides.
        let Some(chunk) = after.checked_sub(1).and_then(|at| self.chunks.get(at)) else { return &[] };
        chunk.bytes.get((address - chunk.address) as usize..).unwrap_or_default()
    }

    /// The bytes of a range, as far as the file has them.
    #[must_use]
    pub fn bytes(&self, range: &Range<u64>) -> &[u8] {
        let bytes = self.bytes_from(range.start);
        bytes.get(..(range.end.saturating_sub(range.start) as usize).min(bytes.len())).unwrap_or_default()
    }

    /// Whether an address is executable.
    #[must_use]
    pub fn is_code(&self, address: u64) -> bool {
        let after = self.chunks.partition_point(|chunk| chunk.address <= address);
        let chunk = after.checked_sub(1).and_then(|at| self.chunks.get(at));
        chunk.is_some_and(|chunk| chunk.is_code && chunk.range().contains(&address))
    }

    /// The word that the loader or the linker writes to an address, else what the file has there.
    #[must_use]
    pub fn word(&self, address: u64) -> Option<Word<'a>> {
        if let Ok(at) = self.words.binary_search_by_key(&address, |(address, _)| *address) {
            return self.words.get(at).map(|(_, word)| *word);
        }
        let bytes = self.bytes_from(address).get(..8)?;
        let value = u64::from_le_bytes(bytes.try_into().ok()?);
        match self.external(value) {
            Some(name) => Some(Word::External(name)),
            None => (value != 0).then_some(Word::Address(value)),
        }
    }

    /// Whether an address is in the global offset table.
    #[must_use]
    pub fn is_got(&self, address: u64) -> bool {
        self.got.iter().any(|range| range.contains(&address))
    }

    /// The symbol at or before an address, and the distance to it. A symbol with a size covers its own bytes only.
    #[must_use]
    pub fn symbol(&self, address: u64) -> Option<(Symbol<'a>, u64)> {
        let after = self.named.partition_point(|(start, _, _)| *start <= address);
        let (start, best, largest) = self.named.get(after.checked_sub(1)?)?;
        let offset = address - start;
        let covers = |symbol: &&Symbol<'a>| offset == 0 || offset < symbol.size;
        let mut candidates = [best, largest].into_iter().filter_map(|index| self.symbols.get(*index as usize));
        candidates.find(covers).map(|symbol| (*symbol, offset))
    }

    /// All symbols in the order of their addresses; the best name of an address comes first.
    #[must_use]
    pub fn symbols(&self) -> &[Symbol<'a>] {
        &self.symbols
    }

    /// The undefined symbol that an object file's address stands for.
    fn external(&self, address: u64) -> Option<&'a str> {
        let layout = self.layout.as_ref()?;
        layout
            .external_range()
            .contains(&address)
            .then(|| self.symbol(address))
            .flatten()
            .map(|(symbol, _)| symbol.name)
    }
}

/// Bound on tables of one kind in a binary: a linker writes two of the global offset table, and one dynamic section.
const MAX_TABLES: usize = 8;

/// Finds the best and the largest symbol of each address among sorted symbols.
fn index_symbols(symbols: &[Symbol]) -> Vec<(u64, u32, u32)> {
    let mut named: Vec<(u64, u32, u32)> = Vec::new();
    for (index, symbol) in symbols.iter().enumerate() {
        match named.last_mut() {
            Some((address, _, largest)) if *address == symbol.address => {
                if symbols.get(*largest as usize).is_some_and(|other| other.size < symbol.size) {
                    *largest = index as u32;
                }
            }
            _ => named.push((symbol.address, index as u32, index as u32)),
        }
    }
    named
}

fn is_plt(section: &str) -> bool {
    matches!(section, ".plt" | ".plt.sec" | ".plt.got" | ".iplt")
}

fn detect_kind(file: &Elf, is_kernel: bool) -> BinaryKind {
    let has = |name: &str| file.section_by_name(name).is_some();
    if is_kernel || (has("__ksymtab") && has(".init.text") && file.kind() == ObjectKind::Executable) {
        return BinaryKind::Kernel;
    }
    match file.kind() {
        ObjectKind::Relocatable if has(".modinfo") && has(".gnu.linkonce.this_module") => BinaryKind::KernelModule,
        ObjectKind::Relocatable => BinaryKind::ObjectFile,
        // A position-independent program is a shared object that says so, or that has an interpreter and no name.
        ObjectKind::Dynamic => match has_dynamic(file, |tag, value| tag == elf::DT_FLAGS_1 && is_pie(value)) {
            false if !has(".interp") || has_dynamic(file, |tag, _| tag == elf::DT_SONAME) => BinaryKind::SharedObject,
            _ => BinaryKind::Executable,
        },
        _ => BinaryKind::Executable,
    }
}

fn is_pie(flags: u64) -> bool {
    flags & elf::DF_1_PIE.0 != 0
}

/// Whether the dynamic section has an entry.
fn has_dynamic(file: &Elf, wanted: impl Fn(elf::DynamicTag, u64) -> bool) -> bool {
    use object::read::elf::{Dyn, FileHeader, SectionHeader};
    let Ok(sections) = file.elf_header().sections(LittleEndian, file.data()) else { return false };
    let mut tables = sections.iter().filter_map(|section| section.dynamic(LittleEndian, file.data()).ok().flatten());
    tables
        .by_ref()
        .take(MAX_TABLES)
        .any(|(entries, _)| entries.iter().any(|entry| wanted(entry.d_tag(LittleEndian), entry.d_val(LittleEndian))))
}

fn read_chunks<'a>(file: &Elf<'a>, layout: Option<&ObjectLayout<'a>>) -> Vec<Chunk<'a>> {
    let mut chunks = Vec::new();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
        if sh_flags.0 & elf::SHF_ALLOC.0 == 0 {
            continue;
        }
        let address = match layout {
            Some(layout) => layout.base(section.index()),
            None => Some(section.address()),
        };
        let (Some(address), Ok(bytes)) = (address, section.data()) else { continue };
        let name = section.name().unwrap_or_default();
        let is_code = sh_flags.0 & elf::SHF_EXECINSTR.0 != 0;
        if !bytes.is_empty() {
            chunks.push(Chunk { name, address, bytes: Cow::Borrowed(bytes), is_code });
        }
    }
    if file.sections().next().is_none() {
        for segment in file.segments() {
            let SegmentFlags::Elf { p_flags, .. } = segment.flags() else { continue };
            let Ok(bytes) = segment.data() else { continue };
            let is_code = p_flags.0 & elf::PF_X.0 != 0;
            chunks.push(Chunk { name: "", address: segment.address(), bytes: Cow::Borrowed(bytes), is_code });
        }
    }
    chunks.sort_by_key(|chunk| chunk.address);
    chunks
}

fn read_symbols<'a>(file: &Elf<'a>, layout: Option<&ObjectLayout<'a>>) -> Vec<Symbol<'a>> {
    /// Longer names are cut once all names have more bytes than the file: then they overlap.
    const MAX_OVERLAPPING_BYTES: usize = 256;
    let mut symbols = Vec::new();
    let mut left = file.data().len();
    // A stripped file has exported symbols only.
    let dynamic = file.symbols().next().is_none().then(|| file.dynamic_symbols()).into_iter().flatten();
    for symbol in file.symbols().chain(dynamic) {
        let Some(section) = symbol.section_index() else { continue };
        let name = symbol.name().unwrap_or_default();
        let is_function = match symbol.kind() {
            SymbolKind::Text => true,
            SymbolKind::Data | SymbolKind::Unknown | SymbolKind::Tls => false,
            _ => continue,
        };
        if name.is_empty() || symbol.kind() == SymbolKind::Tls {
            continue;
        }
        left = left.saturating_sub(name.len());
        let name = if left == 0 { &name[..name.floor_char_boundary(MAX_OVERLAPPING_BYTES)] } else { name };
        let SymbolFlags::Elf { st_info, .. } = symbol.flags() else { continue };
        let untyped = st_info.st_type() == elf::STT_NOTYPE;
        let base = match layout {
            Some(layout) => match layout.base(section) {
                Some(base) => base,
                None => continue,
            },
            None => 0,
        };
        let rank = match (symbol.is_local(), symbol.is_weak()) {
            (true, _) => 0,
            (_, true) => 1,
            _ => 2,
        };
        let rank = if untyped { rank } else { rank + TYPED };
        let (address, size) = (base.wrapping_add(symbol.address()), symbol.size());
        symbols.push(Symbol { address, size, name, is_function, rank });
    }
    symbols
}
