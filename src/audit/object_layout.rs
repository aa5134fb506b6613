//! An object file as a linker would lay it out: an address for every section, for every undefined symbol, and for every
//! word of a global offset table.

use std::collections::HashMap;
use std::ops::Range;

use object::{
    Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionFlags, SectionIndex, SymbolIndex,
    elf,
};

use super::image::{Chunk, Elf, Symbol, Word};
use super::loader_words::MIN_ENTRY_BYTES;

/// Address of the first section. Small addresses in the code stay no addresses of the layout.
const FIRST: u64 = 0x10_0000;
/// Bound on the bytes of all sections. The displacement of a call has 31 bits.
const MAX_BYTES: u64 = 1 << 30;
/// Distance of two undefined symbols, in bytes: a table such as `pv_ops` has less.
const EXTERNAL_BYTES: u64 = 4096;
/// Bound on the number of undefined symbols, for the same 31 bits. Symbols beyond it stay without an address.
const MAX_EXTERNALS: usize = 200_000;

/// Addresses of an object file.
#[derive(Debug)]
pub struct ObjectLayout<'a> {
    bases: HashMap<SectionIndex, u64>,
    externals: Vec<&'a str>,
    external_of: HashMap<SymbolIndex, usize>,
    external_start: u64,
    /// The words of the global offset table, by symbol.
    slots: HashMap<SymbolIndex, usize>,
    slot_words: Vec<Word<'a>>,
    slot_start: u64,
}

impl<'a> ObjectLayout<'a> {
    /// Lays out an object file.
    ///
    /// # Errors
    /// If its sections are larger than any program; the message is the reason.
    pub fn of(file: &Elf<'a>) -> Result<ObjectLayout<'a>, String> {
        let mut bases = HashMap::new();
        let mut next = FIRST;
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
            if sh_flags.0 & elf::SHF_ALLOC.0 == 0 {
                continue;
            }
            let align = section.align().clamp(1, 4096).next_power_of_two();
            next = next.next_multiple_of(align);
            bases.insert(section.index(), next);
            // Empty sections need addresses of their own, too.
            next = next.saturating_add(section.size()).saturating_add(1);
            if next > FIRST + MAX_BYTES {
                return Err(format!("its sections have more than {MAX_BYTES} bytes"));
            }
        }
        let external_start = next.next_multiple_of(EXTERNAL_BYTES) + EXTERNAL_BYTES;
        let mut layout = ObjectLayout {
            bases,
            externals: Vec::new(),
            external_of: HashMap::new(),
            external_start,
            slots: HashMap::new(),
            slot_words: Vec::new(),
            slot_start: 0,
        };
        for symbol in file.symbols() {
            let is_external = symbol.section_index().is_none() && (symbol.is_undefined() || symbol.is_common());
            let name = symbol.name().unwrap_or_default();
            if is_external && !name.is_empty() && layout.externals.len() < MAX_EXTERNALS {
                layout.external_of.insert(symbol.index(), layout.externals.len());
                layout.externals.push(name);
            }
        }
        layout.slot_start = layout.external_range().end + EXTERNAL_BYTES;
        let mut left = max_relocations(file);
        for section in file.sections() {
            for (_, relocation) in section.relocations() {
                if left == 0 {
                    return Err("its relocations overlap in the file".to_owned());
                }
                left -= 1;
                let RelocationTarget::Symbol(index) = relocation.target() else { continue };
                if !needs_slot(relocation.flags()) || layout.slots.contains_key(&index) {
                    continue;
                }
                let Some(address) = layout.symbol_address(file, index) else { continue };
                let word = match layout.external_of.get(&index).and_then(|at| layout.externals.get(*at)) {
                    Some(name) => Word::External(name),
                    None => Word::Address(address),
                };
                layout.slots.insert(index, layout.slot_words.len());
                layout.slot_words.push(word);
            }
        }
        Ok(layout)
    }

    /// The address of a section's first byte.
    #[must_use]
    pub fn base(&self, section: SectionIndex) -> Option<u64> {
        self.bases.get(&section).copied()
    }

    /// The addresses that stand for undefined symbols.
    #[must_use]
    pub fn external_range(&self) -> Range<u64> {
        self.external_start..self.external_start + self.externals.len() as u64 * EXTERNAL_BYTES
    }

    /// The undefined symbols at their addresses.
    pub fn externals(&self) -> impl Iterator<Item = Symbol<'a>> {
        let start = self.external_start;
        self.externals.iter().enumerate().map(move |(index, name)| Symbol {
            address: start + index as u64 * EXTERNAL_BYTES,
            size: EXTERNAL_BYTES,
            name,
            is_function: false,
            rank: 2,
        })
    }

    /// The addresses of the global offset table.
    #[must_use]
    pub fn got_range(&self) -> Range<u64> {
        self.slot_start..self.slot_start + self.slot_words.len() as u64 * 8
    }

    /// The words of the global offset table.
    pub fn got_words(&self) -> impl Iterator<Item = (u64, Word<'a>)> {
        let start = self.slot_start;
        self.slot_words.iter().enumerate().map(move |(index, word)| (start + index as u64 * 8, *word))
    }

    fn symbol_address(&self, file: &Elf<'a>, index: SymbolIndex) -> Option<u64> {
        if let Some(at) = self.external_of.get(&index) {
            return Some(self.external_start + *at as u64 * EXTERNAL_BYTES);
        }
        let symbol = file.symbol_by_index(index).ok()?;
        Some(self.base(symbol.section_index()?)?.wrapping_add(symbol.address()))
    }

    /// Applies the relocations of all sections that are laid out (System V psABI for x86-64, table 4.9).
    pub fn apply(&self, file: &Elf<'a>, chunks: &mut [Chunk<'a>]) {
        for section in file.sections() {
            let Some(base) = self.base(section.index()) else { continue };
            let Ok(at) = chunks.binary_search_by_key(&base, |chunk| chunk.address) else { continue };
            let Some(chunk) = chunks.get_mut(at) else { continue };
            for (offset, relocation) in section.relocations() {
                let RelocationTarget::Symbol(index) = relocation.target() else { continue };
                let RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
                let slot = || Some(self.slot_start + *self.slots.get(&index)? as u64 * 8);
                let target = if needs_slot(relocation.flags()) { slot() } else { self.symbol_address(file, index) };
                let Some(target) = target else { continue };
                let value = target.wrapping_add_signed(relocation.addend());
                let place = base.wrapping_add(offset);
                let distance = value.wrapping_sub(place);
                let bytes: &[u8] = match r_type {
                    elf::R_X86_64_64 => &value.to_le_bytes(),
                    elf::R_X86_64_PC64 => &distance.to_le_bytes(),
                    elf::R_X86_64_32 | elf::R_X86_64_32S => &(value as u32).to_le_bytes(),
                    elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 => &(distance as u32).to_le_bytes(),
                    _ if needs_slot(relocation.flags()) => &(distance as u32).to_le_bytes(),
                    _ => continue,
                };
                let end = offset.saturating_add(bytes.len() as u64);
                if let Some(field) = chunk.bytes.to_mut().get_mut(offset as usize..end as usize) {
                    field.copy_from_slice(bytes);
                }
            }
        }
    }
}

/// More relocations than fit the file overlap, and would make the time quadratic.
fn max_relocations(file: &Elf) -> usize {
    file.data().len() / MIN_ENTRY_BYTES
}

/// Whether a relocation leads to a word of the global offset table.
fn needs_slot(flags: RelocationFlags) -> bool {
    let RelocationFlags::Elf { r_type } = flags else { return false };
    matches!(
        r_type,
        elf::R_X86_64_GOTPCREL | elf::R_X86_64_GOTPCRELX | elf::R_X86_64_REX_GOTPCRELX | elf::R_X86_64_CODE_4_GOTPCRELX
    )
}

#[cfg(test)]
mod tests {
    use object::elf;

    use crate::audit::kind::Kind;
    use crate::audit::made::{Made, sites};

    #[test]
    fn relocations_lead_to_functions_variables_and_symbols_of_other_files() {
        let mut made = Made::new();
        let other = made.external("other");
        let (_, pointer) = made.data(".data", "pointer", &[0; 8]);
        let (table, names) = made.data(".data.rel", "table", &[0; 16]);
        // call other; call *pointer(%rip); call *other@GOTPCREL(%rip); call *table+8(%rip); jmp other
        let code = [
            0xe8, 0, 0, 0, 0, 0xff, 0x15, 0, 0, 0, 0, 0xff, 0x15, 0, 0, 0, 0, 0xff, 0x15, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0,
        ];
        let (caller, at) = made.function("caller", &code);
        made.relocate(at + 1, other, elf::R_X86_64_PLT32, -4);
        made.relocate(at + 7, pointer, elf::R_X86_64_PC32, -4);
        made.relocate(at + 13, other, elf::R_X86_64_GOTPCRELX, -4);
        made.relocate(at + 19, names, elf::R_X86_64_PC32, 8 - 4);
        made.relocate(at + 24, other, elf::R_X86_64_PLT32, -4);
        made.relocate_in(table, 8, caller, elf::R_X86_64_64, 0);
        let binary = made.audit();
        assert_eq!(
            sites(&binary, "caller"),
            [
                (Kind::Direct, false, Some("other")),
                (Kind::Memory, false, Some("pointer")),
                (Kind::Got, false, Some("other")),
                (Kind::Memory, false, Some("table+0x8")),
                (Kind::Direct, true, Some("other")),
            ]
        );
    }

    #[test]
    fn calls_of_one_section_lead_to_another() {
        let mut made = Made::new();
        let (callee, _) = made.function("callee", &[0x31, 0xc0, 0xc3]);
        let (_, at) = made.function("caller", &[0xe8, 0, 0, 0, 0, 0xc3]);
        made.relocate(at + 1, callee, elf::R_X86_64_PLT32, -4);
        let binary = made.audit();
        assert_eq!(sites(&binary, "caller"), [(Kind::Direct, false, Some("callee"))]);
        assert_eq!((binary.returns, binary.functions_total), (2, 2));
    }
}
