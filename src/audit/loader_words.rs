//! The words of a linked program that the loader fills.

use object::{Object, ObjectSymbol, ObjectSymbolTable, RelocationFlags, RelocationTarget, elf};

use super::image::{Elf, Word};

/// Size of the smallest relocation (`Elf64_Rel`), in bytes.
pub const MIN_ENTRY_BYTES: usize = 16;

/// The words that dynamic relocations fill, sorted by address. Packed relative relocations (`.relr.dyn`) need no entry:
/// the file has their values in place. Tables of a linker do not overlap, so they have as many entries as fit the file.
pub fn read<'a>(file: &Elf<'a>, file_bytes: usize) -> Vec<(u64, Word<'a>)> {
    let symbols = file.dynamic_symbol_table();
    let mut words = Vec::new();
    let max = file_bytes / MIN_ENTRY_BYTES;
    for (address, relocation) in file.dynamic_relocations().into_iter().flatten().take(max) {
        let RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
        let word = match (r_type, relocation.target()) {
            (elf::R_X86_64_RELATIVE | elf::R_X86_64_IRELATIVE, _) => Word::Address(relocation.addend() as u64),
            (elf::R_X86_64_GLOB_DAT | elf::R_X86_64_JUMP_SLOT | elf::R_X86_64_64, RelocationTarget::Symbol(index)) => {
                let symbol = symbols.as_ref().and_then(|symbols| symbols.symbol_by_index(index).ok());
                let Some(symbol) = symbol else { continue };
                match symbol.is_undefined() {
                    true => Word::External(symbol.name().unwrap_or_default()),
                    false => Word::Address(symbol.address().wrapping_add_signed(relocation.addend())),
                }
            }
            _ => continue,
        };
        words.push((address, word));
    }
    words.sort_by_key(|(address, _)| *address);
    words.dedup_by_key(|(address, _)| *address);
    words
}
