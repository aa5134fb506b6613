//! Object files for the tests of this folder: machine code as bytes, symbols and relocations.

use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind, SymbolScope, elf,
};

use super::build::{Options, audit_binary};
use super::document::{Binary, Site};
use super::kind::Kind;

/// `endbr64`, `ret`, and a retpoline for `rax`.
pub const ENDBR64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
pub const RET: &[u8] = &[0xc3];
pub const RETPOLINE: &[u8] =
    &[0xe8, 7, 0, 0, 0, 0xf3, 0x90, 0x0f, 0xae, 0xe8, 0xeb, 0xf9, 0x48, 0x89, 0x04, 0x24, 0xc3];

/// An object file.
pub struct Made {
    object: Object<'static>,
    text: SectionId,
}

impl Made {
    pub fn new() -> Made {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        let text = object.add_section(Vec::new(), b".text".to_vec(), SectionKind::Text);
        Made { object, text }
    }

    fn symbol(&mut self, name: &str, section: SymbolSection, value: u64, size: u64, kind: SymbolKind) -> SymbolId {
        self.object.add_symbol(Symbol {
            name: name.as_bytes().to_vec(),
            value,
            size,
            kind,
            scope: SymbolScope::Linkage,
            weak: false,
            section,
            flags: SymbolFlags::None,
        })
    }

    /// Adds a function; returns its symbol and its offset in the section.
    pub fn function(&mut self, name: &str, code: &[u8]) -> (SymbolId, u64) {
        let offset = self.object.append_section_data(self.text, code, 16);
        let section = SymbolSection::Section(self.text);
        (self.symbol(name, section, offset, code.len() as u64, SymbolKind::Text), offset)
    }

    /// Adds data between functions.
    pub fn data_in_code(&mut self, name: &str, bytes: &[u8]) {
        let offset = self.object.append_section_data(self.text, bytes, 16);
        let section = SymbolSection::Section(self.text);
        self.symbol(name, section, offset, bytes.len() as u64, SymbolKind::Data);
    }

    /// Adds a symbol of another file.
    pub fn external(&mut self, name: &str) -> SymbolId {
        self.symbol(name, SymbolSection::Undefined, 0, 0, SymbolKind::Unknown)
    }

    /// Adds data with a symbol.
    pub fn data(&mut self, section: &str, name: &str, bytes: &[u8]) -> (SectionId, SymbolId) {
        let section = self.object.add_section(Vec::new(), section.as_bytes().to_vec(), SectionKind::Data);
        let offset = self.object.append_section_data(section, bytes, 8);
        let size = bytes.len() as u64;
        (section, self.symbol(name, SymbolSection::Section(section), offset, size, SymbolKind::Data))
    }

    /// Adds a relocation of the code.
    pub fn relocate(&mut self, offset: u64, symbol: SymbolId, r_type: elf::RelocationType, addend: i64) {
        self.relocate_in(self.text, offset, symbol, r_type, addend);
    }

    /// Adds a relocation of a section.
    pub fn relocate_in(
        &mut self,
        section: SectionId,
        offset: u64,
        symbol: SymbolId,
        r_type: elf::RelocationType,
        addend: i64,
    ) {
        let flags = RelocationFlags::Elf { r_type };
        self.object.add_relocation(section, Relocation { offset, symbol, addend, flags }).expect("a relocation");
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> Vec<u8> {
        self.object.write().expect("an object file")
    }

    /// The audit of the file, with all sites.
    pub fn audit(&self) -> Binary {
        let options = Options { functions: vec!["*".to_owned()], lines: false };
        audit_binary("made.o", &self.bytes(), false, &options).expect("an audit")
    }
}

/// The sites of a function: kind, whether it is a jump, and target.
pub fn sites<'b>(binary: &'b Binary, function: &str) -> Vec<(Kind, bool, Option<&'b str>)> {
    let found = binary.functions.iter().find(|found| found.name == function).expect("the function");
    found.sites.iter().map(|Site { kind, tail, target, .. }| (*kind, *tail, target.as_deref())).collect()
}
